//! The two tiers below the cache: memory, then disk.

//! `CacheStore`: blocks of immutable objects, kept in the tiers, around another `ObjectStore`.

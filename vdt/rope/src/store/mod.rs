//! RopeStore.

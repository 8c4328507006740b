//! The hybrid cache beside each server, and the front door of a pod.
//!
//! ```text
//!   clients -> front (TLS, keys, limits) -> dialects -> RopeStore -> CacheStore -> LogStore -> link -> origin
//!                                                                       |
//!                                                                     tiers: memory, then disk
//! ```

pub mod cache;
pub mod front;
pub mod link;
pub mod log;
pub mod tiers;

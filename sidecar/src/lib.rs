//! The hybrid cache beside each server, and the front door of a pod.
//!
//! ```text
//!   clients -> front (TLS, keys, limits) -> dialects -> RopeStore -> CacheStore -> LogStore -> link -> origin
//!                                                                       |
//!                                                                     tiers: memory, then disk
//! ```
//!
//! The library is what `vdt serve` and `vdt-sidecar` have in common: the stack itself, and what is around it ([`logging`], [`exit`],
//! [`mod@files`], [`listeners`], [`ready`], [`process`], [`mod@stack`]); and the binary's own [`mod@run`].

pub mod admin;
pub mod args;
pub mod cache;
pub mod config;
pub mod exit;
pub mod files;
pub mod follow;
pub mod front;
pub mod link;
pub mod listeners;
pub mod log;
pub mod logging;
mod machine;
mod metrics;
pub mod process;
pub mod ready;
pub mod run;
pub mod stack;
pub mod tiers;

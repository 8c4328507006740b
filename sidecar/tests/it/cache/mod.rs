//! `CacheStore` over origins that count, delay, cut short and fail.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod drift;
mod fixture;
mod flights;
mod hung;
mod log;
mod proptests;
mod restored;
mod runs;

//! `LogStore`: what changes of a log (listing, hint, `.crc`), from one snapshot, never trusted for long.

//! What a scan does to the hot set.

//! The dialects over real sockets: golden bodies, a table of requests, real clients, a model of LIST, hostile clients, shutdown.
#![allow(clippy::unwrap_used, missing_docs)]

mod admin;
mod golden;
mod hostile;
mod list_model;
mod object_store_client;
mod requests;
mod shutdown;
mod support;

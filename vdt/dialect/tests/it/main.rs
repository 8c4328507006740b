//! The dialects over real sockets: golden bodies, a table of requests, real clients, a model of LIST, hostile clients, the front door, shutdown.
#![allow(clippy::unwrap_used, missing_docs)]

mod access;
mod access_log;
mod admin;
mod changes;
mod golden;
mod hostile;
mod http2;
mod limits;
mod list_model;
mod listings;
mod object_store_client;
mod own_names;
mod page;
mod public;
mod requests;
mod sending;
mod shutdown;
mod support;
mod tls;
mod workers;

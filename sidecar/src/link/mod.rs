//! The origin over a Unix socket.

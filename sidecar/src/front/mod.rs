//! What the edge of a process needs, from manifests and secret files: principals, TLS, limits.

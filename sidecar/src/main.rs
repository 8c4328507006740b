//! `vdt-sidecar`: the pod's front door.

fn main() {}

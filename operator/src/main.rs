//! `vdt-operator`: a VirtualTable becomes serving pods.

fn main() {}

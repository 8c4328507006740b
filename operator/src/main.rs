//! `vdt-operator`, see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    vdt_operator::main()
}

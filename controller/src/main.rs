//! The `controller` binary: gives LoadBalancer Services their addresses.

use std::process::ExitCode;

fn main() -> ExitCode {
    controller::run(&ferrolb_shell::process::flags::parse())
}

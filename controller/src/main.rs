//! The `controller` binary: gives LoadBalancer Services their addresses.

use std::process::ExitCode;

use controller::args::Args;
use ferrolb_shell::process::flags;
use ferrolb_shell::start;

fn main() -> ExitCode {
    start::run(&flags::parse::<Args>())
}

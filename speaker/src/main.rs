//! The `speaker` binary: announces addresses from its node.

use std::process::ExitCode;

use ferrolb_shell::process::flags;
use ferrolb_shell::start;
use speaker::args::Args;

fn main() -> ExitCode {
    start::run(&flags::parse::<Args>())
}

//! The demonstration and the sweep.

use std::process::ExitCode;

fn main() -> ExitCode {
    netsim::cli::main()
}

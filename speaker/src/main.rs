//! The speaker's process: flags in, exit code out.

use std::io::Write as _;
use std::process::ExitCode;

use metallb_shell::flags;
use speaker::args::Args;

fn main() -> ExitCode {
    match speaker::run(&flags::parse::<Args>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without standard error there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "speaker: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! The speaker's process: flags in, exit code out.

use std::io::Write as _;
use std::process::ExitCode;

use ferrolb_shell::process::flags;
use speaker::args::Args;
use tracing::level_filters::LevelFilter;

fn main() -> ExitCode {
    match speaker::run(&flags::parse::<Args>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The log has it, unless it was not started or is set to say nothing.
            if LevelFilter::current() == LevelFilter::OFF {
                let _ = writeln!(std::io::stderr(), "speaker: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

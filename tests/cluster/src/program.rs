//! The shipped programs: this binary becomes one of them when it is started with its name as first argument.
//!
//! Cargo builds no other package's binaries for a test, and need not: `main` of each is one call of its library.

use std::ffi::OsString;
use std::process::ExitCode;

use ferrolb_shell::process::flags;
use ferrolb_shell::start;

/// One of the two programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Gives addresses.
    Controller,
    /// Announces them.
    Speaker,
}

impl Program {
    const ALL: [Self; 2] = [Self::Controller, Self::Speaker];

    /// Its name: that of the binary, of the container, of the workload and of the service account.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Controller => "controller",
            Self::Speaker => "speaker",
        }
    }

    /// Does what its `main` does.
    fn run(self, arguments: Vec<OsString>) -> ExitCode {
        match self {
            Self::Controller => start::run(&parse::<controller::args::Args>(arguments)),
            Self::Speaker => start::run(&parse::<speaker::args::Args>(arguments)),
        }
    }
}

/// As [`flags::parse`], for arguments that begin with the program's name.
fn parse<A: clap::Parser>(arguments: Vec<OsString>) -> A {
    flags::try_parse(arguments).unwrap_or_else(|error| error.exit())
}

/// Is one of the programs if the first argument says so, and ends. Must be the first thing in `main`: a speaker gives up
/// its privileges, which it can only before the first thread is started.
#[must_use]
pub fn run_if_asked() -> Option<ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let name = arguments.first()?;
    let program = Program::ALL.into_iter().find(|program| name == program.name())?;
    Some(program.run(arguments))
}

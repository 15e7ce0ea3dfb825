//! The speaker's process: flags in, exit code out.

use metallb_shell::flags;
use speaker::args::Args;

fn main() -> anyhow::Result<()> {
    speaker::run(&flags::parse::<Args>())
}

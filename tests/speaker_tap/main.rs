//! The real speaker on the real kernel: two nodes as network namespaces whose NICs are TAP ports of a simulated switch, a
//! router whose neighbour table is the kernel's own, and a simulated host as a second client.
//!
//! Each speaker is a process of its own (this binary, started again with `--speaker-node`), so that SIGKILL and SIGTERM
//! are what they are on a node. Kubernetes' objects come through its standard input. Runs without root in a user
//! namespace. When a case fails its capture is in the target directory's `tmp/`.

mod arp;
mod cases;
mod lan;
mod ndp;
mod node;
mod objects;
mod speaker_process;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use tests::namespaces;

fn main() -> ExitCode {
    if let Some(exit) = speaker_process::run_if_asked() {
        return exit;
    }
    let mut arguments = Arguments::from_args();
    // One network at a time: the bounds are in real time, and two cores are all that CI has.
    arguments.test_threads = Some(1);
    if !arguments.list
        && let Err(exit) = namespaces::enter_or_leave("speaker_tap")
    {
        return exit;
    }
    let trials = cases::ALL.iter().chain(ndp::ALL).map(|(name, case)| {
        Trial::test(*name, move || {
            lan::with_lan(name, case);
            Ok(())
        })
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

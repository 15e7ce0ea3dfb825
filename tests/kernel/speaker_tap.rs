//! The real speaker on the real kernel: two nodes as network namespaces whose NICs are TAP ports of a simulated switch, a
//! router whose neighbour table is the kernel's own, and a simulated host as a second client.
//!
//! Each speaker is a process of its own (this binary, started again with `--speaker-node`), so that SIGKILL and SIGTERM
//! are what they are on a node. Kubernetes' objects come through its standard input. Runs without root in a user
//! namespace. When a case fails its capture is in the target directory's `tmp/`.

mod arp;
mod cases;
mod interfaces;
mod lan;
mod ndp;
mod node;
mod objects;
pub(crate) mod speaker_process;

use libtest_mimic::Trial;

use cases::Case;

/// All cases.
pub(crate) fn trials() -> Vec<Trial> {
    let cases = cases::ALL.iter().chain(ndp::ALL).chain(interfaces::ALL);
    let trial = |(name, case): &'static Case| {
        Trial::test(format!("speaker_tap::{name}"), move || {
            lan::with_lan(name, case);
            Ok(())
        })
    };
    cases.map(trial).collect()
}

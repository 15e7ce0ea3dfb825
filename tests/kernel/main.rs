//! On the real kernel, in network namespaces and on TAP devices, without root where the host allows it.

mod neighbour_kernel;
mod patchbay_kernel;
mod speaker_tap;

use std::process::ExitCode;

use libtest_mimic::Arguments;
use tests::namespaces;

fn main() -> ExitCode {
    if let Some(exit) = speaker_tap::speaker_process::run_if_asked() {
        return exit;
    }
    let mut arguments = Arguments::from_args();
    // One network at a time: the bounds are in real time, and two cores are all that CI has.
    arguments.test_threads = Some(1);
    if !arguments.list
        && let Err(exit) = namespaces::enter_or_leave("kernel")
    {
        return exit;
    }
    let suites = [neighbour_kernel::trials(), patchbay_kernel::trials(), speaker_tap::trials()];
    libtest_mimic::run(&arguments, suites.into_iter().flatten().collect()).exit_code()
}

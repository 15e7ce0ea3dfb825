//! What is not decided at once, because the next input may change it.

use std::time::Duration;

use ferrolb_api::{LostAddresses, Time};

/// How long a Service that has lost its addresses is given no others. A pool that is replaced, by `kubectl replace --force`
/// or Argo CD's Replace, is away for less than a second, and for some when its CRD is; longer would leave those without an
/// address that are really meant to move. A Service that has lost nothing does not wait.
const RETURN_TIME: Duration = Duration::from_secs(5);
/// How long a Service stays on an address that it shares though its edit does not fit the other ones: `kubectl apply` and
/// GitOps write one Service after the other, tens of milliseconds apart.
const SETTLING_TIME: Duration = Duration::from_secs(3);

/// What a decision may still put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MayPutOff {
    /// Other addresses in the place of those that were lost.
    pub(crate) replacement: bool,
    /// Parting from Services that share the address.
    pub(crate) parting: bool,
}

/// What a decision has put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutOff {
    /// Other addresses in the place of those that were lost.
    Replacement,
    /// Parting from Services that share the address.
    Parting,
}

/// Until when decisions on one Service are put off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Patience {
    replacement: Option<Time>,
    parting: Option<Time>,
}

impl Patience {
    /// What may be put off at `now`.
    pub(crate) fn left(&self, now: Time) -> MayPutOff {
        let is_left = |until: Option<Time>| until.is_none_or(|until| now < until);
        MayPutOff { replacement: is_left(self.replacement), parting: is_left(self.parting) }
    }

    /// Takes note of what was put off at `now`; `lost` is what the Service has lost, and `has_just_lost` says that it was just now.
    pub(crate) fn note(
        &mut self,
        put_off: Option<PutOff>,
        lost: &LostAddresses,
        has_just_lost: bool,
        now: Time,
    ) {
        if has_just_lost || lost.is_empty() {
            self.replacement = None;
        }
        // After a restart of the controller nobody knows when it was lost: the time begins again.
        if put_off == Some(PutOff::Replacement) {
            self.replacement.get_or_insert(now + RETURN_TIME);
        }
        match put_off {
            Some(PutOff::Parting) => {
                self.parting.get_or_insert(now + SETTLING_TIME);
            }
            _ => self.parting = None,
        }
    }

    /// When to look again, if anything is put off.
    pub(crate) fn until(&self, now: Time) -> Option<Time> {
        self.replacement.into_iter().chain(self.parting).filter(|until| now < *until).min()
    }
}

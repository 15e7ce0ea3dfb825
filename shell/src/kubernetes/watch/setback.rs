//! Why a list or a watch did not succeed, and what follows from it.

use std::time::Duration;

use super::POLL;
use crate::kubernetes::connectivity::Comeback;
use crate::kubernetes::error::{self, Failure};

/// Why a step did not succeed: what to do next, when, and what to tell.
pub(super) struct Setback {
    pub(super) relist: bool,
    pub(super) may_not_watch: bool,
    /// The server has said it.
    pub(super) is_answer: bool,
    /// The server did not answer at all.
    pub(super) was_away: bool,
    pub(super) after: Option<Duration>,
    /// The server asks for patience.
    pub(super) is_busy: bool,
    pub(super) comeback: Option<Comeback>,
    pub(super) why: String,
}

impl Setback {
    pub(super) fn again(why: impl Into<String>) -> Self {
        let (relist, may_not_watch, is_answer, was_away) = (false, false, false, false);
        Self {
            relist,
            may_not_watch,
            is_answer,
            was_away,
            after: None,
            is_busy: false,
            comeback: None,
            why: why.into(),
        }
    }

    pub(super) fn relist(why: impl Into<String>) -> Self {
        Self { relist: true, ..Self::again(why) }
    }

    pub(super) fn from_error(verb: &str, error: &kube::Error, relist: bool) -> Self {
        let failure = error::classify(error);
        let text = error::describe(error);
        let may_not_watch = failure == Failure::Forbidden && verb == "watch";
        let why = match failure {
            Failure::Forbidden if may_not_watch => {
                format!("the RBAC rules lack the verb watch, listing every {} s: {text}", POLL.as_secs())
            }
            Failure::Forbidden => format!("the RBAC rules lack the verb {verb}: {text}"),
            Failure::NotFound => format!("there is no such kind; its CRD is in manifests/crds: {text}"),
            _ => format!("{verb}: {text}"),
        };
        let after = match failure {
            Failure::Transient { after } => after,
            _ => None,
        };
        let relist = relist || may_not_watch || failure == Failure::Expired;
        let is_answer = matches!(error, kube::Error::Api(_));
        let was_away = matches!(error, kube::Error::Service(_) | kube::Error::HyperError(_));
        let is_busy = error::is_busy(error);
        Self {
            relist,
            may_not_watch,
            is_answer,
            was_away,
            after,
            is_busy,
            comeback: Comeback::of(error),
            why,
        }
    }
}

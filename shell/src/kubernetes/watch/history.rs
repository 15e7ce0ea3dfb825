//! Whether the API server's history is still the one that was watched.
//!
//! When etcd is restored from a backup its revisions go back, and those that were told already are given out anew. A
//! watch from a version that is still to come then is told nothing, neither event nor bookmark nor error, until that
//! version has passed; and of what differs before it, nothing at all. No history changes under a running watch, for
//! the server has to be started again. So each interruption puts the history in doubt, and only a list, or where the
//! server was never away something newer, takes the doubt away.

use std::time::Duration;

use tokio::time::Instant;

/// What is known of the history, and whether it may have changed.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The newest version that was seen, where it is a number, as Kubernetes says it is.
    newest: Option<u64>,
    doubt: Option<Doubt>,
}

#[derive(Clone, Copy, Debug)]
struct Doubt {
    /// The server did not answer. What a watch tells proves nothing then: its version may have passed meanwhile.
    was_away: bool,
    /// Set once a watch has begun again: when a list is due.
    list_at: Option<Instant>,
}

/// A list at a version below one that was seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WentBack {
    /// The version that was seen before.
    pub(super) from: u64,
    /// The list's.
    pub(super) to: u64,
}

impl History {
    /// Takes in the version of a list: whatever it is, this is the server's history.
    pub(super) fn listed(&mut self, version: &str) -> Option<WentBack> {
        self.doubt = None;
        let before = std::mem::replace(&mut self.newest, version.parse().ok());
        let (from, to) = before.zip(self.newest)?;
        (to < from).then_some(WentBack { from, to })
    }

    /// Takes in the version of an event or a bookmark.
    pub(super) fn told(&mut self, version: &str) {
        self.newest = version.parse().ok();
        self.doubt = self.doubt.filter(|doubt| doubt.was_away);
    }

    /// A watch broke or ended before its time, or it could not begin; `was_away` if the server did not answer at all.
    pub(super) fn interrupted(&mut self, was_away: bool) {
        let doubt = self.doubt.get_or_insert(Doubt { was_away, list_at: None });
        if was_away && !doubt.was_away {
            *doubt = Doubt { was_away, list_at: None };
        }
    }

    /// A watch has begun that lasts this long. A list is due at its end if the doubt is not over by then, and not later
    /// if this watch is interrupted as well.
    pub(super) fn watching(&mut self, lasts: Duration) {
        if let Some(doubt) = &mut self.doubt {
            doubt.list_at.get_or_insert(Instant::now() + lasts);
        }
    }

    /// Whether the history may be another by now.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// When the next list is due, if a watch goes on until then.
    pub(super) fn list_at(&self) -> Option<Instant> {
        self.doubt?.list_at
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const LASTS: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn only_what_could_not_be_another_history_ends_a_doubt() {
        for (was_away, told, listed, is_in_doubt) in [
            (false, false, false, true),
            (false, true, false, false),
            (false, false, true, false),
            (true, false, false, true),
            (true, true, false, true),
            (true, true, true, false),
        ] {
            let mut history = History::default();
            history.listed("5");
            history.watching(LASTS);
            assert_eq!(history.list_at(), None, "nothing has happened");
            history.interrupted(was_away);
            history.watching(LASTS);
            if told {
                history.told("6");
            }
            if listed {
                history.listed("7");
            }
            let name = format!("away {was_away}, told {told}, listed {listed}");
            assert_eq!(history.is_in_doubt(), is_in_doubt, "{name}");
            assert_eq!(history.list_at().is_some(), is_in_doubt, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn interruptions_do_not_put_the_list_off() {
        let mut history = History::default();
        history.interrupted(false);
        assert_eq!(history.list_at(), None, "no watch has begun");
        history.watching(LASTS);
        let due = Instant::now() + LASTS;
        sleep(Duration::from_secs(10)).await;
        history.interrupted(false);
        history.watching(LASTS);
        assert_eq!(history.list_at(), Some(due));
        history.interrupted(true);
        history.watching(LASTS);
        assert_eq!(history.list_at(), Some(due + Duration::from_secs(10)), "the server was away since");
    }

    #[test]
    fn a_list_tells_that_revisions_went_back() {
        let mut history = History::default();
        assert_eq!(history.listed("5"), None);
        history.told("9");
        assert_eq!(history.listed("7"), Some(WentBack { from: 9, to: 7 }));
        assert_eq!(history.listed("7"), None);
        assert_eq!(history.listed("opaque"), None);
        assert_eq!(history.listed("3"), None);
    }
}

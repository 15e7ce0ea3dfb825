//! What leaves the loop for the rest of the process: in order, and without the
//! loop ever waiting for whoever takes it.

use std::collections::VecDeque;
use std::future;

use speaker_core::{Notice, Report};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::notices;

/// Reports that may wait beside those in the channel: what a node has to say
/// that takes over more than ten thousand Services at once. None of it is said a
/// second time (W9).
const WAITING: usize = 65_536;

/// Reports on their way out of the loop.
#[derive(Debug)]
pub(super) struct Outbox {
    reports: mpsc::Sender<Report>,
    /// What has found no room in the channel, oldest first.
    waiting: VecDeque<Report>,
    dropped: u64,
}

impl Outbox {
    /// One that hands on to `reports`.
    pub(super) fn new(reports: mpsc::Sender<Report>) -> Self {
        Self { reports, waiting: VecDeque::new(), dropped: 0 }
    }

    /// How many were dropped, because too much waited or nobody takes any more.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Hands on `report` behind all that waits. Never blocks.
    pub(super) fn put(&mut self, report: Report) {
        if let Report::Notice(notice) = &report
            && !notices::is_wanted(notice)
        {
            return;
        }
        self.flush();
        if !self.waiting.is_empty() {
            return self.keep(report);
        }
        match self.reports.try_send(report) {
            Ok(()) => {}
            Err(TrySendError::Full(report)) => self.keep(report),
            Err(TrySendError::Closed(_)) => self.dropped += 1,
        }
    }

    /// Hands on as much of what waits as there is room for. Never blocks.
    pub(super) fn flush(&mut self) {
        while let Some(report) = self.waiting.pop_front() {
            match self.reports.try_send(report) {
                Ok(()) => {}
                Err(TrySendError::Full(report)) => return self.waiting.push_front(report),
                Err(TrySendError::Closed(_)) => self.dropped += 1,
            }
        }
        // A burst is rare, and its memory is not kept for the next one.
        self.waiting.shrink_to_fit();
    }

    /// Waits until some of what waits can be handed on, and does that; for ever
    /// if nothing waits. Safe to cancel.
    pub(super) async fn capacity(&mut self) {
        if self.waiting.is_empty() {
            return future::pending().await;
        }
        // Some at a time: each time costs the loop a turn.
        let some = self.waiting.len().min(self.reports.max_capacity() / 4).max(1);
        // What it reserves is given back at once; nobody else sends.
        let _ = self.reports.reserve_many(some).await.map(drop);
        self.flush();
    }

    /// Waits until nothing waits any more. Safe to cancel.
    pub(super) async fn drained(&mut self) {
        while !self.waiting.is_empty() {
            self.capacity().await;
        }
    }

    /// Keeps what there is no room for, up to the limit.
    fn keep(&mut self, report: Report) {
        let when_full = WhenFull::of(&report);
        if when_full != WhenFull::Drop && self.waiting.len() < WAITING {
            self.waiting.push_back(report);
            return;
        }
        if when_full != WhenFull::Replace {
            self.dropped += 1;
            return;
        }
        match self.waiting.iter_mut().find(|waiting| WhenFull::of(waiting) == WhenFull::Replace) {
            Some(older) => {
                *older = report;
                self.dropped += 1;
            }
            None => self.waiting.push_back(report),
        }
    }
}

/// What becomes of a report that finds no capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WhenFull {
    /// It is dropped at once: all others come first.
    Drop,
    /// It waits, up to the limit.
    Wait,
    /// Beyond the limit it takes the place of the one before: the newest arrives.
    Replace,
}

impl WhenFull {
    fn of(report: &Report) -> Self {
        match report {
            // One line for each frame, on which nothing depends.
            Report::Notice(Notice::Gratuitous { .. }) => Self::Drop,
            // What it says stands in the `ConfigurationState` until the next one.
            Report::Configuration(_) => Self::Replace,
            Report::Event { .. }
            | Report::L2Status { .. }
            | Report::Network(_)
            | Report::Unheard(_)
            | Report::Notice(_) => Self::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ferrolb_api::ServiceKey;
    use ferrolb_api::config::ConfigurationReport;
    use ferrolb_shell::process::logs::LogLevel;
    use speaker_core::{EventReason, InterfaceId, MacAddr};
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::log_lines;

    fn event(number: usize) -> Report {
        Report::Event {
            service: ServiceKey::new("default", format!("s{number}")),
            uid: String::new(),
            reason: EventReason::NodeAssigned,
            message: String::new(),
        }
    }

    fn gratuitous() -> Report {
        Report::Notice(Notice::Gratuitous {
            address: [172, 16, 16, 101].into(),
            wave: Some(0),
            interface: InterfaceId(2),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
        })
    }

    fn config(pools: usize) -> Report {
        Report::Configuration(ConfigurationReport { pools, ..ConfigurationReport::default() })
    }

    /// A node takes over 1,200 Services in one `handle`, and the API server is slow.
    #[tokio::test]
    async fn f30_a_burst_passes_a_slow_receiver_whole_and_in_order() {
        let (sender, mut receiver) = mpsc::channel(16);
        let mut outbox = Outbox::new(sender);
        for number in 0..1_200 {
            outbox.put(event(number));
            outbox.put(gratuitous());
        }
        let taken = tokio::spawn(async move {
            let mut taken = Vec::new();
            while let Some(report) = receiver.recv().await {
                taken.push(report);
                if taken.len() % 100 == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            }
            taken
        });
        // As in the loop, whose wait ends with every frame.
        for _ in 0..50 {
            let _ = timeout(Duration::from_micros(50), outbox.capacity()).await;
        }
        outbox.drained().await;
        assert_eq!(outbox.dropped(), 0);
        drop(outbox);
        let taken = taken.await.expect("it ends with the channel");
        assert_eq!(taken, (0..1_200).map(event).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_loses_nothing() {
        let (sender, mut receiver) = mpsc::channel(8);
        let mut outbox = Outbox::new(sender);
        (0..20).for_each(|number| outbox.put(event(number)));
        for number in 0..20 {
            let _ = timeout(Duration::ZERO, outbox.capacity()).await;
            assert_eq!(receiver.recv().await, Some(event(number)));
        }
        assert!(timeout(Duration::from_millis(1), outbox.capacity()).await.is_err(), "nothing waits");
    }

    #[test]
    fn beyond_the_limit_it_is_dropped_but_for_the_newest_configuration() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        (0..WAITING + 1).for_each(|number| outbox.put(event(number)));
        assert_eq!(outbox.dropped(), 0);
        outbox.put(event(0));
        outbox.put(config(1));
        outbox.put(config(2));
        assert_eq!(outbox.dropped(), 2, "an Event, and the older of the configurations");
        let mut last = None;
        while let Ok(report) = receiver.try_recv() {
            last = Some(report);
            outbox.flush();
        }
        assert_eq!(last, Some(config(2)));
    }

    #[test]
    fn what_nobody_takes_any_more_does_not_pile_up() {
        let (sender, receiver) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        (0..10).for_each(|number| outbox.put(event(number)));
        drop(receiver);
        outbox.put(event(10));
        assert_eq!((outbox.waiting.len(), outbox.dropped()), (0, 10));
    }

    #[test]
    fn a_line_for_each_frame_never_waits() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        log_lines::at(LogLevel::Debug, || (0..2).for_each(|_| outbox.put(gratuitous())));
        assert_eq!((outbox.waiting.len(), outbox.dropped()), (0, 1));
        assert_eq!(receiver.try_recv(), Ok(gratuitous()));
        // Without debug logs it is not even handed on.
        log_lines::of(|| outbox.put(gratuitous()));
        assert!(receiver.try_recv().is_err());
        assert_eq!(outbox.dropped(), 1);
    }
}

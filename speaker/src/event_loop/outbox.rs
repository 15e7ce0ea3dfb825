//! What leaves the loop for the rest of the process: in order, and without the
//! loop ever waiting for whoever takes it.

use std::collections::VecDeque;
use std::future;

use speaker_core::{Effect, Notice};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::notices;

/// Effects that may wait beside those in the channel: what a node has to say
/// that takes over more than ten thousand Services at once. None of it is said a
/// second time (W9).
const WAITING: usize = 65_536;

/// Effects on their way out of the loop.
#[derive(Debug)]
pub(super) struct Outbox {
    effects: mpsc::Sender<Effect>,
    /// What has found no room in the channel, oldest first.
    waiting: VecDeque<Effect>,
    dropped: u64,
}

impl Outbox {
    /// One that hands on to `effects`.
    pub(super) fn new(effects: mpsc::Sender<Effect>) -> Self {
        Self { effects, waiting: VecDeque::new(), dropped: 0 }
    }

    /// How many were dropped, because too much waited or nobody takes any more.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Hands on `effect` behind all that waits. Never blocks.
    pub(super) fn put(&mut self, effect: Effect) {
        if let Effect::Notice(notice) = &effect
            && !notices::is_wanted(notice)
        {
            return;
        }
        self.hand_on();
        if !self.waiting.is_empty() {
            return self.keep(effect);
        }
        match self.effects.try_send(effect) {
            Ok(()) => {}
            Err(TrySendError::Full(effect)) => self.keep(effect),
            Err(TrySendError::Closed(_)) => self.dropped += 1,
        }
    }

    /// Hands on as much of what waits as there is room for. Never blocks.
    pub(super) fn hand_on(&mut self) {
        while let Some(effect) = self.waiting.pop_front() {
            match self.effects.try_send(effect) {
                Ok(()) => {}
                Err(TrySendError::Full(effect)) => return self.waiting.push_front(effect),
                Err(TrySendError::Closed(_)) => self.dropped += 1,
            }
        }
        // A burst is rare, and its memory is not kept for the next one.
        self.waiting.shrink_to_fit();
    }

    /// Waits until some of what waits can be handed on, and does that; for ever
    /// if nothing waits. Safe to cancel.
    pub(super) async fn room(&mut self) {
        if self.waiting.is_empty() {
            return future::pending().await;
        }
        // Some at a time: each time costs the loop a turn.
        let some = self.waiting.len().min(self.effects.max_capacity() / 4).max(1);
        // What it reserves is given back at once; nobody else sends.
        let _ = self.effects.reserve_many(some).await.map(drop);
        self.hand_on();
    }

    /// Waits until nothing waits any more. Safe to cancel.
    pub(super) async fn emptied(&mut self) {
        while !self.waiting.is_empty() {
            self.room().await;
        }
    }

    /// Keeps what there is no room for, up to the limit.
    fn keep(&mut self, effect: Effect) {
        let is_config = |effect: &Effect| matches!(effect, Effect::Notice(Notice::ConfigLoaded { .. }));
        // Of this one line for each frame nothing depends; all others come first.
        let is_detail = matches!(effect, Effect::Notice(Notice::Gratuitous { .. }));
        if !is_detail && self.waiting.len() < WAITING {
            self.waiting.push_back(effect);
            return;
        }
        if !is_config(&effect) {
            self.dropped += 1;
            return;
        }
        // What it says stands in the `ConfigurationState` until the next one:
        // the newest must arrive.
        match self.waiting.iter_mut().find(|waiting| is_config(waiting)) {
            Some(older) => {
                *older = effect;
                self.dropped += 1;
            }
            None => self.waiting.push_back(effect),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ferrolb_api::ServiceKey;
    use ferrolb_shell::process::logs::LogLevel;
    use speaker_core::{EventReason, InterfaceId, MacAddr};
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::log_lines;

    fn event(number: usize) -> Effect {
        Effect::Event {
            service: ServiceKey::new("default", format!("s{number}")),
            uid: String::new(),
            reason: EventReason::NodeAssigned,
            message: String::new(),
        }
    }

    fn gratuitous() -> Effect {
        Effect::Notice(Notice::Gratuitous {
            address: [172, 16, 16, 101].into(),
            wave: Some(0),
            interface: InterfaceId(2),
            mac: MacAddr([2, 0, 0, 0, 0, 1]),
        })
    }

    fn config(pools: usize) -> Effect {
        Effect::Notice(Notice::ConfigLoaded { pools, advertisements: 0, rejected: Vec::new() })
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
            while let Some(effect) = receiver.recv().await {
                taken.push(effect);
                if taken.len() % 100 == 0 {
                    sleep(Duration::from_millis(1)).await;
                }
            }
            taken
        });
        // As in the loop, whose wait ends with every frame.
        for _ in 0..50 {
            let _ = timeout(Duration::from_micros(50), outbox.room()).await;
        }
        outbox.emptied().await;
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
            let _ = timeout(Duration::ZERO, outbox.room()).await;
            assert_eq!(receiver.recv().await, Some(event(number)));
        }
        assert!(timeout(Duration::from_millis(1), outbox.room()).await.is_err(), "nothing waits");
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
        while let Ok(effect) = receiver.try_recv() {
            last = Some(effect);
            outbox.hand_on();
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

//! The controller's state machine; it dispatches, others decide.

use std::collections::VecDeque;

use metallb_api::Time;

use crate::effect::Effect;
use crate::input::Input;

/// What is fixed when a controller starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `--lb-class`: the Services it handles (C2).
    pub load_balancer_class: Option<String>,
}

/// Assigns addresses to Services.
#[derive(Debug)]
pub struct Controller {
    settings: Settings,
    effects: VecDeque<Effect>,
}

impl Controller {
    /// A controller that knows nothing yet and grants nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { settings, effects: VecDeque::new() }
    }

    /// Takes one input. Never blocks, never fails; what must be done is queued
    /// as effects.
    pub fn handle(&mut self, now: Time, input: Input) {
        let _ = (now, input, &self.settings);
    }

    /// The next effect, oldest first. Drain it to `None` after every `handle`.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call `handle` with [`Input::Timeout`] if nothing comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Time> {
        None
    }
}

//! The one task that owns the core: inputs in, effects out, and its timer.

use controller_core::{Controller, Effect, Input, Settings};
use ferrolb_shell::{Clock, Gate, Shutdown};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::metrics::Metrics;

/// What the core is told, one bounded channel for each source.
#[derive(Debug)]
pub struct Inputs {
    /// Custom resources.
    pub resources: mpsc::Receiver<Input>,
    /// Services.
    pub services: mpsc::Receiver<Input>,
}

/// Runs the core until `shutdown`, or until nobody is left to tell it anything
/// or to do what it asks. `gate` opens once it grants addresses (C4).
pub async fn run(
    settings: Settings,
    mut inputs: Inputs,
    effects: mpsc::Sender<Effect>,
    gate: Gate,
    metrics: Metrics,
    mut shutdown: Shutdown,
) {
    let clock = Clock::start();
    let mut core = Controller::new(settings);
    loop {
        let deadline = core.poll_timeout().map(|time| clock.instant(time));
        let input = tokio::select! {
            () = shutdown.wait() => return,
            Some(input) = inputs.resources.recv() => input,
            Some(input) = inputs.services.recv() => input,
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => Input::Timeout,
            else => return,
        };
        if !matches!(input, Input::Timeout) {
            metrics.client.updates.inc();
        }
        core.handle(clock.now(), input);
        while let Some(effect) = core.poll_effect() {
            if effects.send(effect).await.is_err() {
                return;
            }
        }
        if core.is_ready() {
            gate.ready();
        }
    }
}

//! SIGTERM and SIGINT, and how every task learns of them.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Told to every task: whether the process is ending.
#[derive(Clone, Debug)]
pub struct Shutdown {
    receiver: watch::Receiver<bool>,
}

/// Ends the process when asked to; dropping it does the same.
#[derive(Debug)]
pub struct Trigger {
    sender: watch::Sender<bool>,
}

/// A shutdown that `Trigger` sets off.
#[must_use]
pub fn channel() -> (Trigger, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Trigger { sender }, Shutdown { receiver })
}

/// A shutdown that SIGTERM or SIGINT sets off. Call it inside a runtime.
///
/// # Errors
/// If the handlers cannot be installed.
pub fn on_signal() -> io::Result<Shutdown> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (trigger, shutdown) = channel();
    tokio::spawn(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(op = "shutdown", signal = name, "ending");
        trigger.shut_down();
        // Keeps the handlers: a second signal must not kill a leave half done.
        std::future::pending::<()>().await;
    });
    Ok(shutdown)
}

impl Trigger {
    /// Tells every task.
    pub fn shut_down(&self) {
        self.sender.send_replace(true);
    }
}

impl Shutdown {
    /// Completes when the process is ending. Cancel-safe.
    pub async fn wait(&mut self) {
        // An error means that the trigger is gone, which ends us as well.
        let _ = self.receiver.wait_for(|ending| *ending).await;
    }

    /// [`Shutdown::wait`] as a future of its own.
    pub async fn wait_owned(mut self) {
        self.wait().await;
    }

    /// Whether the process is ending.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        *self.receiver.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_is_told() {
        let (trigger, shutdown) = channel();
        let mut other = shutdown.clone();
        assert!(!other.is_ending());
        trigger.shut_down();
        other.wait().await;
        shutdown.wait_owned().await;
        assert!(other.is_ending());
    }

    #[tokio::test]
    async fn a_dropped_trigger_ends_the_wait() {
        let (trigger, shutdown) = channel();
        drop(trigger);
        shutdown.wait_owned().await;
    }
}

//! SIGSTOP and SIGCONT for a task.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// Stops a process as SIGSTOP does, and continues it.
#[derive(Clone, Default)]
pub(crate) struct Brake(Arc<Mutex<(bool, Option<Waker>)>>);

impl Brake {
    pub(crate) fn stop(&self) {
        self.0.lock().expect("no test panics while it holds this").0 = true;
    }

    pub(crate) fn go_on(&self) {
        let mut state = self.0.lock().expect("no test panics while it holds this");
        state.0 = false;
        if let Some(waker) = state.1.take() {
            waker.wake();
        }
    }
}

/// A process that does nothing while it is stopped.
pub(crate) struct Stoppable {
    brake: Brake,
    process: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Stoppable {
    pub(crate) fn new(brake: &Brake, process: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { brake: brake.clone(), process: Box::pin(process) }
    }
}

impl Future for Stoppable {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        {
            let mut state = self.brake.0.lock().expect("no test panics while it holds this");
            state.1 = Some(context.waker().clone());
            if state.0 {
                return Poll::Pending;
            }
        }
        self.process.as_mut().poll(context)
    }
}

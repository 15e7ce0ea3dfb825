//! Asynchronous work for those who wait: on a thread with a runtime of its own, so that it may be called from anywhere.

/// Runs `work` in the network namespace of the calling thread and waits for it.
pub(crate) fn wait_for<T: Send>(work: impl AsyncFnOnce() -> T + Send) -> T {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("the system has threads and descriptors").block_on(work())
    };
    let joined = std::thread::scope(|scope| scope.spawn(run).join());
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

//! The speaker's `kube.rs` against the in-memory API server, under tokio's
//! paused clock: what the core would know must be what the server holds,
//! whatever happens between them.

mod inputs;
mod setup;
mod view;
mod watches;
mod writes;

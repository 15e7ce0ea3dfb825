//! `ConfigurationState` as controller and speaker write it, against the
//! in-memory API server under tokio's paused clock (A50 to A60, H61).

mod access;
mod content;
mod keeping;
mod setup;

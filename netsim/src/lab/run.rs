//! A run: scenarios, the world that plays them, and what is recorded of it.

pub mod action;
pub mod catalogue;
pub mod fingerprint;
pub mod scenario;
pub mod scenario_file;
pub mod timeline;
pub mod world;

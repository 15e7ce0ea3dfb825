//! An in-memory Kubernetes API server, for tests of what talks to one.
//!
//! [`FakeApi::client`] gives a `kube::Client` that reaches it without a socket,
//! so it works under tokio's paused clock. It keeps to the semantics that
//! controllers depend on: one revision, watches that replay, conflicts, the
//! status subresource, server-side apply, custom resources with their schema
//! and CEL rules, refusals by RBAC, and reviews of tokens and access. [`FakeApi::inject`] and
//! [`FakeApi::run_plan`] make it go wrong the way real ones do.
//!
//! What it has not: strategic merge patches, dry runs, admission, discovery,
//! `metadata.managedFields` in answers, and any controller at work behind it.

#![forbid(unsafe_code)]

mod apply;
mod custom;
mod error;
mod execute;
mod fake;
mod faults;
mod fields;
mod kinds;
mod patch;
mod rbac;
mod request;
mod review;
mod selectors;
mod server;
mod service;
mod store;
mod watch;
mod write;

pub use error::Refusal;
pub use fake::{FakeApi, FakeApiBuilder, StoreBackup};
pub use faults::{Fault, FaultPlan, HANG, Match};
pub use rbac::{Attributes, Grant, Rbac};
pub use server::RequestRecord;

//! What an operator asks of the process: metrics and health, over HTTP and HTTPS.

pub mod http;
pub mod metrics;
pub mod readiness;
pub mod tls;

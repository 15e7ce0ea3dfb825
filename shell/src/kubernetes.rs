//! What a shell asks of the API server: watches, writes with backoff, Events, leader election.

pub mod client;
pub mod configuration_log;
pub mod configuration_state;
pub mod connectivity;
pub mod error;
pub mod events;
pub mod leader_election;
pub mod own_pod;
pub mod resources;
pub mod retry;
pub mod watch;
pub mod write_queue;

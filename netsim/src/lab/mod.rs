//! A cluster in virtual time: the shipped cores on a simulated network, from
//! one seed, with checkers that look after every step.

pub mod arp;
pub mod backends;
pub mod catalogue;
pub mod checkers;
pub mod claim;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod controllers;
pub mod fetch;
pub mod fingerprint;
mod machine;
pub mod manifests;
pub mod ndp;
pub mod nic;
pub mod node;
pub mod objects;
pub mod order;
pub mod outage;
pub mod plan;
pub mod random;
pub mod scenario;
pub mod scenario_file;
pub mod store;
pub mod stranger;
pub mod tester;
pub mod timeline;
pub mod told;
pub mod view;
pub mod watch;
pub mod world;
pub mod yaml;

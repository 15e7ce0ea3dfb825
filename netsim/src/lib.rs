//! A network in a process ([`net`]) and a cluster in virtual time that lives on it ([`lab`]).

pub mod cli;
pub mod lab;
pub mod net;
pub mod report;

//! MetalLB's own end-to-end checklist for layer 2, H1 to H34, in virtual time: a client on the LAN asks by ARP or neighbour
//! discovery, and over UDP and TCP, and looks who answers. A test's name begins with its ids.

mod interfaces;
mod lab;
mod nodes;
mod objects;
mod preferences;
mod restarts;
mod returning;
mod selectors;
mod services;
mod status;

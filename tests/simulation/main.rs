//! Whole clusters in virtual time, on simulated networks.

mod checklist;
mod kept;
mod ndp_lab;
mod neighbour_model;
mod scenarios;
mod segments;
mod sweep;
mod withheld;

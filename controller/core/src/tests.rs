//! The rules of allocation, driven through the core's three functions.

mod checklist;
mod counters;
mod exhaustion;
mod families;
mod keeping;
mod lifecycle;
mod model;
mod pools;
mod requests;
mod reservations;
mod returning;
mod sharing;
mod texts;
mod withheld;
mod world;
mod writing;

//! The rules of allocation, driven through the core's three functions.

mod checklist;
mod counters;
mod families;
mod keeping;
mod lifecycle;
mod model;
mod pools;
mod requests;
mod set_aside;
mod sharing;
mod shortage;
mod world;
mod writing;

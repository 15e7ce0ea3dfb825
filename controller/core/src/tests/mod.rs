//! The rules of allocation, driven through the core's three functions.

mod counters;
mod families;
mod keeping;
mod lifecycle;
mod model;
mod pools;
mod requests;
mod sharing;
mod world;
mod writing;

//! What several tests need: fuzzed functions, and whatever else is shared.

pub mod echo;
pub mod fuzzing;
pub mod inputs;
pub mod kernel;
pub mod log_lines;
pub mod manifests;
pub mod namespaces;
pub mod neighbour_rows;
pub mod objects;
pub mod probe;
pub mod stations;

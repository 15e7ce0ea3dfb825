//! Clusters of any size for the benchmarks: Services, pools, nodes and endpoints, and the API server's part for a
//! controller's writes.

pub mod cluster;
pub mod controlled;

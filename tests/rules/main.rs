//! The rules of the tree: sources, pages, manifests and packages as they lie there. Seconds, and nothing is needed.

mod compatibility;
mod crds;
mod dependencies;
mod documentation;
mod fuzzing;
mod gitops;
mod ids;
mod manifests;
mod metallb_flags;
mod monitoring;
mod namespaces;
mod packaging;
mod tidy;
mod tree;
mod type_names;

//! Both binaries, through their library entry points, against a real kube-apiserver: under the shipped manifests, with
//! the rights and the tokens of their service accounts. Without `KUBEBUILDER_ASSETS` nothing is tested, and one line
//! says so.

mod admission;
#[path = "../shells/controller_process.rs"]
mod controller_process;
mod manifests;
mod metallb;
mod migration;
#[path = "../rules/crds/tables.rs"]
mod objects;
mod order;
mod restore;
mod rights;
mod schema;
mod semantics;
mod setup;
mod status;
#[path = "../fake-api/tests/semantics/table.rs"]
mod table;

//! MetalLB's BGP kinds (A70 to A74). Nothing here reads them: we announce by
//! ARP and NDP only. Their CRDs are shipped all the same, so that objects that
//! are installed survive our installation, and a user can go back to MetalLB.
//!
//! So no field is ever lost: every schema bounds what A70 to A74 name, and
//! keeps what it does not know (`x-kubernetes-preserve-unknown-fields`). The
//! types keep it as well, in `other`.

pub mod advertisement;
pub mod bfd_profile;
pub mod community;
pub mod peer;
mod schema;
pub mod service_bgp_status;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The fields of an object that we have no name for.
pub type Other = BTreeMap<String, Value>;

/// A status that MetalLB leaves empty.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[schemars(extend("x-kubernetes-preserve-unknown-fields" = true))]
pub struct EmptyStatus {
    /// What somebody else wrote.
    #[serde(flatten)]
    #[schemars(skip)]
    pub other: Other,
}

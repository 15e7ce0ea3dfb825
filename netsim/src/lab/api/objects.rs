//! The Kubernetes objects that a simulated cluster holds.

use std::fmt;
use std::sync::Arc;

use ferrolb_api::crd::{IPAddressPool, L2Advertisement, ServiceL2Status};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// The kinds that the product looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `v1/Namespace`
    Namespace,
    /// `v1/Node`
    Node,
    /// `v1/Pod`: the speakers'.
    Pod,
    /// `metallb.io/v1beta1/IPAddressPool`
    IPAddressPool,
    /// `metallb.io/v1beta1/L2Advertisement`
    L2Advertisement,
    /// `discovery.k8s.io/v1/EndpointSlice`
    EndpointSlice,
    /// `v1/Service`
    Service,
    /// `metallb.io/v1beta1/ServiceL2Status`
    ServiceL2Status,
}

impl Kind {
    /// Every kind, in the order in which a client lists them.
    pub const ALL: [Self; 8] = [
        Self::Namespace,
        Self::Node,
        Self::Pod,
        Self::IPAddressPool,
        Self::L2Advertisement,
        Self::EndpointSlice,
        Self::Service,
        Self::ServiceL2Status,
    ];

    /// The kind as manifests write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::IPAddressPool => "IPAddressPool",
            Self::L2Advertisement => "L2Advertisement",
            Self::EndpointSlice => "EndpointSlice",
            Self::Service => "Service",
            Self::ServiceL2Status => "ServiceL2Status",
        }
    }
}

/// What identifies an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty where the kind has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, namespace, name) = (self.kind.as_str(), &self.namespace, &self.name);
        if namespace.is_empty() { write!(f, "{kind} {name}") } else { write!(f, "{kind} {namespace}/{name}") }
    }
}

/// One object; cheap to copy, for every watch client holds it.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A Namespace.
    Namespace(Arc<Namespace>),
    /// A Node.
    Node(Arc<Node>),
    /// A Pod.
    Pod(Arc<Pod>),
    /// A pool.
    Pool(Arc<IPAddressPool>),
    /// A layer 2 advertisement.
    Advertisement(Arc<L2Advertisement>),
    /// An EndpointSlice.
    EndpointSlice(Arc<EndpointSlice>),
    /// A Service.
    Service(Arc<Service>),
    /// Who announces a Service.
    L2Status(Arc<ServiceL2Status>),
}

impl Object {
    /// Reads an object of `kind` from its JSON form.
    ///
    /// # Errors
    /// Says which field is missing or of the wrong type.
    pub fn from_json(kind: Kind, mut value: Value) -> Result<Self, serde_json::Error> {
        // A26: an advertisement may have no spec.
        if kind == Kind::L2Advertisement
            && let Some(object) = value.as_object_mut()
        {
            object.entry("spec").or_insert_with(|| Value::Object(serde_json::Map::new()));
        }
        Ok(match kind {
            Kind::Namespace => Self::Namespace(Arc::new(serde_json::from_value(value)?)),
            Kind::Node => Self::Node(Arc::new(serde_json::from_value(value)?)),
            Kind::Pod => Self::Pod(Arc::new(serde_json::from_value(value)?)),
            Kind::IPAddressPool => Self::Pool(Arc::new(serde_json::from_value(value)?)),
            Kind::L2Advertisement => Self::Advertisement(Arc::new(serde_json::from_value(value)?)),
            Kind::EndpointSlice => Self::EndpointSlice(Arc::new(serde_json::from_value(value)?)),
            Kind::Service => Self::Service(Arc::new(serde_json::from_value(value)?)),
            Kind::ServiceL2Status => Self::L2Status(Arc::new(serde_json::from_value(value)?)),
        })
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Node(_) => Kind::Node,
            Self::Pod(_) => Kind::Pod,
            Self::Pool(_) => Kind::IPAddressPool,
            Self::Advertisement(_) => Kind::L2Advertisement,
            Self::EndpointSlice(_) => Kind::EndpointSlice,
            Self::Service(_) => Kind::Service,
            Self::L2Status(_) => Kind::ServiceL2Status,
        }
    }

    /// Its metadata.
    #[must_use]
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Self::Namespace(object) => &object.metadata,
            Self::Node(object) => &object.metadata,
            Self::Pod(object) => &object.metadata,
            Self::Pool(object) => &object.metadata,
            Self::Advertisement(object) => &object.metadata,
            Self::EndpointSlice(object) => &object.metadata,
            Self::Service(object) => &object.metadata,
            Self::L2Status(object) => &object.metadata,
        }
    }

    /// Its metadata, for the API server to write.
    pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Namespace(object) => &mut Arc::make_mut(object).metadata,
            Self::Node(object) => &mut Arc::make_mut(object).metadata,
            Self::Pod(object) => &mut Arc::make_mut(object).metadata,
            Self::Pool(object) => &mut Arc::make_mut(object).metadata,
            Self::Advertisement(object) => &mut Arc::make_mut(object).metadata,
            Self::EndpointSlice(object) => &mut Arc::make_mut(object).metadata,
            Self::Service(object) => &mut Arc::make_mut(object).metadata,
            Self::L2Status(object) => &mut Arc::make_mut(object).metadata,
        }
    }

    /// What identifies it.
    #[must_use]
    pub fn key(&self) -> Key {
        let metadata = self.metadata();
        Key {
            kind: self.kind(),
            namespace: metadata.namespace.clone().unwrap_or_default(),
            name: metadata.name.clone().unwrap_or_default(),
        }
    }

    /// Takes over the status of `old`, which the main endpoint never writes.
    pub fn keep_status_of(&mut self, old: &Self) {
        match (self, old) {
            (Self::Pool(new), Self::Pool(old)) => Arc::make_mut(new).status.clone_from(&old.status),
            (Self::Advertisement(new), Self::Advertisement(old)) => {
                Arc::make_mut(new).status.clone_from(&old.status);
            }
            (Self::Service(new), Self::Service(old)) => Arc::make_mut(new).status.clone_from(&old.status),
            (Self::L2Status(new), Self::L2Status(old)) => Arc::make_mut(new).status.clone_from(&old.status),
            _ => {}
        }
    }

    /// Whether the kind counts generations (custom resources do, Services do not);
    /// one without a specification has nothing to count.
    #[must_use]
    pub const fn has_generation(&self) -> bool {
        matches!(self, Self::Pool(_) | Self::Advertisement(_))
    }
}

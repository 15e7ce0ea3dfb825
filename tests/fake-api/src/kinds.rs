//! The kinds that are served, built in and custom, and how each of them differs.

use std::sync::Arc;

use k8s_openapi::api::{
    apps::v1 as apps, authentication::v1 as authentication, authorization::v1 as authorization,
    coordination::v1 as coordination, core::v1 as core, discovery::v1 as discovery,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::custom::CustomSchema;

/// One kind of object in one version.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) namespaced: bool,
    /// Whether `status` is written through a subresource only.
    pub(crate) has_status: bool,
    /// Whether `metadata.generation` counts changes of the specification.
    pub(crate) has_generation: bool,
    /// Whether a PUT may come without a resourceVersion.
    pub(crate) unconditional_update: bool,
    /// Fields beside name and namespace that a selector may name.
    pub(crate) selectable: &'static [&'static str],
    pub(crate) schema: Schema,
}

/// What an object of a kind may look like.
#[derive(Debug)]
pub(crate) enum Schema {
    /// Decoding and encoding again drops unknown fields and refuses wrong types.
    BuiltIn(fn(&Value) -> Result<Value, serde_json::Error>),
    /// The schema of a CustomResourceDefinition.
    Custom(Box<CustomSchema>),
}

impl Kind {
    /// `v1` or `group/version`.
    pub(crate) fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// `plural` or `plural.group`, as messages name it.
    pub(crate) fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    pub(crate) fn is_custom(&self) -> bool {
        matches!(self.schema, Schema::Custom(_))
    }

    pub(crate) fn is_service(&self) -> bool {
        self.group.is_empty() && self.plural == "services"
    }
}

/// Every kind served.
#[derive(Debug)]
pub(crate) struct Kinds(Vec<Arc<Kind>>);

impl Kinds {
    /// The built-in kinds and those of `definitions`.
    ///
    /// # Errors
    /// Names what a definition asks for that is not implemented here.
    pub(crate) fn new(definitions: &[CustomResourceDefinition]) -> Result<Self, String> {
        let mut kinds = built_in();
        for definition in definitions {
            kinds.append(&mut custom(definition)?);
        }
        Ok(Self(kinds.into_iter().map(Arc::new).collect()))
    }

    pub(crate) fn by_path(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        self.0
            .iter()
            .find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
            .cloned()
    }

    pub(crate) fn of_object(&self, object: &Value) -> Option<Arc<Kind>> {
        let (api_version, name) = (object["apiVersion"].as_str()?, object["kind"].as_str()?);
        self.0.iter().find(|kind| kind.api_version() == api_version && kind.kind == name).cloned()
    }
}

fn round_trip<T: Serialize + DeserializeOwned>(object: &Value) -> Result<Value, serde_json::Error> {
    serde_json::from_value::<T>(object.clone()).and_then(serde_json::to_value)
}

fn kind<T>(namespaced: bool) -> Kind
where
    T: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
{
    Kind {
        group: T::group(&()).into_owned(),
        version: T::version(&()).into_owned(),
        kind: T::kind(&()).into_owned(),
        plural: T::plural(&()).into_owned(),
        namespaced,
        has_status: false,
        has_generation: false,
        unconditional_update: true,
        selectable: &[],
        schema: Schema::BuiltIn(round_trip::<T>),
    }
}

/// What may be said of an Event's object and origin in a field selector.
const EVENT_FIELDS: &[&str] = &[
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "reason",
    "reportingComponent",
    "source",
    "type",
];

const POD_FIELDS: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.nominatedNodeName",
];

fn built_in() -> Vec<Kind> {
    vec![
        Kind {
            has_status: true,
            selectable: &["spec.clusterIP", "spec.type"],
            ..kind::<core::Service>(true)
        },
        Kind {
            has_status: true,
            unconditional_update: false,
            selectable: &["status.phase"],
            ..kind::<core::Namespace>(false)
        },
        Kind { has_status: true, selectable: &["spec.unschedulable"], ..kind::<core::Node>(false) },
        Kind { has_status: true, selectable: POD_FIELDS, ..kind::<core::Pod>(true) },
        Kind { selectable: EVENT_FIELDS, ..kind::<core::Event>(true) },
        Kind { selectable: &["type"], ..kind::<core::Secret>(true) },
        kind::<core::ConfigMap>(true),
        Kind { has_generation: true, ..kind::<discovery::EndpointSlice>(true) },
        Kind { unconditional_update: false, ..kind::<coordination::Lease>(true) },
        Kind { has_status: true, has_generation: true, ..kind::<apps::Deployment>(true) },
        Kind { has_status: true, has_generation: true, ..kind::<apps::DaemonSet>(true) },
        kind::<authentication::TokenReview>(false),
        kind::<authorization::SubjectAccessReview>(false),
    ]
}

fn custom(definition: &CustomResourceDefinition) -> Result<Vec<Kind>, String> {
    let spec = &definition.spec;
    spec.versions
        .iter()
        .filter(|version| version.served)
        .map(|version| {
            let schema = version.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref());
            let schema = serde_json::to_value(schema).map_err(|error| error.to_string())?;
            let subresources = version.subresources.as_ref();
            Ok(Kind {
                group: spec.group.clone(),
                version: version.name.clone(),
                kind: spec.names.kind.clone(),
                plural: spec.names.plural.clone(),
                namespaced: spec.scope == "Namespaced",
                has_status: subresources.is_some_and(|subresources| subresources.status.is_some()),
                has_generation: true,
                unconditional_update: false,
                selectable: &[],
                schema: Schema::Custom(Box::new(
                    CustomSchema::new(schema).map_err(|error| format!("{}: {error}", spec.names.kind))?,
                )),
            })
        })
        .collect()
}

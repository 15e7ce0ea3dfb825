//! The Pod that this process runs in, as the owner of objects that shall go
//! with it (A43, A53).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::kubernetes::error::{self, Failure};
use crate::kubernetes::retry::{Retry, RetryableError};
use crate::process::backoff::Backoff;

/// Delays between tries.
const BACKOFF: Backoff = Backoff { base: Duration::from_millis(800), cap: Duration::from_secs(60) };
/// A request that takes longer is made again.
const TIMEOUT: Duration = Duration::from_secs(15);

/// The own Pod. Copies share what was found: the API server is asked once, by
/// the first who wants to know.
#[derive(Clone)]
pub struct OwnPod(Arc<Shared>);

struct Shared {
    client: Client,
    namespace: String,
    name: Option<String>,
    owner: OnceCell<Option<OwnerReference>>,
}

impl OwnPod {
    /// The Pod `name` in `namespace`; `None` or an empty name where `--pod-name`
    /// (G5, G31) does not say which, as outside of a cluster.
    #[must_use]
    pub fn new(client: Client, namespace: &str, name: Option<&str>) -> Self {
        let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        Self(Arc::new(Shared { client, namespace: namespace.to_owned(), name, owner: OnceCell::new() }))
    }

    /// The reference that makes the Pod an owner, though not the controller, of
    /// an object in its namespace. `None`, for good, where the Pod is not named
    /// or may not be read: then objects stay when the process has gone, and the
    /// log has said so once. Waits for an API server that does not answer.
    pub async fn owner(&self) -> Option<OwnerReference> {
        self.0.owner.get_or_init(|| self.0.ask()).await.clone()
    }
}

impl Shared {
    async fn ask(&self) -> Option<OwnerReference> {
        let Some(name) = &self.name else {
            tracing::info!(op = "ownPod", "--pod-name is not set, so the own objects have no owner");
            return None;
        };
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut retry = Retry::new(BACKOFF);
        loop {
            let error = match timeout(TIMEOUT, api.get_metadata(name)).await {
                Ok(Ok(PartialObjectMeta { metadata, .. })) => return reference(metadata),
                Ok(Err(error)) => {
                    let kind = error::classify(&error);
                    let error = RetryableError::from(&error);
                    if matches!(kind, Failure::Forbidden | Failure::NotFound | Failure::Refused) {
                        tracing::warn!(
                            op = "ownPod",
                            pod = name,
                            error = error.text,
                            "the own Pod cannot be read, so the own objects have no owner"
                        );
                        return None;
                    }
                    error
                }
                Err(_) => RetryableError::new("no answer"),
            };
            if retry.failed(&error) {
                tracing::warn!(op = "ownPod", pod = name, error = error.text, "trying again");
            }
            retry.wait().await;
        }
    }
}

/// Everything stored has a name and a UID.
fn reference(pod: ObjectMeta) -> Option<OwnerReference> {
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: pod.name?,
        uid: pod.uid?,
        ..OwnerReference::default()
    })
}

impl fmt::Debug for OwnPod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnPod")
            .field("namespace", &self.0.namespace)
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

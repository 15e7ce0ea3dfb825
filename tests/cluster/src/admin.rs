//! What the rest of a cluster does with the API server: nodes join it, Pods are made and deleted.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Node, Pod, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use kube_apiserver::ApiServer;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::lan::NODES;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it looks whether something has come.
const PACE: Duration = Duration::from_millis(100);

/// A client that may do everything, with the threads that it needs.
pub(crate) struct Admin {
    // Before the runtime that it lives in.
    client: Client,
    runtime: Runtime,
}

impl Admin {
    pub(crate) fn new(api: &ApiServer) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let client = runtime.block_on(async { api.admin() });
        Ok(Self { client, runtime })
    }

    fn wait<T>(&self, request: impl Future<Output = Result<T, kube::Error>>) -> anyhow::Result<T> {
        let answer = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, request).await });
        Ok(answer.context("the API server does not answer")??)
    }

    fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// An object, if it is there.
    pub(crate) fn get<K>(&self, namespace: &str, name: &str) -> anyhow::Result<Option<K>>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.wait(self.api(namespace).get_opt(name)).with_context(|| format!("get {namespace}/{name}"))
    }

    /// Makes an object.
    fn create<K>(&self, api: &Api<K>, object: Value) -> anyhow::Result<K>
    where
        K: Clone + Debug + Serialize + DeserializeOwned,
    {
        let name = object["metadata"]["name"].to_string();
        let object: K = serde_json::from_value(object)?;
        self.wait(api.create(&PostParams::default(), &object)).with_context(|| format!("create {name}"))
    }

    /// What a cloud or Talos brings with it: the nodes, and the account of Pods that name none.
    pub(crate) fn create_nodes(&self) -> anyhow::Result<()> {
        for (name, address) in NODES {
            let node = json!({
                "metadata": {"name": name, "labels": {
                    "kubernetes.io/os": "linux", "kubernetes.io/hostname": name,
                }},
                "status": {
                    "addresses": [{"type": "InternalIP", "address": address}],
                    "conditions": [
                        {"type": "Ready", "status": "True", "reason": "KubeletReady"},
                        {"type": "NetworkUnavailable", "status": "False", "reason": "CniIsUp"},
                    ],
                },
            });
            self.create::<Node>(&Api::all(self.client.clone()), node)?;
        }
        let accounts: Api<ServiceAccount> = self.api("default");
        if self.wait(accounts.get_opt("default"))?.is_none() {
            self.create(&accounts, json!({"metadata": {"name": "default"}}))?;
        }
        Ok(())
    }

    /// Makes a Pod that is bound to a node and has `status`.
    pub(crate) fn create_pod(&self, namespace: &str, pod: Value, status: &Value) -> anyhow::Result<()> {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.create::<Pod>(&self.api(namespace), pod)?;
        self.set_pod_status(namespace, &name, status)
    }

    pub(crate) fn set_pod_status(&self, namespace: &str, name: &str, status: &Value) -> anyhow::Result<()> {
        let pods: Api<Pod> = self.api(namespace);
        let patch = Patch::Merge(json!({ "status": status }));
        self.wait(pods.patch_status(name, &PatchParams::default(), &patch)).context("the status of a Pod")?;
        Ok(())
    }

    /// Deletes a Pod: with a grace period, which the kubelet ends, or at once.
    pub(crate) fn delete_pod(&self, namespace: &str, name: &str, at_once: bool) -> anyhow::Result<()> {
        let pods: Api<Pod> = self.api(namespace);
        let parameters =
            if at_once { DeleteParams::default().grace_period(0) } else { DeleteParams::default() };
        match self.wait(pods.delete(name, &parameters)) {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("delete Pod {name}")),
        }
    }

    /// Makes an EndpointSlice, or changes the one of that name.
    pub(crate) fn put_slice(&self, namespace: &str, name: &str, slice: Value) -> anyhow::Result<()> {
        let slices: Api<EndpointSlice> = self.api(namespace);
        if self.wait(slices.get_opt(name))?.is_none() {
            return self.create(&slices, slice).map(|_| ());
        }
        self.wait(slices.patch(name, &PatchParams::default(), &Patch::Merge(slice)))?;
        Ok(())
    }

    /// Looks until there is something to see. Errors are seen as nothing yet.
    pub(crate) fn wait_for<T>(
        what: &str,
        patience: Duration,
        mut look: impl FnMut() -> anyhow::Result<Option<T>>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            let seen = look();
            if let Ok(Some(found)) = seen {
                return Ok(found);
            }
            if Instant::now() >= deadline {
                match seen {
                    Err(error) => bail!("{what}: not within {patience:?}: {error:#}"),
                    Ok(_) => bail!("{what}: not within {patience:?}"),
                }
            }
            std::thread::sleep(PACE);
        }
    }
}

fn is_not_found(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(kube::Error::Api(status)) if status.code == 404)
}

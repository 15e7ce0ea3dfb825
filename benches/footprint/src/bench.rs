//! What the programs are put on: an API server with the shipped manifests, a node, a network of one TAP device, and as
//! many Services as are wanted.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use ferrolb_api::crd::ServiceL2Status;
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use kube_apiserver::{ApiServer, NAMESPACE};
use netsim::net::tap::TapPort;
use serde_json::json;
use tests::kernel;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use crate::load::{self, AssignedCount};

/// The node that both programs are on.
pub(crate) const NODE: &str = "wk01";
/// Its address, in the network that the pool is in.
pub(crate) const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 2);
const PREFIX: u8 = 15;
const POOL: &str = "10.201.0.0/16";
const NIC: &str = "eth0";
const OVERLAY: &str = "manifests/overlays/talos";
/// What a speaker becomes when it has opened its sockets.
const NOBODY: u32 = 65_534;
/// How long all Services together may take.
const PATIENCE: Duration = Duration::from_secs(900);
/// How often it looks whether something has come.
const PACE: Duration = Duration::from_millis(200);

/// All of it; goes with the value.
pub(crate) struct FootprintBench {
    assigned: AssignedCount,
    client: Client,
    runtime: Runtime,
    api: ApiServer,
    folder: PathBuf,
    endpoints: usize,
    services: usize,
    _nic: TapPort,
}

impl FootprintBench {
    /// Starts everything but the programs. `None` without the binaries of Kubernetes.
    pub(crate) fn start(endpoints: usize) -> anyhow::Result<Option<Self>> {
        let nic = TapPort::open(NIC)?;
        kernel::set_up(NIC)?;
        kernel::add_address(NIC, NODE_ADDRESS.into(), PREFIX)?;
        let Some(api) = ApiServer::start() else { return Ok(None) };
        api.apply_overlay(OVERLAY);
        let addresses = json!({"spec": {"addresses": [POOL]}}).to_string();
        api.kubectl(&[
            "-n",
            NAMESPACE,
            "patch",
            "ipaddresspool",
            "first-pool",
            "--type=merge",
            "-p",
            &addresses,
        ]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let client = runtime.block_on(async { api.admin() });
        let node: Node = serde_json::from_value(json!({"metadata": {"name": NODE}}))?;
        runtime.block_on(Api::all(client.clone()).create(&PostParams::default(), &node))?;
        let assigned = runtime.block_on(async { AssignedCount::watch(client.clone()) });
        let folder = std::env::temp_dir().join(format!("ferrolb-footprint-{}", std::process::id()));
        fs::create_dir(&folder)?;
        let bench = Self { assigned, client, runtime, api, folder, endpoints, services: 0, _nic: nic };
        bench.share(&bench.folder, 0o750)?;
        fs::create_dir(bench.secret_folder())?;
        fs::write(bench.secret_folder().join("secretkey"), "for this run alone")?;
        Ok(Some(bench))
    }

    /// Makes Services until there are so many, with their EndpointSlices.
    pub(crate) fn create_services(&mut self, services: usize) -> anyhow::Result<()> {
        let new = self.services..services.max(self.services);
        self.services = new.end;
        self.runtime.block_on(load::create(&self.client, new, self.endpoints))
    }

    /// Waits until so many Services have an address.
    pub(crate) fn wait_for_addresses(&self, services: usize) -> anyhow::Result<()> {
        let all = async { timeout(PATIENCE, self.assigned.wait_for(services)).await };
        let seen = || format!("only {} have addresses", self.assigned.count());
        self.runtime.block_on(all).with_context(seen)?
    }

    /// Waits until the speaker says of so many Services that it announces them.
    pub(crate) fn wait_for_statuses(&self, services: usize) -> anyhow::Result<()> {
        let api: Api<ServiceL2Status> = Api::namespaced(self.client.clone(), NAMESPACE);
        let one = ListParams::default().limit(1);
        let all = async {
            loop {
                let page = api.list_metadata(&one).await?;
                let rest = usize::try_from(page.metadata.remaining_item_count.unwrap_or_default())?;
                if page.items.len() + rest >= services {
                    return anyhow::Ok(());
                }
                sleep(PACE).await;
            }
        };
        let all = self.runtime.block_on(async { timeout(PATIENCE, all).await });
        all.context("some Services have no ServiceL2Status")?
    }

    /// Writes a file that the speaker can read also as nobody.
    pub(crate) fn publish(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        fs::write(&path, bytes)?;
        self.share(&path, 0o640)?;
        Ok(path)
    }

    fn share(&self, path: &Path, mode: u32) -> anyhow::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        // A user namespace of one user has no such group, and there the speaker stays that user.
        let _ = chown(path, None, Some(NOBODY));
        Ok(())
    }

    pub(crate) const fn api(&self) -> &ApiServer {
        &self.api
    }

    /// For logs, and for what the programs read.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the gossip secret is.
    pub(crate) fn secret_folder(&self) -> PathBuf {
        self.folder.join("secret")
    }
}

impl Drop for FootprintBench {
    fn drop(&mut self) {
        // With what is left there nobody can do anything: the API server is gone.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

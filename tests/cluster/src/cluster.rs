//! The cluster: everything started, and what may be done to it.

use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Container, Service};
use kube_apiserver::{ApiServer, ApiUser, NAMESPACE};
use serde_json::json;
use tests::probe::{Probe, Record};

use crate::admin::Admin;
use crate::backend::{self, ECHO};
use crate::lan::{API, Lan, NODES, PODS};
use crate::pod::{self, Place, Pod};
use crate::probe;
use crate::program::Program;
use crate::proxy::Proxy;

/// The port of the API server.
pub const API_PORT: u16 = 6443;
/// What is applied.
pub const OVERLAY: &str = "manifests/overlays/talos";
/// The Service that the nodes serve.
pub const NGINX: &str = "nginx";
/// The Lease of the controllers.
const LEASE: &str = "metallb-controller";
/// How often the probe asks.
const INTERVAL: Duration = Duration::from_millis(1);
/// The probe runs this long before and after what it watches.
const CALM: Duration = Duration::from_millis(500);
/// How long one question to the address may take.
const ANSWER: Duration = Duration::from_millis(200);
/// Lines of each log that are shown when something has failed.
const SHOWN: usize = 12;

/// A running cluster. Dropping it ends everything that it has started; so does the end of the process.
pub struct Cluster {
    // In the order in which they end.
    speakers: Vec<Slot>,
    controllers: Vec<Slot>,
    _proxy: Proxy,
    admin: Admin,
    api: Arc<ApiServer>,
    lan: Arc<Lan>,
    folder: PathBuf,
}

/// A place for a Pod: which one has it, or had it last.
#[derive(Debug, Default)]
struct Slot {
    pod: Option<Pod>,
    dead: Option<String>,
    started: u32,
}

/// What a probe has seen while something was done to the cluster.
#[derive(Debug)]
pub struct Outage {
    /// Who answered when.
    pub record: Record,
    /// After how long another node answered than the one before.
    pub moved: Option<Duration>,
    /// Datagrams that this machine has dropped because a thread of the test came too late.
    pub overflows: u64,
}

impl Cluster {
    /// Starts everything and waits until it is ready; logs go to `folder`, which must exist. `None` if there are no
    /// binaries of Kubernetes, see [`ApiServer::start`]. [`tests::namespaces::enter`] must have succeeded.
    ///
    /// # Errors
    /// Here and below: what could not be done, or has not happened in time.
    ///
    /// # Panics
    /// Here and below: if the API server does not get ready, or kubectl fails.
    pub fn start(folder: &Path) -> anyhow::Result<Option<Self>> {
        let lan = Arc::new(Lan::start()?);
        let builder = ApiServer::builder().address((API, API_PORT).into());
        let Some(api) = lan.api.namespace.run(|| builder.start())? else { return Ok(None) };
        let api = Arc::new(api);
        let admin = Admin::new(&api)?;
        admin.create_nodes()?;
        api.apply_overlay(OVERLAY);
        let mut cluster = Self {
            speakers: NODES.iter().map(|_| Slot::default()).collect(),
            controllers: PODS.iter().map(|_| Slot::default()).collect(),
            _proxy: Proxy::start(&lan, &api)?,
            admin,
            api,
            lan,
            folder: folder.to_owned(),
        };
        for replica in 0..PODS.len() {
            cluster.place(Program::Controller, replica)?;
        }
        for node in 0..NODES.len() {
            cluster.place(Program::Speaker, node)?;
        }
        for replica in 0..PODS.len() {
            cluster.await_ready(Program::Controller, replica)?;
        }
        for node in 0..NODES.len() {
            cluster.await_ready(Program::Speaker, node)?;
        }
        Ok(Some(cluster))
    }

    /// The network.
    #[must_use]
    pub fn lan(&self) -> &Lan {
        &self.lan
    }

    /// The API server.
    #[must_use]
    pub fn api(&self) -> &ApiServer {
        &self.api
    }

    /// The journey of the README: a Deployment, a Service for it, its address. And what other parts of a cluster do then:
    /// a Pod on each node, and the slice with their endpoints.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub fn expose_nginx(&self) -> anyhow::Result<Ipv4Addr> {
        self.api.kubectl(&["create", "deployment", NGINX, "--image=nginx"]);
        self.api.kubectl(&["expose", "deployment", NGINX, "--port=80", "--type=LoadBalancer"]);
        for node in 0..NODES.len() {
            self.schedule_nginx(node)?;
        }
        self.set_endpoints(&[0, 1])?;
        self.address_of(NGINX, Duration::from_secs(30))
    }

    /// A Pod of nginx on a node.
    fn schedule_nginx(&self, node: usize) -> anyhow::Result<()> {
        let (name, address) = NODES[node];
        let container =
            Container { name: NGINX.to_owned(), image: Some(NGINX.to_owned()), ..Container::default() };
        let pod = json!({
            "metadata": {"name": format!("{NGINX}-{name}"), "labels": {"app": NGINX}},
            "spec": {"nodeName": name, "containers": [container]},
        });
        let status = pod::running(&container, address, &pod_address(node), true);
        self.admin.create_pod("default", pod, &status)
    }

    /// The EndpointSlice of nginx.
    fn set_endpoints(&self, nodes: &[usize]) -> anyhow::Result<()> {
        let endpoints = nodes.iter().map(|node| {
            json!({"addresses": [pod_address(*node)], "nodeName": NODES[*node].0, "conditions": {"ready": true}})
        });
        let name = format!("{NGINX}-1");
        let slice = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": NGINX}},
            "addressType": "IPv4",
            "endpoints": endpoints.collect::<Vec<_>>(),
            "ports": [{"port": 80, "protocol": "TCP"}],
        });
        self.admin.put_slice("default", &name, slice)
    }

    /// The address that a Service in `default` has got, waiting for it.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub fn address_of(&self, service: &str, patience: Duration) -> anyhow::Result<Ipv4Addr> {
        Admin::wait_for(&format!("{service} gets an address"), patience, || {
            let service: Option<Service> = self.admin.get("default", service)?;
            let balancer = service.and_then(|service| service.status?.load_balancer);
            let ingress = balancer.and_then(|balancer| balancer.ingress).unwrap_or_default();
            Ok(ingress.first().and_then(|ingress| ingress.ip.as_ref()?.parse().ok()))
        })
    }

    /// What the client gets from a web server.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub fn curl(&self, address: Ipv4Addr) -> anyhow::Result<String> {
        let (code, body) = backend::get(&self.lan.client.namespace, (address.into(), backend::HTTP), "/")?;
        ensure!(code == 200, "{code}: {body}");
        Ok(body)
    }

    /// Waits until every speaker runs and knows the others, and one node serves `address` without a change for a second.
    /// Gives its index.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub fn settle(&self, address: Ipv4Addr) -> anyhow::Result<usize> {
        let console = &self.lan.console.namespace;
        Admin::wait_for("the speakers know each other", Duration::from_secs(30), || {
            for slot in &self.speakers {
                let pod = slot.pod.as_ref().context("a speaker does not run")?;
                if pod.metric(console, "metallb_speaker_members")? < NODES.len() as f64 {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })?;
        let mut since = (Instant::now(), None);
        Admin::wait_for("one node serves the address", Duration::from_secs(30), || {
            let serving = self.who_serves(address)?;
            if serving.is_none() || serving != since.1 {
                since = (Instant::now(), serving);
            }
            Ok(serving.filter(|_| since.0.elapsed() >= Duration::from_secs(1)))
        })
    }

    /// The node that answers the client at this moment.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub fn who_serves(&self, address: Ipv4Addr) -> anyhow::Result<Option<usize>> {
        let name = probe::who_serves(&self.lan.client.namespace, address, ANSWER)?;
        Ok(name.and_then(|name| NODES.iter().position(|(node, _)| *node == name)))
    }

    /// Waits until `node` serves the address.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub fn await_owner(&self, address: Ipv4Addr, node: usize, patience: Duration) -> anyhow::Result<()> {
        let what = format!("{} takes over", NODES[node].0);
        Admin::wait_for(&what, patience, || {
            Ok(self.who_serves(address)?.filter(|serving| *serving == node))
        })?;
        Ok(())
    }

    /// Runs `act` while the client asks `address` every millisecond. `act` says when it was that something was done.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub fn measure(
        &mut self,
        address: Ipv4Addr,
        act: impl FnOnce(&mut Self) -> anyhow::Result<Instant>,
    ) -> anyhow::Result<Outage> {
        self.lan.record()?;
        let before = self.overflows()?;
        let probe = Probe::start(&self.lan.client.namespace, (address, ECHO), INTERVAL)?;
        thread::sleep(CALM);
        let done = act(self);
        thread::sleep(CALM);
        let overflows = self.overflows()?.saturating_sub(before);
        let record = probe.stop();
        let moved = record.moved(done?);
        Ok(Outage { record, moved, overflows })
    }

    fn overflows(&self) -> anyhow::Result<u64> {
        let stations = self.lan.nodes.iter().chain([&self.lan.client]);
        stations.map(|station| Ok(probe::overflows(&station.namespace)?)).sum()
    }

    /// Starts a program's Pod, in the place of one that has ended, and waits until it is ready.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub fn launch(&mut self, program: Program, index: usize) -> anyhow::Result<()> {
        self.place(program, index)?;
        self.await_ready(program, index)
    }

    fn place(&mut self, program: Program, index: usize) -> anyhow::Result<()> {
        let slots = if program == Program::Speaker { &mut self.speakers } else { &mut self.controllers };
        let slot = &mut slots[index];
        ensure!(slot.pod.is_none(), "it runs already");
        if let Some(dead) = slot.dead.take() {
            self.admin.delete_pod(NAMESPACE, &dead, true)?;
        }
        slot.started += 1;
        let node = NODES[index];
        let (namespace, address) = match program {
            Program::Speaker => (&self.lan.nodes[index].namespace, node.1),
            Program::Controller => (&self.lan.pods[index].namespace, PODS[index]),
        };
        let name = format!("{}-{}-{}", program.name(), node.0, slot.started);
        let place = Place { namespace, address, node };
        slot.pod = Some(Pod::start((&self.admin, &self.api, &self.folder), program, name, place)?);
        Ok(())
    }

    fn await_ready(&mut self, program: Program, index: usize) -> anyhow::Result<()> {
        let slots = if program == Program::Speaker { &mut self.speakers } else { &mut self.controllers };
        let pod = slots[index].pod.as_mut().context("it does not run")?;
        pod.wait_until_ready(&self.admin, &self.lan.console.namespace)
    }

    /// Kills a program (SIGKILL). Its Pod stays in the API, as after a crash.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub fn kill(&mut self, program: Program, index: usize) -> anyhow::Result<()> {
        let slot = self.slot(program, index);
        let mut pod = slot.pod.take().context("it does not run")?;
        slot.dead = Some(pod.name.clone());
        pod.kill()
    }

    /// Deletes a program's Pod: SIGTERM, and the end of the process is waited for.
    ///
    /// # Errors
    /// See [`Cluster::start`]; or if it does not end by itself, and well.
    pub fn stop(&mut self, program: Program, index: usize) -> anyhow::Result<()> {
        let mut pod = self.slot(program, index).pod.take().context("it does not run")?;
        pod.stop(&self.admin)
    }

    const fn slot(&mut self, program: Program, index: usize) -> &mut Slot {
        let slots = match program {
            Program::Speaker => self.speakers.as_mut_slice(),
            Program::Controller => self.controllers.as_mut_slice(),
        };
        &mut slots[index]
    }

    /// Whether a program runs.
    #[must_use]
    pub fn runs(&self, program: Program, index: usize) -> bool {
        let slots = if program == Program::Speaker { &self.speakers } else { &self.controllers };
        slots[index].pod.is_some()
    }

    /// `kubectl drain`: no new Pods for the node, and its endpoints go. The speaker is a DaemonSet's and stays.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub fn drain(&self, node: usize) -> anyhow::Result<()> {
        let name = NODES[node].0;
        let pods = format!("--pod-selector=app={NGINX}");
        self.api.kubectl(&["drain", name, "--ignore-daemonsets", "--force", "--grace-period=0", &pods]);
        self.set_endpoints(&(0..NODES.len()).filter(|other| *other != node).collect::<Vec<_>>())
    }

    /// The way back.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub fn undrain(&self, node: usize) -> anyhow::Result<()> {
        self.api.kubectl(&["uncordon", NODES[node].0]);
        self.schedule_nginx(node)?;
        self.set_endpoints(&(0..NODES.len()).collect::<Vec<_>>())
    }

    /// Starts the API server again after [`ApiServer::stop`].
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub fn restart_api(&self) -> anyhow::Result<()> {
        Ok(self.lan.api.namespace.run(|| self.api.restart())?)
    }

    /// Plugs in every cable and starts whatever does not run.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub fn mend(&mut self) -> anyhow::Result<()> {
        for node in 0..NODES.len() {
            self.lan.set_link(node, true)?;
        }
        if self.admin.get::<Service>("default", NGINX).is_err() {
            self.restart_api()?;
        }
        for program in [Program::Controller, Program::Speaker] {
            for index in 0..NODES.len() {
                if !self.runs(program, index) {
                    self.launch(program, index)?;
                }
            }
        }
        Ok(())
    }

    /// The controller that holds the Lease.
    ///
    /// # Errors
    /// See [`Cluster::start`].
    pub fn leader(&self) -> anyhow::Result<usize> {
        Admin::wait_for("a controller leads", Duration::from_secs(60), || {
            let lease: Option<Lease> = self.admin.get(NAMESPACE, LEASE)?;
            let Some(holder) = lease.and_then(|lease| lease.spec?.holder_identity) else { return Ok(None) };
            // A Pod's name, and behind it what tells two processes of one Pod apart.
            let pod = holder.split('_').next();
            let leads = |slot: &Slot| slot.pod.as_ref().is_some_and(|running| pod == Some(&running.name));
            Ok(self.controllers.iter().position(leads))
        })
    }

    /// The nodes that announce a Service as `ServiceL2Status` says.
    #[must_use]
    pub fn announcing(&self, service: &str) -> Vec<String> {
        let selector = format!("-lmetallb.io/service-name={service}");
        let path = "-ojsonpath={.items[*].status.node}";
        let text = self.api.kubectl(&["-n", NAMESPACE, "get", "servicel2statuses", &selector, path]);
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Writes that our programs have asked for so far, the Lease's apart.
    #[must_use]
    pub fn writes(&self) -> Vec<kube_apiserver::AuditedRequest> {
        let accounts =
            [Program::Controller, Program::Speaker].map(|program| ApiUser::account(program.name()));
        let all = accounts.iter().flat_map(|account| self.api.requests(account));
        let is_write =
            |verb: &str| ["create", "update", "patch", "delete", "deletecollection"].contains(&verb);
        all.filter(|request| is_write(&request.verb) && request.resource != "leases").collect()
    }

    /// Who runs where, with its process id; for people.
    #[must_use]
    pub fn status(&self) -> Vec<String> {
        let line = |name: &str, node: &str, slot: &Slot| match &slot.pod {
            Some(pod) => format!("{name} on {node}: {}, process {}", pod.name, pod.pid()),
            None => format!("{name} on {node}: does not run"),
        };
        let speakers = NODES.iter().zip(&self.speakers).map(|(node, slot)| line("speaker", node.0, slot));
        let controllers =
            NODES.iter().zip(&self.controllers).map(|(node, slot)| line("controller", node.0, slot));
        speakers.chain(controllers).collect()
    }

    /// Leaves what helps to understand a failure in the folder, and prints where it is and how the logs end.
    pub fn report(&self, name: &str) {
        let capture = self.folder.join(format!("{name}.pcapng"));
        let captured = self.lan.write_capture(&capture);
        let log = "kube-apiserver.log";
        let copied = fs::copy(self.api.folder().join(log), self.folder.join(log));
        let mut err = std::io::stderr().lock();
        let _ = writeln!(err, "{name}: logs are in {}", self.folder.display());
        let _ = match captured {
            Ok(()) => writeln!(err, "{name}: every frame is in {}", capture.display()),
            Err(error) => writeln!(err, "{name}: the frames could not be written: {error}"),
        };
        if let Err(error) = copied {
            let _ = writeln!(err, "{name}: the API server's log could not be copied: {error}");
        }
        for line in self.status() {
            let _ = writeln!(err, "{line}");
        }
        let pods = self.speakers.iter().chain(&self.controllers);
        for name in pods.filter_map(|slot| slot.pod.as_ref().map(|pod| &pod.name).or(slot.dead.as_ref())) {
            let text = fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let end = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
            let _ = writeln!(err, "--- {name}\n{end}");
        }
    }
}

/// The address of the Pod of nginx on a node, in a network that only the API knows.
fn pod_address(node: usize) -> String {
    format!("10.244.{node}.2")
}

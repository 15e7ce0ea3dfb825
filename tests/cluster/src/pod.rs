//! What a kubelet does: a Pod of the shipped manifests becomes a process, with its arguments, environment and files.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, PodSpec, PodTemplateSpec, Secret, Volume};
use kube_apiserver::{ApiServer, ChildProcess, NAMESPACE};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tests::namespaces::Namespace;

use crate::admin::Admin;
use crate::backend;
use crate::program::Program;

/// How long a Pod may take from its start until it is ready: with cold caches, on a busy machine.
const READY: Duration = Duration::from_secs(90);
/// Where a Pod finds its token.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Folders of the host that a Pod does not see; what it mounts lies below them.
const HIDDEN: [&str; 2] = ["/etc", "/var/run"];
/// Files may be read by their owner and by `fsGroup`, and tokens as well.
const MODE: u32 = 0o440;

/// Where a Pod runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// Its network, the node's own or another.
    pub(crate) namespace: &'a Namespace,
    /// Its address there.
    pub(crate) address: Ipv4Addr,
    /// Its node's name and address.
    pub(crate) node: (&'a str, Ipv4Addr),
}

/// A Pod that runs, or has run.
#[derive(Debug)]
pub(crate) struct Pod {
    /// Its name.
    pub(crate) name: String,
    process: ChildProcess,
    web: (IpAddr, u16),
    ready_path: String,
    status: Value,
}

/// What the API server holds of the manifests for a program.
fn template(admin: &Admin, program: Program) -> anyhow::Result<(PodTemplateSpec, Value)> {
    let name = program.name();
    let missing = || format!("the manifests have no {name}");
    let (template, kind, uid) = match program {
        Program::Controller => {
            let found: Deployment = admin.get(NAMESPACE, name)?.with_context(missing)?;
            (found.spec.with_context(missing)?.template, "Deployment", found.metadata.uid)
        }
        Program::Speaker => {
            let found: DaemonSet = admin.get(NAMESPACE, name)?.with_context(missing)?;
            (found.spec.with_context(missing)?.template, "DaemonSet", found.metadata.uid)
        }
    };
    let owner = json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid, "controller": true});
    Ok((template, owner))
}

impl Pod {
    /// Makes the Pod and starts its process. Waits for the Secrets that it mounts, as the kubelet does.
    pub(crate) fn start(
        (admin, api, folder): (&Admin, &ApiServer, &Path),
        program: Program,
        name: String,
        place: Place<'_>,
    ) -> anyhow::Result<Self> {
        let (template, owner) = template(admin, program)?;
        let spec = template.spec.context("a template has a spec")?;
        let [container] = spec.containers.as_slice() else { bail!("{name} has several containers") };
        let status = running(container, place.node.1, &place.address.to_string(), false);
        let labels = template.metadata.and_then(|metadata| metadata.labels);
        let bound = PodSpec { node_name: Some(place.node.0.to_owned()), ..spec.clone() };
        let pod = json!({
            "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]}, "spec": bound,
        });
        admin.create_pod(NAMESPACE, pod, &status)?;

        let mut files = account_files(api, program)?;
        for volume in spec.volumes.iter().flatten() {
            let mounted = container.volume_mounts.iter().flatten().find(|mount| mount.name == volume.name);
            let path = &mounted.with_context(|| format!("nobody mounts {}", volume.name))?.mount_path;
            let content = volume_files(admin, volume)?;
            files.extend(content.into_iter().map(|(key, bytes)| (Path::new(path).join(key), bytes)));
        }
        let command = command(program, container, &name, place)?;
        let process = place.namespace.run(|| -> io::Result<ChildProcess> {
            change_root(&files)?;
            Ok(ChildProcess::start(&name, Path::new("/usr/bin/env"), &command, folder, false))
        })??;
        let (port, ready_path) = readiness(container)?;
        Ok(Self { name, process, web: (IpAddr::V4(place.address), port), ready_path, status })
    }

    /// Waits until its readiness probe is answered, from outside, and says so in its status.
    pub(crate) fn wait_until_ready(&mut self, admin: &Admin, from: &Namespace) -> anyhow::Result<()> {
        Admin::wait_for(&format!("{} gets ready", self.name), READY, || {
            self.process.assert_running();
            let (code, text) = backend::get(from, self.web, &self.ready_path)?;
            if code == 200 { Ok(Some(())) } else { bail!("{code} {text}") }
        })?;
        set_ready(&mut self.status, true);
        admin.set_pod_status(NAMESPACE, &self.name, &self.status)
    }

    /// One of its metrics, without labels.
    pub(crate) fn metric(&self, from: &Namespace, name: &str) -> anyhow::Result<f64> {
        let (_, text) = backend::get(from, self.web, "/metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("{} has no metric {name}", self.name))?.trim().parse()?)
    }

    /// The process dies; its Pod stays, as after a crash.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::SIGKILL);
        self.process.wait(Duration::from_secs(10)).context("SIGKILL was ignored")?;
        Ok(())
    }

    /// Deletes the Pod as `kubectl delete pod` and the kubelet do: SIGTERM, and the object goes when the process has.
    pub(crate) fn stop(&mut self, admin: &Admin) -> anyhow::Result<()> {
        admin.delete_pod(NAMESPACE, &self.name, false)?;
        self.process.signal(Signal::SIGTERM);
        let ended = self.process.wait(Duration::from_secs(20));
        let status = ended.with_context(|| format!("{} has ignored SIGTERM", self.name))?;
        admin.delete_pod(NAMESPACE, &self.name, true)?;
        if status.success() { Ok(()) } else { bail!("{} ended with {status}", self.name) }
    }

    /// Its process id.
    pub(crate) const fn pid(&self) -> i32 {
        self.process.pid()
    }
}

/// The status of a Pod whose one container runs.
pub(crate) fn running(container: &Container, host: Ipv4Addr, address: &str, is_ready: bool) -> Value {
    let image = container.image.as_deref().unwrap_or_default();
    let mut status = json!({
        "phase": "Running",
        "hostIP": host, "podIP": address, "podIPs": [{"ip": address}],
        "conditions": [{"type": "Ready"}],
        "containerStatuses": [{
            "name": container.name, "image": image, "imageID": image, "restartCount": 0,
            "state": {"running": {}},
        }],
    });
    set_ready(&mut status, is_ready);
    status
}

fn set_ready(status: &mut Value, is_ready: bool) {
    status["conditions"][0]["status"] = json!(if is_ready { "True" } else { "False" });
    status["containerStatuses"][0]["ready"] = json!(is_ready);
}

/// The command line: the container's environment, nothing of ours, and this binary as the program.
fn command(
    program: Program,
    container: &Container,
    pod: &str,
    place: Place<'_>,
) -> anyhow::Result<Vec<String>> {
    let mut command = vec![
        "-i".to_owned(),
        format!("KUBERNETES_SERVICE_HOST={}", crate::lan::API),
        format!("KUBERNETES_SERVICE_PORT={}", crate::cluster::API_PORT),
    ];
    for variable in container.env.iter().flatten() {
        command.push(format!("{}={}", variable.name, value(variable, pod, place)?));
    }
    let exe = std::env::current_exe()?;
    command.push(exe.to_str().context("the path of this program is not UTF-8")?.to_owned());
    command.push(program.name().to_owned());
    command.extend(container.args.iter().flatten().cloned());
    Ok(command)
}

/// The value of an environment variable, from the Pod's fields where it says so.
fn value(variable: &EnvVar, pod: &str, place: Place<'_>) -> anyhow::Result<String> {
    if let Some(value) = &variable.value {
        return Ok(value.clone());
    }
    let from = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
    Ok(match from.map(|field| field.field_path.as_str()) {
        Some("metadata.name") => pod.to_owned(),
        Some("spec.nodeName") => place.node.0.to_owned(),
        Some("status.hostIP") => place.node.1.to_string(),
        Some("status.podIP") => place.address.to_string(),
        other => bail!("{} is from {other:?}, which this kubelet does not know", variable.name),
    })
}

/// Port and path of the readiness probe.
fn readiness(container: &Container) -> anyhow::Result<(u16, String)> {
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    let probe = container.readiness_probe.as_ref().and_then(|probe| probe.http_get.as_ref());
    let probe = probe.context("there is no readiness probe")?;
    let port = match &probe.port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = |port: &&k8s_openapi::api::core::v1::ContainerPort| port.name.as_ref() == Some(name);
            let port = container.ports.iter().flatten().find(named);
            port.with_context(|| format!("no port is called {name}"))?.container_port
        }
    };
    Ok((u16::try_from(port)?, probe.path.clone().unwrap_or_else(|| "/".to_owned())))
}

type Files = Vec<(PathBuf, Vec<u8>)>;

/// What every Pod finds: a token of its account, and whom to trust.
fn account_files(api: &ApiServer, program: Program) -> anyhow::Result<Files> {
    let files = [
        ("token", api.token(NAMESPACE, program.name()).into_bytes()),
        ("ca.crt", fs::read(api.folder().join("ca.crt"))?),
        ("namespace", NAMESPACE.into()),
    ];
    Ok(files.map(|(name, bytes)| (Path::new(ACCOUNT).join(name), bytes)).into())
}

/// The content of a volume. A Secret is waited for: the controller makes it.
fn volume_files(admin: &Admin, volume: &Volume) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    if let Some(name) = volume.secret.as_ref().and_then(|secret| secret.secret_name.as_ref()) {
        let secret =
            Admin::wait_for(&format!("Secret {name}"), READY, || admin.get::<Secret>(NAMESPACE, name))?;
        return Ok(secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect());
    }
    if let Some(source) = &volume.config_map {
        let found: ConfigMap = admin.get(NAMESPACE, &source.name)?.context("the ConfigMap is missing")?;
        return Ok(found.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes())).collect());
    }
    bail!("volume {} is of a kind that this kubelet does not know", volume.name)
}

/// Gives the calling thread, and the process it starts, folders of its own with these files and nothing else in them.
fn change_root(files: &Files) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
    for folder in HIDDEN {
        mount(Some("pod"), &fs::canonicalize(folder)?, Some("tmpfs"), MsFlags::empty(), Some("mode=0755"))?;
    }
    for (path, bytes) in files {
        fs::create_dir_all(path.parent().expect("a file is in a folder"))?;
        fs::write(path, bytes)?;
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))?;
        // A user namespace of one user has no such group, and there the speaker stays that user.
        let _ = chown(path, None, Some(speaker::sys::privileges::NOBODY));
    }
    Ok(())
}

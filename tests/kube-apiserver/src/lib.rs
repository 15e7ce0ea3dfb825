//! A real API server for tests: kube-apiserver and etcd as processes of the test, with RBAC, on loopback, in seconds.
//!
//! ```no_run
//! use kube_apiserver::ApiServer;
//!
//! #[tokio::test]
//! async fn the_overlay_applies() {
//!     let Some(api) = ApiServer::start() else { return };
//!     api.apply_overlay("manifests/overlays/talos");
//!     let controller = api.client_as("controller");
//! #   drop(controller);
//! }
//! ```
//!
//! The binaries are found through `KUBEBUILDER_ASSETS`; without it tests are skipped, loudly, and fail where `CI` is set.
//! Nothing needs root. The processes end with the value, and with the test's process, however it ends.

mod assets;
mod audit;
mod blocking;
mod certificates;
mod etcd;
mod identity;
mod kubectl;
mod port;
mod process;

use std::fs::DirBuilder;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use nix::sys::signal::Signal;
use serde_json::json;

use assets::Assets;
pub use audit::AuditedRequest;
use certificates::Certificates;
use etcd::Etcd;
pub use etcd::EtcdBackup;
pub use identity::{ApiUser, NAMESPACE};
use port::HeldPort;
pub use process::ChildProcess;

/// An API server that is not ready after this time never will be; usually it takes a few seconds.
const READY: Duration = Duration::from_secs(120);
/// How often we ask.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// What SIGTERM may take: kube-apiserver finishes its requests, but watches only on a timeout of its own.
const TERMINATION: Duration = Duration::from_secs(90);
/// Tokens are good for longer than any test, in seconds.
const TOKEN_SECONDS: i64 = 24 * 3600;
/// Where Services get their cluster addresses from, of both families.
const SERVICE_RANGES: &str = "10.96.0.0/16,fd00:10:96::/112";
/// The first address of the first range is the API server's own.
const SERVICE_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));

/// How an API server shall be started.
#[derive(Clone, Debug)]
pub struct Builder {
    address: SocketAddr,
    flags: Vec<String>,
}

impl Builder {
    /// Where it listens: an address of the network namespace that the calling thread is in, and a port, 0 for a free
    /// one. Without this it is loopback.
    #[must_use]
    pub const fn address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// One more flag for kube-apiserver, for instance `--max-mutating-requests-inflight=1`.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Starts it, see [`ApiServer::start`].
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn start(self) -> Option<ApiServer> {
        let assets = Assets::find()?;
        let port = HeldPort::hold(self.address);
        let folder = new_folder();
        let etcd = Etcd::start(&assets, &folder);
        let certificates = Certificates::create(
            &folder,
            &[self.address.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST), SERVICE_ADDRESS],
        );
        certificates::write(&folder.join("audit-policy.json"), audit::POLICY);
        let server = ApiServer {
            flags: flags(&folder, port.address(), self.flags),
            server: Mutex::new(None),
            controllers: Mutex::new(None),
            etcd: Mutex::new(etcd),
            certificates,
            port,
            assets,
            folder,
        };
        server.restart();
        Some(server)
    }
}

/// A running API server, empty at first. Dropping it kills its processes and removes its folder.
///
/// It all works inside and outside of a runtime, except that clients must be made inside the one they are used in.
#[derive(Debug)]
pub struct ApiServer {
    controllers: Mutex<Option<ChildProcess>>,
    server: Mutex<Option<ChildProcess>>,
    etcd: Mutex<Etcd>,
    flags: Vec<String>,
    certificates: Certificates,
    port: HeldPort,
    assets: Assets,
    folder: PathBuf,
}

impl ApiServer {
    /// Starts an API server of the caller's own and waits until it is ready. `None`, and one line on standard error, if
    /// there are no binaries.
    ///
    /// # Panics
    /// If it does not become ready, or there are no binaries although `CI` is set.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::builder().start()
    }

    /// The one that all tests of a binary share; it ends with the binary. They keep out of each other's way by
    /// namespaces of their own.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<ApiServer>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// For those who want to choose.
    #[must_use]
    pub fn builder() -> Builder {
        Builder { address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0), flags: Vec::new() }
    }

    /// Where it listens, also while it is stopped.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// Its logs and data.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A client that may do everything. It is of no use under a clock that stands still: its timeouts would be over at
    /// once, for nothing else happens meanwhile.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn admin(&self) -> Client {
        self.client(&ApiUser::Admin)
    }

    /// A client with a token of this service account in `metallb-system`, which must exist.
    ///
    /// # Panics
    /// If it does not exist, and outside of a tokio runtime.
    #[must_use]
    pub fn client_as(&self, service_account: &str) -> Client {
        self.client(&ApiUser::account(service_account))
    }

    /// A client of anybody's. It retries nothing, so that tests see every answer.
    ///
    /// # Panics
    /// If it is a service account that does not exist, and outside of a tokio runtime.
    #[must_use]
    pub fn client(&self, who: &ApiUser) -> Client {
        let path = self.kubeconfig(who);
        let config = blocking::wait_for(async || config(&path).await);
        Client::try_from(config).expect("our own kubeconfig is good")
    }

    /// A kubeconfig file for kubectl and for our binaries (`KUBECONFIG`).
    ///
    /// # Panics
    /// If it is for a service account that does not exist.
    pub fn kubeconfig(&self, who: &ApiUser) -> PathBuf {
        let path = self.folder.join(format!("{}.kubeconfig", who.file_name()));
        let by_certificate = |name: &str, group: Option<&str>| {
            let (certificate, key) = self.certificates.user(&who.file_name(), name, group);
            json!({"client-certificate": certificate, "client-key": key})
        };
        let user = match who {
            ApiUser::Admin if path.exists() => return path,
            ApiUser::Admin => by_certificate(&who.user_name(), Some("system:masters")),
            ApiUser::User { name, group } => by_certificate(name, group.as_deref()),
            ApiUser::Account { namespace, name } => json!({"token": self.token(namespace, name)}),
        };
        let authority = self.certificates.authority();
        let server = format!("https://{}", self.address());
        let text = identity::kubeconfig(&server, &authority.to_string_lossy(), &user).to_string();
        certificates::write(&path, &text);
        path
    }

    /// A new token of a service account.
    ///
    /// # Panics
    /// If there is no such account.
    #[must_use]
    pub fn token(&self, namespace: &str, name: &str) -> String {
        let admin = self.kubeconfig(&ApiUser::Admin);
        let spec =
            TokenRequestSpec { expiration_seconds: Some(TOKEN_SECONDS), ..TokenRequestSpec::default() };
        let request = TokenRequest { spec, ..TokenRequest::default() };
        let answer = blocking::wait_for(async || {
            let client = Client::try_from(config(&admin).await).expect("our own kubeconfig is good");
            let accounts: Api<ServiceAccount> = Api::namespaced(client, namespace);
            accounts.create_token_request(name, &PostParams::default(), &request).await
        });
        let answer = answer.unwrap_or_else(|error| panic!("no token for {namespace}/{name}: {error}"));
        answer.status.expect("a token was issued").token
    }

    /// The answered requests of somebody with a service account, oldest first, since the start and across restarts.
    #[must_use]
    pub fn requests(&self, account: &ApiUser) -> Vec<AuditedRequest> {
        audit::read(&self.folder.join("audit.log"), &account.user_name())
    }

    /// Kills the API server, as a crash does. Its port stays ours and refuses connections.
    pub fn stop(&self) {
        *lock(&self.server) = None;
    }

    /// Ends the API server in order (SIGTERM), as an upgrade does, and waits until it has ended.
    ///
    /// # Panics
    /// If it does not run, or does not end.
    pub fn terminate(&self) {
        let mut server = lock(&self.server);
        let running = server.as_mut().expect("it runs");
        running.signal(Signal::SIGTERM);
        assert!(running.wait(TERMINATION).is_some(), "SIGTERM was ignored:\n{}", running.log_end());
        *server = None;
    }

    /// Lets the API server hang: connections stay open and are made, and nothing is answered.
    ///
    /// # Panics
    /// If it does not run.
    pub fn pause(&self) {
        lock(&self.server).as_ref().expect("it runs").pause();
    }

    /// Wakes it.
    ///
    /// # Panics
    /// If it does not run.
    pub fn resume(&self) {
        lock(&self.server).as_ref().expect("it runs").signal(Signal::SIGCONT);
    }

    /// Starts the API server again, on the same data and port, and waits until it is ready. Kills it first if it runs.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn restart(&self) {
        let admin = self.kubeconfig(&ApiUser::Admin);
        let mut server = lock(&self.server);
        *server = None;
        let started = ChildProcess::start(
            "kube-apiserver",
            &self.assets.kube_apiserver(),
            &self.flags,
            &self.folder,
            false,
        );
        let started = server.insert(started);
        blocking::wait_for(async || wait_until_ready(started, &admin).await);
    }

    /// Copies all objects and the history that etcd has of them, while everything runs.
    ///
    /// # Panics
    /// If the copy cannot be written.
    #[must_use]
    pub fn back_up(&self) -> EtcdBackup {
        lock(&self.etcd).back_up()
    }

    /// Puts a backup back in the place of what is there, as whoever repairs a cluster does: the API server is killed,
    /// etcd is started on the backup's data, and the API server is ready again when this returns. Revisions go on from
    /// the backup's.
    ///
    /// # Panics
    /// If one of the two does not start.
    pub fn restore(&self, backup: &EtcdBackup) {
        self.stop();
        lock(&self.etcd).restore(&self.assets, backup);
        self.restart();
    }

    /// Starts some of Kubernetes' own controllers, for instance `namespace-controller`, `garbage-collector-controller`,
    /// `endpointslice-controller` or `serviceaccount-controller`. In the place of those that run already.
    ///
    /// # Panics
    /// If the binaries are without kube-controller-manager, as setup-envtest's are.
    pub fn start_controllers(&self, names: &[&str]) {
        let admin = self.kubeconfig(&ApiUser::Admin);
        let flags = [
            format!("--kubeconfig={}", admin.display()),
            format!("--controllers={}", names.join(",")),
            "--leader-elect=false".to_owned(),
            "--secure-port=0".to_owned(),
        ];
        let mut controllers = lock(&self.controllers);
        *controllers = None;
        let program = self.assets.kube_controller_manager();
        *controllers =
            Some(ChildProcess::start("kube-controller-manager", &program, &flags, &self.folder, false));
    }

    pub(crate) const fn assets(&self) -> &Assets {
        &self.assets
    }

    /// The process ids of etcd and, while it runs, of the API server.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        let (etcd, server) = (lock(&self.etcd), lock(&self.server));
        std::iter::once(etcd.pid()).chain(server.as_ref().map(ChildProcess::pid)).collect()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        *lock(&self.controllers) = None;
        self.stop();
        // etcd may still be writing: then its guard removes what is left.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn lock<T>(process: &Mutex<T>) -> MutexGuard<'_, T> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn config(kubeconfig: &Path) -> Config {
    let file = Kubeconfig::read_from(kubeconfig).expect("we wrote it");
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let mut config = config.expect("we wrote it");
    config.default_retry = false;
    config
}

/// A new folder, ours alone.
fn new_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let top = std::env::temp_dir();
    for _ in 0..1_000 {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = top.join(format!("ferrolb-api-{}-{number}", std::process::id()));
        if DirBuilder::new().mode(0o700).create(&folder).is_ok() {
            return folder;
        }
    }
    panic!("no folder can be made in {}", top.display());
}

fn flags(folder: &Path, address: SocketAddr, more: Vec<String>) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    let mut flags = vec![
        format!("--etcd-servers=unix://{}", file("etcd.sock")),
        format!("--bind-address={}", address.ip()),
        format!("--secure-port={}", address.port()),
        "--permit-port-sharing".to_owned(),
        // Nobody reaches it through the Service `kubernetes`, and a namespace may have no default route to choose by.
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--service-cluster-ip-range={SERVICE_RANGES}"),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("accounts.pub")),
        format!("--service-account-signing-key-file={}", file("accounts.key")),
        "--authorization-mode=RBAC".to_owned(),
        "--allow-privileged".to_owned(),
        format!("--audit-policy-file={}", file("audit-policy.json")),
        format!("--audit-log-path={}", file("audit.log")),
    ];
    if address.is_ipv4() {
        flags.push(format!("--advertise-address={}", address.ip()));
    }
    flags.extend(more);
    flags
}

/// Ready as it says itself, and with the namespace that every cluster has.
async fn wait_until_ready(server: &mut ChildProcess, admin: &Path) {
    let deadline = Instant::now() + READY;
    let client = Client::try_from(config(admin).await).expect("our own kubeconfig is good");
    let namespaces: Api<Namespace> = Api::all(client.clone());
    loop {
        server.assert_running();
        let request = http::Request::get("/readyz").body(Vec::new()).expect("the request is sound");
        let answer = client.request_text(request).await;
        if answer.is_ok() && namespaces.get_opt("default").await.is_ok_and(|found| found.is_some()) {
            return;
        }
        assert!(Instant::now() < deadline, "not ready ({answer:?}):\n{}", server.log_end());
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

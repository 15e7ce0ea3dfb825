//! `/metrics` over HTTPS as both binaries serve it: real sockets on loopback, a
//! client with TLS of its own, and the in-memory API server for the reviews.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fake_api::{FakeApi, Fault, Match, Rbac};
use ferrolb_shell::admin::http::{self, AdminState, HttpSettings};
use ferrolb_shell::admin::tls::certificate::{CHAIN_FILE, KEY_FILE};
use ferrolb_shell::process::shutdown;
use ferrolb_shell::{CommonArgs, Readiness};
use futures::future::join_all;
use prometheus::Registry;
use serde_json::{Value, json};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    self, CipherSuite, ClientConfig, ClientConnection, DigitallySignedStruct, NamedGroup, ProtocolVersion,
    SignatureScheme, StreamOwned, SupportedProtocolVersion,
};

/// Whose `/metrics` it is.
const SPEAKER: &str = "system:serviceaccount:metallb-system:speaker";
/// The scraper.
const PROMETHEUS: &str = "system:serviceaccount:monitoring:prometheus-k8s";
/// Its token.
const TOKEN: &str = "the-token-of-prometheus";

/// What has not come true after this time will not.
const PATIENCE: Duration = Duration::from_secs(90);

/// Somebody's `/metrics`, served until this is dropped.
struct Served {
    address: SocketAddr,
    api: FakeApi,
    _trigger: shutdown::Trigger,
}

/// What a client is told and sees of the connection.
struct Answer {
    text: String,
    version: ProtocolVersion,
    suite: CipherSuite,
    certificate: CertificateDer<'static>,
}

impl Answer {
    fn status(&self) -> &str {
        self.text.split(' ').nth(1).unwrap_or_default()
    }
}

/// Our RBAC, with that of the component for HTTPS and one scraper.
fn rbac() -> Rbac {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    let text = std::fs::read_to_string(manifests.join("components/metrics-https/rbac.yaml"));
    let text = text.expect("the manifests lie beside the tests");
    let mut objects = serde_saphyr::from_multiple::<Value>(&text).expect("the manifests are YAML");
    objects.push(json!({"kind": "ClusterRoleBinding", "metadata": {"name": "prometheus"},
        "roleRef": {"kind": "ClusterRole", "name": "metallb-system:metrics-reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "prometheus-k8s", "namespace": "monitoring"}]}));
    Rbac::from_objects(&objects).expect("every binding has its role")
}

fn free_port(host: Ipv4Addr) -> u16 {
    let listener = TcpListener::bind((host, 0)).expect("loopback has free ports");
    listener.local_addr().expect("it is bound").port()
}

/// The flags that both binaries have, the program's name first.
fn common(args: &[&str]) -> CommonArgs {
    #[derive(clap::Parser)]
    struct Example {
        #[command(flatten)]
        common: CommonArgs,
    }
    let args = ferrolb_shell::process::flags::try_parse::<Example>(args.iter().map(Into::into));
    args.expect("these flags exist").common
}

fn settings(flags: &[&str]) -> HttpSettings {
    let common = common(&[&["example", "--metrics-https", "--health-probe-port=0"], flags].concat());
    let mut http = common.http(Some(Ipv4Addr::LOCALHOST.into()), None).expect("their values are good");
    http.metrics_port = free_port(Ipv4Addr::LOCALHOST);
    http
}

async fn serve(flags: &[&str]) -> Served {
    let api = FakeApi::builder().rbac(rbac()).build().expect("our own CRDs are implemented");
    api.issue_token(TOKEN, PROMETHEUS);
    let settings = settings(flags);
    let address = (Ipv4Addr::LOCALHOST, settings.metrics_port).into();
    let endpoints = AdminState { registry: Registry::new(), readiness: Readiness::default() };
    let _ = ferrolb_shell::admin::metrics::ClientMetrics::register(&endpoints.registry);
    let (trigger, shutdown) = shutdown::channel();
    let client = api.client(SPEAKER);
    http::start(&settings, &client, &endpoints, &shutdown).await.expect("the port is free");
    Served { address, api, _trigger: trigger }
}

/// What a client of today speaks.
static BOTH: &[&SupportedProtocolVersion] = &[&TLS12, &TLS13];
/// What an old one does.
static OLD: &[&SupportedProtocolVersion] = &[&TLS12];

/// How a client greets.
#[derive(Clone)]
struct Greeting {
    versions: &'static [&'static SupportedProtocolVersion],
    suites: Option<CipherSuite>,
    group: Option<NamedGroup>,
}

impl Default for Greeting {
    fn default() -> Self {
        Self { versions: BOTH, suites: None, group: None }
    }
}

impl Served {
    /// Asks for a path with an `Authorization` header, or without one.
    async fn get(&self, greeting: Greeting, path: &str, authorization: &str) -> Result<Answer, String> {
        let address = self.address;
        let header = match authorization {
            "" => String::new(),
            value => format!("Authorization: {value}\r\n"),
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}Connection: close\r\n\r\n");
        let exchange = move || ask(address, &greeting, &request).map_err(|error| error.to_string());
        tokio::task::spawn_blocking(exchange).await.expect("it does not panic")
    }

    async fn status(&self, authorization: &str) -> String {
        let answer = self.get(Greeting::default(), "/metrics", authorization).await;
        answer.expect("it speaks TLS").status().to_owned()
    }

    fn reviews(&self) -> usize {
        let all = self.api.requests();
        all.iter().filter(|request| request.resource == "tokenreviews").count()
    }
}

fn ask(address: SocketAddr, greeting: &Greeting, request: &str) -> std::io::Result<Answer> {
    let mut provider = ring::default_provider();
    let wanted = |suite: CipherSuite| greeting.suites.is_none_or(|only| only == suite);
    provider.cipher_suites.retain(|suite| wanted(suite.suite()));
    provider.kx_groups.retain(|group| greeting.group.is_none_or(|only| only == group.name()));
    let provider = Arc::new(provider);
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(greeting.versions)
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("it is a name");
    let connection = ClientConnection::new(Arc::new(config), name).map_err(std::io::Error::other)?;
    let tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    let mut stream = StreamOwned::new(connection, tcp);
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let seen = "the handshake is over";
    Ok(Answer {
        text,
        version: stream.conn.protocol_version().expect(seen),
        suite: stream.conn.negotiated_cipher_suite().expect(seen).suite(),
        certificate: stream.conn.peer_certificates().expect(seen)[0].clone().into_owned(),
    })
}

/// Checks that the server has the key of its certificate, and not whose it is:
/// what `insecureSkipVerify` of a ServiceMonitor does.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A directory with a certificate, removed in the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("metrics-https-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("the temporary directory is writable");
        Self(path)
    }

    /// Writes a new certificate and its key, and says what clients will see.
    fn renew(&self) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("it can be made");
        self.write(CHAIN_FILE, &made.cert.pem());
        self.write(KEY_FILE, &made.signing_key.serialize_pem());
        made.cert.der().clone()
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.0.join(file), text).expect("the temporary directory is writable");
    }

    fn flag(&self) -> String {
        format!("--metrics-cert-dir={}", self.0.display())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

#[tokio::test(flavor = "multi_thread")]
async fn g47_g125_only_known_scrapers_read_metrics() {
    let served = serve(&[]).await;
    served.api.issue_token("another", "system:serviceaccount:default:somebody");
    for (authorization, expected) in [
        ("", "401"),
        ("Bearer nobody's", "401"),
        ("Basic dXNlcjpwYXNz", "401"),
        ("Bearer another", "403"),
        (bearer().as_str(), "200"),
    ] {
        assert_eq!(served.status(authorization).await, expected, "{authorization}");
    }
    let answer = served.get(Greeting::default(), "/metrics", &bearer()).await.expect("it speaks TLS");
    assert!(answer.text.contains("metallb_k8s_client_updates_total 0"), "{}", answer.text);
    for path in ["/", "/healthz", "/readyz", "/metrics/"] {
        let answer = served.get(Greeting::default(), path, &bearer()).await.expect("it speaks TLS");
        assert_eq!(answer.status(), "404", "{path}");
    }
    let plain = TcpStream::connect(served.address).and_then(|mut stream| {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut bytes = Vec::new();
        // The answer is an alert, or the connection is reset.
        let _ = stream.read_to_end(&mut bytes);
        Ok(bytes)
    });
    let plain = plain.expect("it listens");
    assert!(!plain.starts_with(b"HTTP/1.1 200"), "nothing is told in the clear");
}

#[tokio::test(flavor = "multi_thread")]
async fn g125_the_rbac_of_the_component_is_what_is_needed() {
    let served = serve(&[]).await;
    assert_eq!(served.status(&bearer()).await, "200");
    let own = rbac().grants(SPEAKER);
    let requests = served.api.requests();
    let unused: Vec<String> = own
        .iter()
        .filter(|grant| !requests.iter().any(|request| grant.covers(&request.attributes())))
        .map(ToString::to_string)
        .collect();
    assert_eq!((own.len(), unused), (2, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn g125_answers_are_remembered_also_while_the_api_server_is_gone() {
    let served = serve(&[]).await;
    for _ in 0..5 {
        assert_eq!(served.status(&bearer()).await, "200");
        assert_eq!(served.status("Bearer nobody's").await, "401");
    }
    assert_eq!(served.reviews(), 2, "one for each token");

    served.api.set_gone(true);
    assert_eq!(served.status(&bearer()).await, "200");
    assert_eq!(served.status("Bearer new").await, "500", "it cannot be asked");
    served.api.set_gone(false);
    assert_eq!(served.status("Bearer new").await, "401", "a failure is not remembered");

    // At once: one after the other they may take a slow machine so long that none is one too many in its second.
    let unknown = (0..40).map(|number| format!("Bearer {number}")).collect::<Vec<_>>();
    let answers = join_all(unknown.iter().map(|token| served.status(token))).await;
    assert!(
        answers.iter().any(|status| status == "429"),
        "40 unknown tokens in a moment are not all asked about: {answers:?}"
    );
    assert_eq!(served.status(&bearer()).await, "200", "that is no reason to refuse who is known");
}

#[tokio::test(flavor = "multi_thread")]
async fn g125_a_review_that_fails_admits_nobody() {
    let served = serve(&[]).await;
    served.api.inject(Match::any().resource("subjectaccessreviews"), Fault::Disconnect, 1);
    assert_eq!(served.status(&bearer()).await, "500");
    assert_eq!(served.status(&bearer()).await, "200");
}

#[tokio::test(flavor = "multi_thread")]
async fn g14_the_floor_is_enforced() {
    let old = Greeting { versions: OLD, ..Greeting::default() };
    for (flags, expected_of_old) in [
        (&[][..], None),
        (&["--tls-min-version=VersionTLS13"], None),
        (&["--tls-min-version=VersionTLS12"], Some(ProtocolVersion::TLSv1_2)),
    ] {
        let served = serve(flags).await;
        let answer = served.get(old.clone(), "/metrics", &bearer()).await;
        assert_eq!(answer.ok().map(|answer| answer.version), expected_of_old, "{flags:?}");
        let newest = served.get(Greeting::default(), "/metrics", &bearer()).await;
        assert_eq!(newest.expect("1.3 is always on").version, ProtocolVersion::TLSv1_3, "{flags:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g15_g16_suites_and_groups_are_those_of_the_flags() {
    const GIVEN: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384;
    const OTHER: CipherSuite = CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    let flags = [
        "--tls-min-version=VersionTLS12",
        "--tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "--tls-curve-preferences=24",
    ];
    let served = serve(&flags).await;
    let offer = |suite, group| Greeting { versions: OLD, suites: Some(suite), group: Some(group) };
    for (greeting, expected) in [
        (offer(GIVEN, NamedGroup::secp384r1), Some(GIVEN)),
        (offer(OTHER, NamedGroup::secp384r1), None),
        (offer(GIVEN, NamedGroup::X25519), None),
    ] {
        let answer = served.get(greeting, "/metrics", &bearer()).await;
        assert_eq!(answer.ok().map(|answer| answer.suite), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g17_a_changed_certificate_is_read_again() {
    let directory = Directory::new("rotation");
    let first = directory.renew();
    let served = serve(&[&directory.flag()]).await;
    let shown = async || {
        let answer = served.get(Greeting::default(), "/metrics", &bearer()).await;
        answer.expect("it speaks TLS").certificate
    };
    assert_eq!(shown().await, first);

    let second = directory.renew();
    let started = Instant::now();
    while shown().await != second {
        assert!(started.elapsed() < PATIENCE, "it is never read again");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g17_a_directory_without_certificate_is_named_at_start() {
    let directory = Directory::new("empty");
    let settings = settings(&[&directory.flag()]);
    let api = FakeApi::builder().build().expect("our own CRDs are implemented");
    let endpoints = AdminState { registry: Registry::new(), readiness: Readiness::default() };
    let (_trigger, shutdown) = shutdown::channel();
    let started = http::start(&settings, &api.client(FakeApi::ADMIN), &endpoints, &shutdown).await;
    let error = started.expect_err("there is no certificate").to_string();
    assert!(error.contains(&directory.0.join(CHAIN_FILE).display().to_string()), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn g32_metrics_are_served_on_the_given_host() {
    let host = Ipv4Addr::new(127, 0, 0, 2);
    let port = free_port(host);
    let args = ["speaker", "--namespace=metallb-system", "--node-name=wk01", "--host=127.0.0.2"];
    let port_flag = format!("--port={port}");
    let args = args.iter().copied().chain([port_flag.as_str(), "--health-probe-port=0"]);
    let args: speaker::args::Args =
        ferrolb_shell::process::flags::try_parse(args.map(Into::into)).expect("these flags exist");
    let settings = args.settings().expect("their values are good").http;
    assert_eq!((settings.metrics_host, &settings.tls), (Some(IpAddr::from(host)), &None));

    let api = FakeApi::builder().build().expect("our own CRDs are implemented");
    let endpoints = AdminState { registry: Registry::new(), readiness: Readiness::default() };
    let (_trigger, shutdown) = shutdown::channel();
    let client = api.client(FakeApi::ADMIN);
    http::start(&settings, &client, &endpoints, &shutdown).await.expect("the port is free");
    let ask = move || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((host, port))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let answer = tokio::task::spawn_blocking(ask).await.expect("it does not panic");
    assert!(answer.expect("it listens there").starts_with("HTTP/1.1 200"));
    let elsewhere = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    assert!(elsewhere.is_err(), "and nowhere else");
}

/// What kubectl makes of the base with the components for metrics; `None`
/// without kubectl.
fn rendered() -> Option<Vec<Value>> {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    let manifests = manifests.canonicalize().expect("the manifests lie beside the tests");
    let directory = Directory::new("overlay");
    let here = directory.0.canonicalize().expect("it was just made");
    // kustomize wants relative paths.
    let root = "../".repeat(here.components().count() - 1);
    let at =
        |path: &str| format!("{root}{}", manifests.join(path).display().to_string().trim_start_matches('/'));
    let components = ["network-policies", "prometheus", "metrics-https"];
    let components: Vec<_> = components.iter().map(|name| at(&format!("components/{name}"))).collect();
    let kustomization = json!({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
        "resources": [at("base")], "components": components});
    directory.write("kustomization.yaml", &kustomization.to_string());
    let output = Command::new("kubectl").arg("kustomize").arg(&here).output();
    let Ok(output) = output else {
        assert!(std::env::var_os("CI").is_none(), "CI must have kubectl");
        let note = "SKIPPED: kubectl is not installed; the component metrics-https is not rendered";
        writeln!(std::io::stderr(), "{note}").expect("stderr is open");
        return None;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("YAML is UTF-8");
    Some(serde_saphyr::from_multiple(&text).expect("kustomize writes YAML"))
}

#[test]
fn g47_g125_the_component_moves_ports_probes_and_monitors() {
    let Some(objects) = rendered() else { return };
    let of = |kind: &str, name: &str| {
        let found =
            objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        found.unwrap_or_else(|| panic!("there is no {kind} {name}"))
    };
    // M2: the speaker serves its probes on loopback alone, and without a host the kubelet asks the node's address.
    for (kind, name, probed) in
        [("Deployment", "controller", Value::Null), ("DaemonSet", "speaker", json!("127.0.0.1"))]
    {
        let template = &of(kind, name)["spec"]["template"];
        let container = &template["spec"]["containers"][0];
        let args = container["args"].as_array().expect("it has some").iter().filter_map(Value::as_str);
        let args: Vec<&str> =
            [name].into_iter().chain(args.filter(|arg| !arg.starts_with("--leader"))).collect();
        let common = common(&args);
        let http = common.http(None, None).expect("their values are good");
        assert_eq!((http.metrics_port, http.health_port, http.tls.is_some()), (9120, 17_472, true), "{name}");
        assert_eq!(template["metadata"]["annotations"]["prometheus.io/port"], "9120");
        let ports = container["ports"].as_array().expect("it has some");
        assert!(ports.contains(&json!({"name": "metricshttps", "containerPort": 9120})), "{name}: {ports:?}");
        assert!(ports.iter().all(|port| port["containerPort"] != 7472), "{name}: {ports:?}");
        for probe in ["livenessProbe", "readinessProbe"] {
            assert_eq!(container[probe]["httpGet"]["port"], 17_472, "{name}");
            assert_eq!(container[probe]["httpGet"]["host"], probed, "{name}");
        }
        let service = of("Service", &format!("{name}-monitor-service"));
        assert_eq!(service["spec"]["ports"][0]["targetPort"], "metricshttps");
        let endpoint = &of("ServiceMonitor", &format!("{name}-monitor"))["spec"]["endpoints"][0];
        assert_eq!(
            (&endpoint["scheme"], &endpoint["port"]),
            (&json!("https"), &service["spec"]["ports"][0]["name"])
        );
    }
    assert_eq!(of("NetworkPolicy", "controller")["spec"]["ingress"][0]["ports"][0]["port"], "metricshttps");
}

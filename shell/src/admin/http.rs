//! `/metrics`, `/healthz` and `/readyz` (F43, M2): over plain HTTP as with
//! MetalLB v0.15, or the metrics over HTTPS for known scrapers as with v0.16.

mod connection;
mod scraper;
mod secure;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use kube::Client;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio::net::TcpListener;
use tokio_rustls::rustls;

use crate::admin::readiness::Readiness;
use crate::admin::tls::TlsSettings;
use crate::admin::tls::certificate::{Certificate, CertificateError};
use crate::process::shutdown::Shutdown;

/// What the endpoints answer from.
#[derive(Clone, Debug)]
pub struct AdminState {
    /// `/metrics`.
    pub registry: Registry,
    /// `/readyz`.
    pub readiness: Readiness,
}

/// What is served where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// Where `/metrics` is served; `None` is every address (G32).
    pub metrics_host: Option<IpAddr>,
    /// The port of `/metrics`; 0 is off (G1).
    pub metrics_port: u16,
    /// Whether `/metrics` is served over HTTPS, to scrapers that the API server
    /// knows and admits, and how (G14 to G17). Without it the port serves the
    /// probes as well, over plain HTTP.
    pub tls: Option<TlsSettings>,
    /// Where `/healthz` and `/readyz` are served; `None` is every address (M2).
    pub health_host: Option<IpAddr>,
    /// The port of `/healthz` and `/readyz` alone; 0 is off (G18).
    pub health_port: u16,
}

/// Why nothing can be served; the process exits with 1.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// An address that cannot be listened on.
    #[error("cannot listen on {address} for {purpose}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What it was for.
        purpose: &'static str,
        /// Why not.
        error: io::Error,
    },
    /// `--metrics-cert-dir`
    #[error("metrics over HTTPS: {0}")]
    Certificate(CertificateError),
    /// Settings that do not go together.
    #[error("metrics over HTTPS: {0}")]
    Tls(rustls::Error),
}

/// Listens, and serves in the background until the process ends. `client` asks
/// the API server about scrapers.
///
/// # Errors
/// If an address cannot be had, or the certificate cannot be used.
pub async fn start(
    settings: &HttpSettings,
    client: &Client,
    endpoints: &AdminState,
    shutdown: &Shutdown,
) -> Result<(), HttpError> {
    if let Some(listener) = bind(settings.metrics_host, settings.metrics_port, "metrics").await? {
        let bounded = connection::BoundedListener::new(listener);
        match &settings.tls {
            None => {
                tokio::spawn(serve(bounded, everything(endpoints), shutdown.clone()));
            }
            Some(tls) => {
                let certificate = certificate(tls, shutdown).map_err(HttpError::Certificate)?;
                let config = tls.server(certificate).map_err(HttpError::Tls)?;
                let secure = secure::Secure::new(bounded, config);
                let scrapers = scraper::Scrapers::new(client.clone());
                let admit = middleware::from_fn_with_state(scrapers, scraper::admit);
                let router = Router::new().route("/metrics", get(metrics)).route_layer(admit);
                tokio::spawn(serve(secure, router.with_state(endpoints.clone()), shutdown.clone()));
            }
        }
    }
    if let Some(listener) = bind(settings.health_host, settings.health_port, "probes").await? {
        let router = probes().with_state(endpoints.clone());
        tokio::spawn(serve(connection::BoundedListener::new(listener), router, shutdown.clone()));
    }
    Ok(())
}

/// The certificate that the flags ask for, followed from now on.
fn certificate(tls: &TlsSettings, shutdown: &Shutdown) -> Result<Arc<Certificate>, CertificateError> {
    let certificate = match &tls.certificates {
        Some(directory) => Certificate::from_directory(directory)?,
        None => Certificate::self_signed()?,
    };
    tracing::info!(
        op = "startup",
        floor = ?tls.floor,
        self_signed = tls.certificates.is_none(),
        left_out = tls.left_out.join(","),
        "metrics are served over HTTPS"
    );
    tokio::spawn(certificate.clone().follow(shutdown.clone()));
    Ok(certificate)
}

/// Listens on `port` of `host`, or of every address; port 0 means that nothing
/// is to be served.
async fn bind(
    host: Option<IpAddr>,
    port: u16,
    purpose: &'static str,
) -> Result<Option<TcpListener>, HttpError> {
    if port == 0 {
        return Ok(None);
    }
    // `[::]` takes IPv4 as well; a kernel without IPv6 does not have it.
    let everywhere = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
    let hosts = host.map_or_else(|| everywhere.to_vec(), |host| vec![host]);
    let addresses: Vec<SocketAddr> = hosts.into_iter().map(|host| (host, port).into()).collect();
    match TcpListener::bind(addresses.as_slice()).await {
        Ok(listener) => {
            tracing::info!(op = "startup", port, purpose, "listening");
            Ok(Some(listener))
        }
        Err(error) => Err(HttpError::Bind { address: addresses[0], purpose, error }),
    }
}

async fn serve<L>(listener: L, router: Router, shutdown: Shutdown)
where
    L: Listener,
    L::Addr: std::fmt::Debug,
{
    // Connections are cut, not waited for: they hold nothing worth keeping.
    tokio::select! {
        served = axum::serve(listener, router) => {
            if let Err(error) = served {
                tracing::error!(op = "http", error = %error, "the HTTP server ended");
            }
        }
        () = shutdown.wait_owned() => {}
    }
}

/// What the port of the metrics has where nothing is encrypted (F43, M2).
fn everything(endpoints: &AdminState) -> Router {
    probes().route("/metrics", get(metrics)).with_state(endpoints.clone())
}

fn probes() -> Router<AdminState> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

async fn metrics(State(endpoints): State<AdminState>) -> Response {
    match TextEncoder::new().encode_to_string(&endpoints.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(endpoints): State<AdminState>) -> Response {
    let report = endpoints.readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, report.text).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;
    use crate::process::shutdown;

    async fn ask(address: SocketAddr, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let exchange = move || -> io::Result<String> {
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(request.as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = tokio::task::spawn_blocking(exchange).await.expect("it does not panic");
        answer.expect("it listens on loopback and answers in text")
    }

    #[tokio::test]
    async fn f43_w43_endpoints() {
        let endpoints = AdminState { registry: Registry::new(), readiness: Readiness::default() };
        let _ = crate::admin::metrics::ClientMetrics::register(&endpoints.registry);
        let gate = endpoints.readiness.gate("services", "not listed yet");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let (trigger, shutdown) = shutdown::channel();
        let server =
            tokio::spawn(serve(connection::BoundedListener::new(listener), everything(&endpoints), shutdown));

        let waiting = ask(address, "/readyz").await;
        assert!(waiting.starts_with("HTTP/1.1 503") && waiting.contains("not listed yet"), "{waiting}");
        assert!(ask(address, "/healthz").await.starts_with("HTTP/1.1 200"));
        gate.ready();
        assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        assert!(ask(address, "/metrics").await.contains("metallb_k8s_client_updates_total 0"));
        assert!(ask(address, "/other").await.starts_with("HTTP/1.1 404"));
        trigger.shut_down();
        server.await.expect("it ends with the process");
    }
}

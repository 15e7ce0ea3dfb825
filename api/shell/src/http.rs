//! `/metrics`, `/healthz` and `/readyz` over plain HTTP (F43, V2).

mod connection;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio::net::TcpListener;

use crate::readiness::Readiness;
use crate::shutdown::Shutdown;

/// What the endpoints answer from.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// `/metrics`.
    pub registry: Registry,
    /// `/readyz`.
    pub readiness: Readiness,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {purpose}: {error}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// What it was for.
    pub purpose: &'static str,
    /// Why not.
    pub error: io::Error,
}

/// Listens on `port` of `host`, or of every address; port 0 means that nothing
/// is to be served.
///
/// # Errors
/// If the address cannot be had.
pub async fn bind(
    host: Option<IpAddr>,
    port: u16,
    purpose: &'static str,
) -> Result<Option<TcpListener>, BindError> {
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
        Err(error) => Err(BindError { address: addresses[0], purpose, error }),
    }
}

/// Serves `/metrics`, `/healthz` and `/readyz` until the process ends.
pub async fn serve_all(listener: TcpListener, endpoints: Endpoints, shutdown: Shutdown) {
    let router = probes().route("/metrics", get(metrics)).with_state(endpoints);
    serve(listener, router, shutdown).await;
}

/// Serves `/healthz` and `/readyz` until the process ends.
pub async fn serve_probes(listener: TcpListener, endpoints: Endpoints, shutdown: Shutdown) {
    serve(listener, probes().with_state(endpoints), shutdown).await;
}

async fn serve(listener: TcpListener, router: Router, shutdown: Shutdown) {
    let bounded = connection::Bounded::new(listener);
    // Connections are cut, not waited for: they hold nothing worth keeping.
    tokio::select! {
        served = axum::serve(bounded, router) => {
            if let Err(error) = served {
                tracing::error!(op = "http", error = %error, "the HTTP server ended");
            }
        }
        () = shutdown.wait_owned() => {}
    }
}

fn probes() -> Router<Endpoints> {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz))
}

async fn metrics(State(endpoints): State<Endpoints>) -> Response {
    match TextEncoder::new().encode_to_string(&endpoints.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(State(endpoints): State<Endpoints>) -> Response {
    let report = endpoints.readiness.report();
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, report.text).into_response()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;
    use crate::shutdown;

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
        let endpoints = Endpoints { registry: Registry::new(), readiness: Readiness::default() };
        let _ = crate::metrics::ClientMetrics::register(&endpoints.registry);
        let gate = endpoints.readiness.gate("services", "not listed yet");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let (trigger, shutdown) = shutdown::channel();
        let server = tokio::spawn(serve_all(listener, endpoints, shutdown));

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

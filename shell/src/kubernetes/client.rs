//! The Kubernetes client: where the API server is, and for how long it may keep us waiting.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::kubernetes::connectivity;

/// A connection that is not up after this time is tried again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing is read for this time is dead. Longer than
/// the longest watch, see [`crate::kubernetes::watch`].
const READ_TIMEOUT: Duration = Duration::from_secs(58);
/// A request that cannot be sent within this time failed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no client. An API server that does not answer is no such
/// reason: the client is there, and its users try again.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The file that was named cannot be used.
    #[error("the kubeconfig {path} cannot be used: {error}")]
    File {
        /// The file.
        path: String,
        /// Why.
        error: Box<kube::config::KubeconfigError>,
    },
    /// Nothing says where the API server is.
    #[error(
        "no Kubernetes API server is known: not in a Pod ({in_cluster}), and no usable kubeconfig \
         ({kubeconfig}); run in a cluster, set KUBECONFIG or give --kubeconfig FILE"
    )]
    Nowhere {
        /// Why there is no in-cluster configuration.
        in_cluster: Box<kube::config::InClusterError>,
        /// Why there is no kubeconfig.
        kubeconfig: Box<kube::config::KubeconfigError>,
    },
    /// The configuration cannot be turned into a client.
    #[error("the configuration of the Kubernetes client cannot be used: {0}")]
    Client(Box<kube::Error>),
}

/// A client by `--kubeconfig`, else `KUBECONFIG`, else the Pod's
/// ServiceAccount, else `~/.kube/config` (G20). Does not contact the server.
/// Beside it the address that it reaches the server by, where that is no name.
///
/// # Errors
/// If none of these can be used.
pub async fn connect(kubeconfig: Option<&Path>) -> Result<(Client, Option<IpAddr>), ConnectError> {
    let mut config = match named_kubeconfig(kubeconfig)? {
        Some((path, file)) => {
            read(file).await.map_err(|error| ConnectError::File { path, error: Box::new(error) })?
        }
        None => default_config().await?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    // Writes and watches have a backoff of their own, which keeps the newest
    // value; a second one below it would only hold back what is outdated.
    config.default_retry = false;
    let host = config.cluster_url.host().map(|host| host.trim_matches(['[', ']']));
    let address = host.and_then(|host| host.parse().ok());
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(|error| ConnectError::Client(Box::new(error)))?;
    Ok((connectivity::observed(client, server.trim_end_matches('/')), address))
}

fn named_kubeconfig(flag: Option<&Path>) -> Result<Option<(String, Kubeconfig)>, ConnectError> {
    let variable = || std::env::var("KUBECONFIG").ok().filter(|value| !value.is_empty());
    let (path, file) = match (flag, variable()) {
        (Some(path), _) => (path.display().to_string(), Kubeconfig::read_from(path).map(Some)),
        (None, Some(path)) => (path, Kubeconfig::from_env()),
        (None, None) => return Ok(None),
    };
    match file {
        Ok(file) => Ok(file.map(|file| (path, file))),
        Err(error) => Err(ConnectError::File { path, error: Box::new(error) }),
    }
}

async fn read(file: Kubeconfig) -> Result<Config, kube::config::KubeconfigError> {
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await
}

async fn default_config() -> Result<Config, ConnectError> {
    let in_cluster = match Config::incluster() {
        Ok(config) => return Ok(config),
        Err(error) => Box::new(error),
    };
    let kubeconfig = match Kubeconfig::read() {
        Ok(file) => read(file).await,
        Err(error) => Err(error),
    };
    kubeconfig.map_err(|error| ConnectError::Nowhere { in_cluster, kubeconfig: Box::new(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn g20_a_missing_kubeconfig_is_named() {
        let missing = Path::new("/nonexistent/kubeconfig");
        let Err(error) = connect(Some(missing)).await else { panic!("there is no such file") };
        assert!(error.to_string().contains("/nonexistent/kubeconfig"), "{error}");
    }
}

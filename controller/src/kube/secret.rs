//! The speakers' shared secret, created if it is missing (E7).

use std::time::Duration;

use ::kube::api::PostParams;
use ::kube::{Api, Client};
use ferrolb_shell::Readiness;
use ferrolb_shell::kubernetes::error::{self, Failure};
use ferrolb_shell::kubernetes::retry::{Retry, RetryableError};
use ferrolb_shell::process::backoff::Backoff;
use ferrolb_shell::process::random;
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use tokio::time::timeout;

use super::FIELD_MANAGER;
use crate::args::Settings;

/// The key in the Secret, which is the file that speakers read (E5).
const KEY: &str = "secretkey";
/// Random bytes in the secret: as many as MetalLB's.
const BYTES: usize = 16;
/// Delays between tries.
const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(60) };
/// A request without an answer is tried again after this time.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Creates the Secret if `--ml-secret-name` names one. An existing one is never
/// changed. Tries until it is there: speakers wait for it, and addresses are
/// assigned meanwhile.
pub(super) async fn provide(client: Client, settings: &Settings, readiness: &Readiness) {
    let Some(name) = &settings.secret_name else { return };
    let gate = readiness.gate("memberlist secret", "not created yet");
    let mut retry = Retry::new(BACKOFF);
    loop {
        let attempt =
            timeout(TIMEOUT, create(&client, &settings.namespace, name, settings.deployment.as_deref()));
        let error = match attempt.await {
            Ok(Ok(is_new)) => {
                tracing::info!(op = "createMemberlistSecret", name, is_new, "the speakers' secret is there");
                gate.ready();
                return;
            }
            Ok(Err(error)) => error,
            Err(_) => RetryableError::new("the API server does not answer"),
        };
        if retry.failed(&error) {
            let error = &error.text;
            tracing::error!(op = "createMemberlistSecret", name, error, "cannot create it; trying again");
        }
        gate.not_ready(error.text);
        retry.wait().await;
    }
}

/// True if it was created, false if it was there. It is not looked for first:
/// the RBAC rules let us create it and not read it.
async fn create(
    client: &Client,
    namespace: &str,
    name: &str,
    deployment: Option<&str>,
) -> Result<bool, RetryableError> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let owner = match deployment {
        Some(deployment) => owner(client, namespace, deployment).await?,
        None => None,
    };
    let value = value().map_err(|error| RetryableError::new(format!("no random bytes: {error}")))?;
    let secret = secret(namespace, name, owner, value);
    let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
    match api.create(&params, &secret).await {
        Ok(_) => Ok(true),
        Err(error) => match error::classify(&error) {
            Failure::AlreadyExists => Ok(false),
            Failure::Forbidden => {
                Err(RetryableError::from(&error).context("the RBAC rules lack the verb create on secrets"))
            }
            _ => Err(RetryableError::from(&error)),
        },
    }
}

/// The Deployment, so that the Secret goes with it. One that is not there owns nothing.
async fn owner(
    client: &Client,
    namespace: &str,
    deployment: &str,
) -> Result<Option<OwnerReference>, RetryableError> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
    let found = match api.get(deployment).await {
        Ok(found) => found,
        Err(error) => {
            return match error::classify(&error) {
                Failure::NotFound | Failure::Forbidden => {
                    let error = error::describe(&error);
                    tracing::warn!(
                        op = "createMemberlistSecret",
                        deployment,
                        error,
                        "the Secret gets no owner"
                    );
                    Ok(None)
                }
                _ => Err(RetryableError::from(&error)),
            };
        }
    };
    Ok(found.metadata.uid.map(|uid| OwnerReference {
        api_version: "apps/v1".to_owned(),
        kind: "Deployment".to_owned(),
        name: deployment.to_owned(),
        uid,
        ..OwnerReference::default()
    }))
}

fn secret(namespace: &str, name: &str, owner: Option<OwnerReference>, value: String) -> Secret {
    Secret {
        metadata: ObjectMeta {
            namespace: Some(namespace.to_owned()),
            name: Some(name.to_owned()),
            owner_references: owner.map(|owner| vec![owner]),
            ..ObjectMeta::default()
        },
        data: Some([(KEY.to_owned(), ByteString(value.into_bytes()))].into()),
        ..Secret::default()
    }
}

/// Unpadded base64 of random bytes: 22 characters (E6, E7).
fn value() -> std::io::Result<String> {
    let bytes = random::bytes::<BYTES>()?;
    let padded = serde_json::json!(ByteString(bytes.to_vec()));
    Ok(padded.as_str().expect("bytes are base64 in JSON").trim_end_matches('=').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e7_the_value_is_22_characters_of_base64() {
        let first = value().expect("Linux has random bytes");
        assert_eq!(first.len(), 22);
        assert!(first.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte)), "{first}");
        assert_ne!(first, value().expect("Linux has random bytes"));
    }

    #[test]
    fn e7_the_secret_belongs_to_the_deployment() {
        let owner = OwnerReference { name: "controller".to_owned(), ..OwnerReference::default() };
        let secret = secret("metallb-system", "memberlist", Some(owner), "value".to_owned());
        let data = secret.data.expect("it holds the key");
        assert_eq!(data["secretkey"].0, b"value");
        assert_eq!(secret.metadata.owner_references.expect("it has an owner")[0].name, "controller");
    }
}

//! Who makes a request.

use serde_json::{Value, json};

/// The namespace that everything of ours is in.
pub const NAMESPACE: &str = "metallb-system";

/// Somebody whom the API server knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ApiUser {
    /// May do everything.
    Admin,
    /// A service account, by a token that the API server has issued for it.
    Account {
        /// Where it is.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Somebody else, by certificate: may do what RBAC says of the name and of the group.
    User {
        /// The user's name.
        name: String,
        /// A group, beside `system:authenticated`.
        group: Option<String>,
    },
}

impl ApiUser {
    /// A service account in `metallb-system`.
    #[must_use]
    pub fn account(name: &str) -> Self {
        Self::Account { namespace: NAMESPACE.to_owned(), name: name.to_owned() }
    }

    /// Somebody by name.
    #[must_use]
    pub fn user(name: &str) -> Self {
        Self::User { name: name.to_owned(), group: None }
    }

    /// The name that RBAC and the audit log know.
    #[must_use]
    pub fn user_name(&self) -> String {
        match self {
            Self::Admin => "admin".to_owned(),
            Self::Account { namespace, name } => format!("system:serviceaccount:{namespace}:{name}"),
            Self::User { name, .. } => name.clone(),
        }
    }

    /// Good for a file's name.
    pub(crate) fn file_name(&self) -> String {
        let name = self.user_name();
        name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' }).collect()
    }
}

/// A kubeconfig of one user. JSON is YAML.
pub(crate) fn kubeconfig(server: &str, authority: &str, user: &Value) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": server, "certificate-authority": authority}}],
        "users": [{"name": "user", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
        "current-context": "test",
    })
}

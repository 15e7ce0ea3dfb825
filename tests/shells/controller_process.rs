//! The controller as a task of a test.

use controller::args::Settings;
use ferrolb_shell::Readiness;
use ferrolb_shell::admin::http::AdminState;
use ferrolb_shell::kubernetes::leader_election::LeaderElectionConfig;
use ferrolb_shell::process::shutdown;
use kube::Client;
use prometheus::Registry;
use tests::objects::NAMESPACE;
use tokio::task::JoinHandle;

/// A running controller. Dropping it is SIGKILL.
pub(crate) struct Controller {
    pub(crate) readiness: Readiness,
    trigger: shutdown::Trigger,
    task: JoinHandle<()>,
}

impl Controller {
    /// The only one.
    pub(crate) fn run(client: Client) -> Self {
        Self::begin(client, None)
    }

    /// As the manifests start it: one of several.
    pub(crate) fn run_elected(client: Client) -> Self {
        let (name, holder) = ("metallb-controller".to_owned(), "controller-7d".to_owned());
        Self::begin(client, Some(LeaderElectionConfig { namespace: NAMESPACE.to_owned(), name, holder }))
    }

    fn begin(client: Client, candidacy: Option<LeaderElectionConfig>) -> Self {
        let settings = Settings {
            namespace: NAMESPACE.to_owned(),
            load_balancer_class: None,
            secret_name: Some("memberlist".to_owned()),
            deployment: Some("controller".to_owned()),
            pod_name: Some("controller-7d".to_owned()),
            api_server: None,
        };
        let readiness = Readiness::default();
        let endpoints = AdminState { registry: Registry::new(), readiness: readiness.clone() };
        let (trigger, shutdown) = shutdown::channel();
        let task = tokio::spawn(async move {
            match candidacy {
                Some(candidacy) => {
                    controller::run_elected(client, settings, candidacy, endpoints, shutdown).await;
                }
                None => controller::run_with(client, settings, endpoints, shutdown).await,
            }
        });
        Self { readiness, trigger, task }
    }

    /// SIGTERM.
    pub(crate) async fn stop(mut self) {
        self.trigger.shut_down();
        (&mut self.task).await.expect("the controller ends in order");
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.task.abort();
    }
}

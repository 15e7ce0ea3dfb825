//! The controller's shell: flags, Kubernetes, HTTP and logs around
//! `controller-core`, which decides everything.

#![forbid(unsafe_code)]

pub mod args;
pub mod event_loop;
pub mod kube;
pub mod metrics;
pub mod notices;

use ::kube::Client;
use ferrolb_shell::admin::http::{AdminState, HttpSettings};
use ferrolb_shell::kubernetes::leader_election::{self, LeaderElectionConfig};
use ferrolb_shell::start::{Program, Surroundings};
use ferrolb_shell::{CommonArgs, Readiness, Shutdown};
use tokio::sync::mpsc;

use crate::args::{Args, Settings};
use crate::event_loop::Inputs;
use crate::kube::Outlets;
use crate::metrics::Metrics;

/// Inputs and effects that may wait for their taker, which is waited for.
const QUEUE: usize = 256;

/// What the command line says, checked.
#[derive(Debug)]
pub struct Prepared {
    settings: Settings,
    /// `None` for the only controller.
    candidacy: Option<LeaderElectionConfig>,
    http: HttpSettings,
}

impl Program for Args {
    type Prepared = Prepared;

    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn without_effect(&self) -> Vec<&'static str> {
        self.without_effect()
    }

    fn prepare(&self) -> anyhow::Result<Prepared> {
        let settings = self.settings()?;
        // M2: the kubelet asks for both ports from outside of the Pod.
        let http = self.common.http(None, None)?;
        Ok(Prepared { candidacy: self.candidacy(&settings), settings, http })
    }

    fn http(prepared: &Prepared) -> &HttpSettings {
        &prepared.http
    }

    async fn serve(prepared: Prepared, surroundings: Surroundings) -> anyhow::Result<()> {
        let Prepared { mut settings, candidacy, .. } = prepared;
        let Surroundings { client, api_server, endpoints, shutdown } = surroundings;
        settings.api_server = api_server;
        tracing::info!(op = "startup", namespace = settings.namespace, "controller");
        match candidacy {
            Some(candidacy) => run_elected(client, settings, candidacy, endpoints, shutdown).await,
            None => run_with(client, settings, endpoints, shutdown).await,
        }
        Ok(())
    }
}

/// Runs the only controller against the API server behind `client` until `shutdown`.
/// Reads no clock but tokio's, except for dates that are written to the API.
pub async fn run_with(client: Client, settings: Settings, endpoints: AdminState, shutdown: Shutdown) {
    let metrics = Metrics::register(&endpoints.registry);
    work(client, settings, metrics, &endpoints.readiness, shutdown).await;
}

/// The same for one of several replicas: works while it holds the Lease, and
/// stands by otherwise.
///
/// Who stands by watches nothing. It would have to list everything again in any
/// case, after it has got the Lease, for the last writes of the one before to be
/// in the list; and a core kept warm would have granted addresses that were never
/// written. So a term begins as the process does: with lists, with what stands
/// in them adopted, and then with what is missing (C8).
pub async fn run_elected(
    client: Client,
    settings: Settings,
    candidacy: LeaderElectionConfig,
    endpoints: AdminState,
    mut shutdown: Shutdown,
) {
    let AdminState { registry, readiness } = endpoints;
    let metrics = Metrics::register(&registry);
    metrics.forget_all();
    let gate = readiness.gate("leader election", "the Lease is not read yet");
    let outside = readiness.names();
    let (mut leadership, candidate) = leader_election::channel(client.clone(), candidacy, &registry, gate);
    let terms = async {
        loop {
            let term = tokio::select! {
                term = leadership.gained() => term,
                () = shutdown.wait() => return,
            };
            let (client, settings) = (term.client(client.clone()), settings.clone());
            metrics.client.config_awaited();
            tokio::select! {
                // Once it is over nothing of it is even looked at.
                biased;
                () = term.over() => {}
                () = work(client, settings, metrics.clone(), &readiness, shutdown.clone()) => return,
            }
            metrics.forget_all();
            readiness.retain(&outside);
        }
    };
    candidate.run_while(terms).await;
}

/// Assigns addresses through `client` until `shutdown`, and then writes what is
/// still to be written. Nothing of it goes on when it is dropped before that.
async fn work(
    client: Client,
    settings: Settings,
    metrics: Metrics,
    readiness: &Readiness,
    shutdown: Shutdown,
) {
    let (resources, resources_taken) = mpsc::channel(1);
    let (services, services_taken) = mpsc::channel(QUEUE);
    let (effects, effects_taken) = mpsc::channel(QUEUE);
    let gate = readiness.gate("allocation", "custom resources and Services are not known yet");
    let core = controller_core::Settings { load_balancer_class: settings.load_balancer_class.clone() };
    let inputs = Inputs { resources: resources_taken, services: services_taken };
    let outlets = Outlets { resources, services };
    tokio::join!(
        event_loop::run(core, inputs, effects, gate, metrics.clone(), shutdown.clone()),
        kube::run(client, settings, outlets, effects_taken, metrics, readiness.clone(), shutdown),
    );
}

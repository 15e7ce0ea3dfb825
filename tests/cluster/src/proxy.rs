//! kube-proxy's part: every node takes packets for every address that a Service holds, and never answers ARP for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::ListParams;
use kube_apiserver::ApiServer;
use tests::echo::Echo;
use tests::kernel;
use tests::namespaces::Namespace;

use crate::backend::{self, Web};
use crate::lan::{Lan, NODES};

/// How often it looks for Services. Like kube-proxy it goes on with what it knows while the API server is away.
const PACE: Duration = Duration::from_millis(200);
/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread that does this until it is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
    _web: Vec<Web>,
}

/// The addresses that a node has taken, each with its echo.
type Taken = BTreeMap<Ipv4Addr, Echo>;

impl Proxy {
    pub(crate) fn start(lan: &Arc<Lan>, api: &Arc<ApiServer>) -> io::Result<Self> {
        let web =
            NODES.iter().zip(&lan.nodes).map(|((name, _), node)| node.namespace.run(|| Web::start(name))?);
        let web = web.collect::<io::Result<_>>()?;
        let ends = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (lan, api, ends) = (Arc::clone(lan), Arc::clone(api), Arc::clone(&ends));
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                let services: Api<Service> = Api::all(runtime.block_on(async { api.admin() }));
                let mut taken: Vec<Taken> = NODES.iter().map(|_| Taken::new()).collect();
                while !ends.load(Ordering::Relaxed) {
                    let listed = runtime.block_on(async {
                        tokio::time::timeout(PATIENCE, services.list(&ListParams::default())).await
                    });
                    if let Ok(Ok(listed)) = listed {
                        let wanted: BTreeSet<Ipv4Addr> = listed.items.iter().flat_map(addresses).collect();
                        for (((name, _), node), taken) in NODES.iter().zip(&lan.nodes).zip(&mut taken) {
                            take(name, &node.namespace, taken, &wanted)?;
                        }
                    }
                    thread::sleep(PACE);
                }
                Ok(())
            }
        });
        Ok(Self { ends, thread: Some(thread), _web: web })
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What has gone wrong shows: nothing answers.
            let _ = thread.join();
        }
    }
}

/// What a Service's status says that it holds.
fn addresses(service: &Service) -> Vec<Ipv4Addr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.as_deref()).unwrap_or_default();
    ingress.iter().filter_map(|ingress| ingress.ip.as_ref()?.parse().ok()).collect()
}

/// Makes the node's `lo` hold what is wanted, and nothing else.
fn take(
    name: &'static str,
    namespace: &Namespace,
    taken: &mut Taken,
    wanted: &BTreeSet<Ipv4Addr>,
) -> io::Result<()> {
    let gone: Vec<Ipv4Addr> = taken.keys().filter(|address| !wanted.contains(address)).copied().collect();
    for address in gone {
        taken.remove(&address);
        namespace.run(|| kernel::remove_address("lo", IpAddr::V4(address)))??;
    }
    for address in wanted {
        if taken.contains_key(address) {
            continue;
        }
        let echo = namespace.run(|| {
            kernel::add_address("lo", IpAddr::V4(*address), 32)?;
            backend::echo(name, *address)
        })??;
        taken.insert(*address, echo);
    }
    Ok(())
}

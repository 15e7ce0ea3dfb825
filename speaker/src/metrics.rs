//! The speaker's metrics: MetalLB's names and labels (F7 to F10), and ours for
//! what MetalLB does not tell (F13, W48).

use std::sync::{Mutex, PoisonError};

use ferrolb_api::NodeName;
use ferrolb_shell::Gate;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use tokio::sync::watch;

use crate::event_loop::Summary;

/// Shows the event loop's summary as it is at each scrape.
#[derive(Debug)]
struct Metrics {
    node: NodeName,
    summary: watch::Receiver<Summary>,
    /// One scrape at a time: each brings the metrics up to date and reads them.
    scrape: Mutex<()>,
    metallb: MetalLb,
    members: IntGauge,
    member_changes: IntCounterVec,
    ownership_changes: IntCounterVec,
    frames_dropped: IntCounterVec,
    frames_unsent: IntCounterVec,
    frames_received: IntCounter,
    frames_sent: IntCounter,
    groups: IntGauge,
    group_failures: IntCounter,
    gossip_rejected: IntCounterVec,
    gossip_received: IntCounter,
    gossip_sent: IntCounter,
    conflicts: IntCounter,
    pauses: IntCounter,
    pacing_delays: IntCounter,
    notices_dropped: IntCounter,
}

/// The metrics that MetalLB has too (F7 to F10).
#[derive(Debug)]
struct MetalLb {
    announced: GaugeVec,
    requests: IntCounterVec,
    responses: IntCounterVec,
    gratuitous: IntCounterVec,
}

/// Registers the speaker's metrics of `node`, read from `summary`.
pub fn register(registry: &Registry, node: NodeName, summary: watch::Receiver<Summary>) {
    let metrics = Metrics::new(node, summary);
    registry.register(Box::new(metrics)).expect("each name is registered once");
}

/// Keeps `gate` as the core says: whether this node can do its work, or the
/// first thing that is missing (W43). Ends with the event loop.
pub async fn report_readiness(mut summary: watch::Receiver<Summary>, gate: Gate) {
    while summary.changed().await.is_ok() {
        let summary = summary.borrow_and_update();
        match (summary.not_ready, &summary.unheard) {
            (Some(missing), _) => gate.not_ready(missing.to_string()),
            // A node that is cut off announces all the same: to stop a rollout would help nobody.
            (None, Some(unheard)) => gate.ready_but(unheard.to_string()),
            (None, None) => gate.ready(),
        }
    }
    gate.not_ready("the event loop has ended");
}

impl MetalLb {
    fn new() -> Self {
        Self {
            announced: gauges(
                "metallb_speaker_announced",
                "Services being announced from this node. This is desired state, it does not guarantee that \
                 the routing protocols have converged.",
                &["service", "protocol", "node", "ip"],
            ),
            requests: counters(
                "metallb_layer2_requests_received",
                "Number of layer2 requests received for owned IPs",
                &["ip"],
            ),
            responses: counters(
                "metallb_layer2_responses_sent",
                "Number of layer2 responses sent for owned IPs in response to requests",
                &["ip"],
            ),
            gratuitous: counters(
                "metallb_layer2_gratuitous_sent",
                "Number of gratuitous layer2 packets sent for owned IPs as a result of failovers",
                &["ip"],
            ),
        }
    }
}

impl Metrics {
    fn new(node: NodeName, summary: watch::Receiver<Summary>) -> Self {
        Self {
            node,
            summary,
            scrape: Mutex::default(),
            metallb: MetalLb::new(),
            members: gauge("metallb_speaker_members", "Live speakers in the member list, this one included"),
            member_changes: counters(
                "metallb_speaker_member_changes_total",
                "Times that another speaker came up or went down, as seen here",
                &["change"],
            ),
            ownership_changes: counters(
                "metallb_speaker_ownership_changes_total",
                "Times that this node began or ceased to announce a Service",
                &["change"],
            ),
            frames_dropped: counters(
                "metallb_speaker_frames_dropped_total",
                "Frames that were not answered, by reason",
                &["reason"],
            ),
            frames_unsent: counters(
                "metallb_speaker_frames_not_sent_total",
                "Frames that the kernel did not take, by reason",
                &["reason"],
            ),
            frames_received: counter(
                "metallb_speaker_frames_received_total",
                "Frames read from the packet sockets",
            ),
            frames_sent: counter(
                "metallb_speaker_frames_sent_total",
                "Frames that the kernel took for sending",
            ),
            groups: gauge(
                "metallb_speaker_multicast_groups",
                "Multicast groups joined for IPv6 neighbour discovery, counted by interface",
            ),
            group_failures: counter(
                "metallb_speaker_multicast_join_failures_total",
                "Times that the kernel refused to join a multicast group; it is asked again",
            ),
            gossip_rejected: counters(
                "metallb_speaker_gossip_rejected_total",
                "Datagrams on the gossip port that were refused, by reason",
                &["reason"],
            ),
            gossip_received: counter("metallb_speaker_gossip_received_total", "Gossip datagrams accepted"),
            gossip_sent: counter("metallb_speaker_gossip_sent_total", "Gossip datagrams sent"),
            conflicts: counter(
                "metallb_speaker_conflicts_total",
                "Answers to other stations' claims to an address of this node, at most one a second for each \
                 and interface",
            ),
            pauses: counter(
                "metallb_speaker_pauses_total",
                "Times that this process did not run for longer than its peers may wait",
            ),
            pacing_delays: counter(
                "metallb_speaker_pacing_delays_total",
                "Announcements put off because an interface's frame budget was spent",
            ),
            notices_dropped: counter(
                "metallb_speaker_notices_dropped_total",
                "Events and log lines dropped because nobody took them in time",
            ),
        }
    }

    /// Brings every metric up to the summary.
    fn update(&self, summary: &Summary) {
        let core = &summary.core;
        self.metallb.announced.reset();
        for (service, address) in &summary.announced {
            let labels = [&service.to_string(), "layer2", self.node.as_str(), &address.to_string()];
            self.metallb.announced.with_label_values(&labels).set(1.0);
        }
        for (address, counts) in &core.addresses {
            let ip = address.to_string();
            raise_label(&self.metallb.requests, &ip, counts.requests_received);
            raise_label(&self.metallb.responses, &ip, counts.responses_sent);
            raise_label(&self.metallb.gratuitous, &ip, counts.gratuitous_sent);
        }
        self.members.set(i64::try_from(core.members).unwrap_or(i64::MAX));
        raise_label(&self.member_changes, "up", core.members_up);
        raise_label(&self.member_changes, "down", core.members_down);
        raise_label(&self.ownership_changes, "announced", core.announced);
        raise_label(&self.ownership_changes, "withdrawn", core.withdrawn);
        for (reason, count) in &core.drops {
            raise_label(&self.frames_dropped, reason.as_str(), *count);
        }
        raise_label(&self.frames_dropped, "overheard", summary.frames.overheard);
        raise_label(&self.frames_unsent, "interfaceDown", summary.frames.not_sent_interface_down);
        raise_label(&self.frames_unsent, "queueFull", summary.frames.not_sent_queue_full);
        raise_label(&self.frames_unsent, "other", summary.frames.not_sent_other);
        raise(&self.frames_received, summary.frames.received);
        raise(&self.frames_sent, summary.frames.sent);
        self.groups.set(i64::try_from(summary.groups.joined).unwrap_or(i64::MAX));
        raise(&self.group_failures, summary.groups.failures);
        for (reason, count) in &core.gossip_rejections {
            raise_label(&self.gossip_rejected, reason.as_str(), *count);
        }
        raise(&self.gossip_received, core.gossip_received);
        raise(&self.gossip_sent, core.gossip_sent);
        raise(&self.conflicts, core.conflicts);
        raise(&self.pauses, core.pauses);
        raise(&self.pacing_delays, core.pacing_delays);
        raise(&self.notices_dropped, summary.reports_dropped);
    }

    fn parts(&self) -> [&dyn Collector; 20] {
        [
            &self.metallb.announced,
            &self.metallb.requests,
            &self.metallb.responses,
            &self.metallb.gratuitous,
            &self.members,
            &self.member_changes,
            &self.ownership_changes,
            &self.frames_dropped,
            &self.frames_unsent,
            &self.frames_received,
            &self.frames_sent,
            &self.groups,
            &self.group_failures,
            &self.gossip_rejected,
            &self.gossip_received,
            &self.gossip_sent,
            &self.conflicts,
            &self.pauses,
            &self.pacing_delays,
            &self.notices_dropped,
        ]
    }
}

impl Collector for Metrics {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let _alone = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.update(&self.summary.borrow());
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    GaugeVec::new(Opts::new(name, help), labels).expect("names and labels are valid")
}

fn counters(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    IntCounterVec::new(Opts::new(name, help), labels).expect("names and labels are valid")
}

fn gauge(name: &str, help: &str) -> IntGauge {
    IntGauge::new(name, help).expect("the name is a valid one")
}

fn counter(name: &str, help: &str) -> IntCounter {
    IntCounter::new(name, help).expect("the name is a valid one")
}

/// Raises a counter to `value`; the core's counters only grow.
fn raise(counter: &IntCounter, value: u64) {
    counter.inc_by(value.saturating_sub(counter.get()));
}

fn raise_label(counters: &IntCounterVec, label: &str, value: u64) {
    raise(&counters.with_label_values(&[label]), value);
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::thread;

    use ferrolb_api::ServiceKey;
    use prometheus::TextEncoder;
    use speaker_core::AddressCounters;

    use super::*;

    fn text(registry: &Registry) -> String {
        TextEncoder::new().encode_to_string(&registry.gather()).expect("text is always possible")
    }

    #[test]
    fn f7_to_f10_names_and_labels_are_exact() {
        let address = IpAddr::from([172, 16, 16, 101]);
        let mut summary = Summary::default();
        summary.announced.push((ServiceKey::new("default", "nginx"), address));
        let counts = AddressCounters { requests_received: 3, responses_sent: 2, gratuitous_sent: 10 };
        summary.core.addresses.insert(address, counts);
        let (sender, receiver) = watch::channel(summary.clone());
        let registry = Registry::new();
        register(&registry, NodeName::from("wk01"), receiver);

        let first = text(&registry);
        for line in [
            "metallb_speaker_announced{ip=\"172.16.16.101\",node=\"wk01\",protocol=\"layer2\",\
             service=\"default/nginx\"} 1",
            "metallb_layer2_requests_received{ip=\"172.16.16.101\"} 3",
            "metallb_layer2_responses_sent{ip=\"172.16.16.101\"} 2",
            "metallb_layer2_gratuitous_sent{ip=\"172.16.16.101\"} 10",
        ] {
            assert!(first.lines().any(|found| found == line), "{line} is not in\n{first}");
        }

        summary.announced.clear();
        summary.core.members = 2;
        sender.send_replace(summary);
        let second = text(&registry);
        assert!(!second.contains("metallb_speaker_announced{"), "F7: the series ends with the announcement");
        assert!(second.contains("metallb_layer2_gratuitous_sent{ip=\"172.16.16.101\"} 10"), "F10: kept");
        assert!(second.contains("metallb_speaker_members 2"));
    }

    /// A pair of Prometheus servers.
    #[test]
    fn f7_to_f10_two_scrapes_at_once_see_all_of_it_once() {
        let mut summary = Summary::default();
        for host in 0..200 {
            let address = IpAddr::from([172, 16, 16, host]);
            summary.announced.push((ServiceKey::new("default", format!("s{host}")), address));
            let counts = AddressCounters { requests_received: 7, ..AddressCounters::default() };
            summary.core.addresses.insert(address, counts);
        }
        // Kept, so that the channel stays open.
        let (_sender, receiver) = watch::channel(summary);
        let registry = Registry::new();
        register(&registry, NodeName::from("wk01"), receiver);
        let scrapes = || {
            for _ in 0..100 {
                let text = text(&registry);
                let sum = |metric: &str| -> (usize, f64) {
                    let values = text.lines().filter(|line| line.starts_with(metric));
                    let values = values.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
                    values.fold((0, 0.0), |(count, sum), value| (count + 1, sum + value))
                };
                assert_eq!(sum("metallb_speaker_announced{"), (200, 200.0), "F7: none is missing");
                assert_eq!(sum("metallb_layer2_requests_received{"), (200, 1_400.0), "F8: none counts twice");
            }
        };
        thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(scrapes))));
    }

    #[tokio::test]
    async fn w43_readiness_follows_the_core() {
        let readiness = ferrolb_shell::Readiness::default();
        let gate = readiness.gate("speaker", "starting");
        let (sender, receiver) = watch::channel(Summary::default());
        let task = tokio::spawn(report_readiness(receiver, gate));
        sender.send_replace(Summary {
            not_ready: Some(speaker_core::NotReady::Membership),
            ..Summary::default()
        });
        tokio::task::yield_now().await;
        assert!(readiness.report().text.contains("have not answered"), "{}", readiness.report().text);
        sender.send_replace(Summary::default());
        tokio::task::yield_now().await;
        assert!(readiness.report().ready);
        let silent = [NodeName::from("wk02")].into();
        let unheard = speaker_core::UnheardPeers { silent, is_alone: true, ..Default::default() };
        sender.send_replace(Summary { unheard: Some(unheard), ..Summary::default() });
        tokio::task::yield_now().await;
        let report = readiness.report();
        assert!(report.ready && report.text.contains("no other speaker is heard (wk02)"), "{}", report.text);
        drop(sender);
        task.await.expect("it ends with the loop");
        assert!(!readiness.report().ready);
    }
}

//! News and frames, from whom they come to whom they reach.

use smoltcp::wire::EthernetAddress;

use super::{RECORDED_GOSSIP, StationId, Wired, World};
use crate::lab::address_plan;
use crate::lab::api::objects::Kind;
use crate::lab::api::server::WatchId;
use crate::lab::api::watch::Update;
use crate::lab::clock;
use crate::lab::stations::kube_clients;
use crate::net::station::Station;

impl World {
    pub(super) fn deliver_news(&mut self) {
        let Some((watch, update)) = self.api.poll(self.now) else { return };
        let name = self.api.name(watch).to_owned();
        self.fingerprint.add(self.now, &name, format!("{update:?}").as_bytes());
        if let Some(index) = self.nodes.iter().position(|node| node.has_watch(watch)) {
            self.nodes[index].handle_update(self.now, &self.api, watch, &update);
            let is_of_services = concerns(&update, Kind::Service) || concerns(&update, Kind::EndpointSlice);
            if self.nodes[index].watch() == Some(watch) && is_of_services {
                self.tell_checkers(index, watch);
            }
            self.collect_node(index);
        } else if let Some(controller) = &mut self.controller
            && controller.watch() == watch
        {
            controller.handle(self.now, &self.api, &update);
            self.collect_controller();
        }
    }

    fn tell_checkers(&mut self, index: usize, watch: WatchId) {
        let Some(view) = self.api.view(watch) else { return };
        let services = view.services();
        let addresses = services.iter().flat_map(ferrolb_api::Service::ingress_ips).collect();
        let name = self.nodes[index].name();
        let servable = kube_clients::proxied(view, name).addresses;
        self.checkers.told(name, addresses, servable);
    }

    pub(super) fn deliver_frame(&mut self) {
        let instant = clock::instant(self.now);
        let Some((port, frame)) = self.switch.poll(instant) else { return };
        let to = self.wired[port.index()];
        // X10: a switch broken in two carries nothing between its halves.
        if self.sender(&frame).is_some_and(|from| from.is_apart != to.is_apart) {
            return;
        }
        self.fingerprint.add(self.now, self.switch.port_name(port), &frame);
        match to.station {
            StationId::Node(index, nic) => {
                self.checkers.heard(self.nodes[index].name(), nic, &frame);
                self.nodes[index].handle_frame(self.now, nic, frame);
                self.collect_node(index);
            }
            StationId::Client(index) => {
                self.clients[index].handle_frame(self.now, &frame);
                self.collect_client(index);
            }
            StationId::ProbeHost(index) => {
                self.probes[index].handle_frame(self.now, &frame);
                self.collect_probe(index);
            }
            StationId::ApiHost => {
                self.api_host.handle_frame(instant, &frame);
                self.api_host.poll(instant);
                self.collect_api_host();
            }
            StationId::Adversary => {
                self.adversary.handle_frame(self.now, frame);
                self.collect_adversary();
            }
        }
    }

    fn sender(&self, frame: &[u8]) -> Option<Wired> {
        let mac = EthernetAddress(*frame.get(6..12)?.first_chunk()?);
        let port = self.ports_by_mac.get(&mac)?;
        self.wired.get(port.index()).copied()
    }

    /// Takes what a node has done and sends its frames on their way.
    pub(super) fn collect_node(&mut self, index: usize) {
        let outputs = self.nodes[index].take_outputs();
        let mut by_speaker = Vec::new();
        for output in outputs {
            self.speaker_put_out(index, output, &mut by_speaker);
        }
        self.trace_frames(index, &by_speaker);
        for nic in 0..self.node_ports[index].len() {
            let port = self.node_ports[index][nic];
            while let Some(frame) = self.nodes[index].poll_frame(nic) {
                let is_speakers = by_speaker.contains(&frame);
                self.checkers.sent(self.now, self.nodes[index].name(), nic, &frame, is_speakers);
                self.record_gossip(&frame);
                self.switch.send(clock::instant(self.now), port, frame);
            }
        }
    }

    fn record_gossip(&mut self, frame: &[u8]) {
        let port = frame.get(36..38).map(|port| u16::from_be_bytes([port[0], port[1]]));
        if frame.get(12..14) == Some(&[0x08, 0x00]) && port == Some(address_plan::GOSSIP_PORT) {
            self.recorded_gossip.push_back(frame.to_vec());
            if self.recorded_gossip.len() > RECORDED_GOSSIP {
                self.recorded_gossip.pop_front();
            }
        }
    }

    pub(super) fn collect_client(&mut self, index: usize) {
        for noticed in self.clients[index].take_noticed() {
            self.client_noticed(index, noticed);
        }
        let port = self.client_ports[index];
        while let Some(frame) = self.clients[index].poll_frame() {
            self.trace_question(index, &frame);
            self.switch.send(clock::instant(self.now), port, frame);
        }
    }

    pub(super) fn collect_probe(&mut self, index: usize) {
        let port = self.probe_ports[index];
        while let Some(frame) = self.probes[index].poll_frame() {
            self.switch.send(clock::instant(self.now), port, frame);
        }
    }

    pub(super) fn collect_api_host(&mut self) {
        while let Some(frame) = self.api_host.poll_frame() {
            self.switch.send(clock::instant(self.now), self.api_port, frame);
        }
    }

    pub(super) fn collect_adversary(&mut self) {
        while let Some(frame) = self.adversary.poll_frame() {
            self.switch.send(clock::instant(self.now), self.adversary_port, frame);
        }
    }

    pub(super) fn collect_controller(&mut self) {
        let Some(controller) = &mut self.controller else { return };
        let outputs = controller.take_outputs();
        for output in outputs {
            self.controller_put_out(output);
        }
    }
}

fn concerns(update: &Update, kind: Kind) -> bool {
    match update {
        Update::Listed(listed) => *listed == kind,
        Update::Changed(key) | Update::Gone(key) => key.kind == kind,
    }
}

//! News and frames, from whom they come to whom they reach.

use super::World;
use super::network::StationId;
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
        self.record.fingerprint.add(self.now, &name, format!("{update:?}").as_bytes());
        if let Some(index) = self.stations.nodes.iter().position(|node| node.has_watch(watch)) {
            self.stations.nodes[index].handle_update(self.now, &self.api, watch, &update);
            let is_of_services = concerns(&update, Kind::Service) || concerns(&update, Kind::EndpointSlice);
            if self.stations.nodes[index].watch() == Some(watch) && is_of_services {
                self.tell_checkers(index, watch);
            }
            self.collect_node(index);
        } else if let Some(controller) = &mut self.stations.controller
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
        let name = self.stations.nodes[index].name();
        let servable = kube_clients::proxied(view, name).services;
        self.checkers.knows(name, addresses, servable);
    }

    pub(super) fn deliver_frame(&mut self) {
        let instant = clock::instant(self.now);
        let Some((station, port, frame)) = self.network.poll(self.now) else { return };
        self.record.fingerprint.add(self.now, self.network.switch.port_name(port), &frame);
        match station {
            StationId::Node(index, nic) => {
                self.checkers.heard(self.stations.nodes[index].name(), nic, &frame);
                self.stations.nodes[index].handle_frame(self.now, nic, frame);
                self.collect_node(index);
            }
            StationId::Client(index) => {
                self.stations.clients[index].handle_frame(self.now, &frame);
                self.collect_client(index);
            }
            StationId::ProbeHost(index) => {
                self.stations.probes[index].handle_frame(self.now, &frame);
                self.collect_probe(index);
            }
            StationId::ApiHost => {
                self.stations.api_host.handle_frame(instant, &frame);
                self.stations.api_host.poll(instant);
                self.collect_api_host();
            }
            StationId::Adversary => {
                self.stations.adversary.handle_frame(self.now, frame);
                self.collect_adversary();
            }
        }
    }

    /// Takes what a node has done and sends its frames on their way.
    pub(super) fn collect_node(&mut self, index: usize) {
        let outputs = self.stations.nodes[index].take_outputs();
        let mut by_speaker = Vec::new();
        for output in outputs {
            self.speaker_put_out(index, output, &mut by_speaker);
        }
        self.trace_frames(index, &by_speaker);
        for nic in 0..self.network.nodes[index].len() {
            let port = self.network.nodes[index][nic];
            while let Some(frame) = self.stations.nodes[index].poll_frame(nic) {
                let is_speakers = by_speaker.contains(&frame);
                self.checkers.sent(self.now, self.stations.nodes[index].name(), nic, &frame, is_speakers);
                self.record.keep_gossip(&frame);
                self.network.send(self.now, port, frame);
            }
        }
    }

    pub(super) fn collect_client(&mut self, index: usize) {
        for noticed in self.stations.clients[index].take_noticed() {
            self.client_noticed(index, noticed);
        }
        let port = self.network.clients[index];
        while let Some(frame) = self.stations.clients[index].poll_frame() {
            self.trace_question(index, &frame);
            self.network.send(self.now, port, frame);
        }
    }

    pub(super) fn collect_probe(&mut self, index: usize) {
        let port = self.network.probes[index];
        while let Some(frame) = self.stations.probes[index].poll_frame() {
            self.network.send(self.now, port, frame);
        }
    }

    pub(super) fn collect_api_host(&mut self) {
        let Some(port) = self.network.api_host else { return };
        while let Some(frame) = self.stations.api_host.poll_frame() {
            self.network.send(self.now, port, frame);
        }
    }

    pub(super) fn collect_adversary(&mut self) {
        let Some(port) = self.network.adversary else { return };
        while let Some(frame) = self.stations.adversary.poll_frame() {
            self.network.send(self.now, port, frame);
        }
    }

    pub(super) fn collect_controller(&mut self) {
        let Some(controller) = &mut self.stations.controller else { return };
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

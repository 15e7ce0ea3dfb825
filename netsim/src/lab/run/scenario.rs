//! What a run consists of: its size, its wires, its clients, and what is done
//! to them when.

use std::time::Duration;

use crate::lab::address_plan;
use crate::lab::api::watch::Delay;
use crate::lab::run::action::{Action, Target};
use crate::lab::stations::client::ClientKind;

/// A scenario: everything about a run except its seed.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it shows, in one line.
    pub description: String,
    /// How many nodes run a speaker, 1 to [`address_plan::MAX_NODES`].
    pub nodes: u8,
    /// Whether every node has a second NIC, `eth1`, on a LAN of its own.
    pub has_second_lan: bool,
    /// What every wire is like.
    pub link: Link,
    /// How soon the API server's news arrive.
    pub api: Delay,
    /// Who asks, and with what neighbour table. The first is a Linux client.
    pub clients: Vec<ClientKind>,
    /// How often each client asks by UDP.
    pub ask_every: Duration,
    /// How often the first client fetches a page; zero is never.
    pub fetch_every: Duration,
    /// When the Services are created; the configuration is there from the start.
    pub services_at: Duration,
    /// What is done, in any order.
    pub steps: Vec<Step>,
    /// After the last step the world has this long to be well again; then L1,
    /// L2 and L4 must hold.
    pub settle: Duration,
    /// What must hold beside the invariants.
    pub expect: Expect,
}

/// The longest that a frame may be on its way through one cable: past it nothing is left of a LAN to simulate.
const MAX_TIME_ON_A_WIRE: Duration = Duration::from_secs(10);

/// What a wire does to frames, both ways.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// Share of frames lost, in 1/10,000.
    pub loss: u32,
    /// Time on the wire.
    pub delay: Duration,
    /// Added to it, evenly spread from zero to this.
    pub jitter: Duration,
}

impl Link {
    /// A quiet LAN: 50 to 150 microseconds for each cable, nothing lost.
    pub const QUIET: Self =
        Self { loss: 0, delay: Duration::from_micros(50), jitter: Duration::from_micros(100) };
}

/// Something that is done at a certain time.
#[derive(Clone, Debug)]
pub struct Step {
    /// When, from the start.
    pub at: Duration,
    /// Later by a random time up to this, so that it meets every phase of
    /// every timer.
    pub spread: Duration,
    /// What.
    pub action: Action,
}

/// What must hold at the end of a scenario, beside the invariants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// L1: the longest time that the first client goes without an answer.
    pub outage_at_most: Option<Duration>,
    /// The most answers that the first client misses after the first step.
    pub lost_at_most: Option<u32>,
    /// L7: the most changes of owner of the first address after it was first owned.
    pub moves_at_most: Option<u32>,
    /// The fewest changes of owner: a fault that moved nothing was none.
    pub moves_at_least: Option<u32>,
}

impl Scenario {
    /// A quiet cluster of two nodes with one Linux client, to which nothing happens.
    #[must_use]
    pub fn new(name: &str, description: &str) -> Self {
        Self {
            name: name.to_owned(),
            description: description.to_owned(),
            nodes: 2,
            has_second_lan: false,
            link: Link::QUIET,
            api: crate::lab::api::server::QUIET,
            clients: vec![ClientKind::Linux],
            ask_every: Duration::from_millis(10),
            fetch_every: Duration::from_millis(500),
            services_at: Duration::from_secs(1),
            steps: Vec::new(),
            settle: Duration::from_secs(4),
            expect: Expect::default(),
        }
    }

    /// What is wrong with it, if anything: it is checked before it is run.
    ///
    /// # Errors
    /// One sentence for each fault found.
    pub fn validate(&self) -> Result<(), String> {
        if self.nodes == 0 || self.nodes > address_plan::MAX_NODES {
            return Err(format!("nodes: {} is not between 1 and {}", self.nodes, address_plan::MAX_NODES));
        }
        if self.clients.is_empty() || self.clients.len() > usize::from(address_plan::MAX_CLIENTS) {
            let (given, most) = (self.clients.len(), address_plan::MAX_CLIENTS);
            return Err(format!("clients: {given} given; between 1 and {most} are needed"));
        }
        if self.clients.first() != Some(&ClientKind::Linux) {
            return Err("clients: the first must be linux, whose outage is measured".to_owned());
        }
        if self.ask_every < Duration::from_millis(1) {
            return Err("ask: every must be at least 1ms".to_owned());
        }
        if self.link.loss > 10_000 {
            return Err("link: loss cannot be more than 100%".to_owned());
        }
        if self.link.delay.saturating_add(self.link.jitter) > MAX_TIME_ON_A_WIRE {
            let most = MAX_TIME_ON_A_WIRE.as_secs();
            return Err(format!("link: delay and jitter together are more than {most} s, which is no LAN"));
        }
        let names: Vec<String> = (0..self.nodes).map(address_plan::node_name).collect();
        for step in &self.steps {
            if let Some(Target::Node(name)) = &step.action.args.node
                && !names.contains(name)
            {
                return Err(format!("there is no node {name:?}; there are {}", names.join(", ")));
            }
        }
        Ok(())
    }
}

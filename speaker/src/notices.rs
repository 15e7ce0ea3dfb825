//! The core's notices as log lines, with the values that people grep for (F42).

use speaker_core::{Notice, UnheardPeers};
use tracing::Level;

/// Whether the line would be written: there is one for each gratuitous frame,
/// for debugging.
pub fn is_wanted(notice: &Notice) -> bool {
    !matches!(notice, Notice::Gratuitous { .. }) || tracing::enabled!(Level::DEBUG)
}

/// Writes one line.
pub fn log(notice: &Notice) {
    match notice {
        Notice::Announced { service, address, candidates } => {
            let candidates = joined(candidates);
            tracing::info!(
                event = "serviceAnnounced",
                service = %service, ips = %address, candidates, protocol = "layer2",
                "service has IP, announcing"
            );
        }
        Notice::Withdrawn { service, address, reason, owner } => {
            let owner = owner.as_ref().map(ToString::to_string).unwrap_or_default();
            tracing::info!(
                event = "serviceWithdrawn",
                service = %service, ips = %address, reason = reason.as_str(), owner, protocol = "layer2",
                "withdrawing service announcement"
            );
        }
        Notice::MemberUp(_) | Notice::MemberDown(_) | Notice::MemberRestarted(_) | Notice::Joined { .. } => {
            log_membership(notice);
        }
        Notice::Gratuitous { address, wave, interface, mac } => {
            let wave = wave.map_or_else(|| "refresh".to_owned(), |wave| wave.to_string());
            tracing::debug!(
                event = "gratuitous", ip = %address, wave, interface = interface.0, mac = %mac, "announced"
            );
        }
        Notice::Conflict { address, interface, mac } => {
            tracing::warn!(
                event = "conflict", ip = %address, interface = interface.0, mac = %mac,
                "another station claims an address that this node announces"
            );
        }
        Notice::Paused(late) => {
            let late_ms = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(
                event = "paused",
                late_ms,
                "this process did not run for a while; its addresses are announced again"
            );
        }
    }
}

/// Writes one line about speakers that ought to be heard.
pub fn log_unheard(peers: &UnheardPeers) {
    if peers.is_empty() {
        tracing::info!(op = "memberlist", event = "speakersHeard", "{ALL_HEARD}");
    } else {
        tracing::warn!(op = "memberlist", event = "speakersNotHeard", "{peers}");
    }
}

/// What is said once nobody is missed any more.
pub const ALL_HEARD: &str = "all speakers that Kubernetes names are heard";

/// The text says what it has for MetalLB's users: that a node made it elect anew.
fn log_membership(notice: &Notice) {
    const ELECTION: &str = "node event forces a new election";
    let (event, node, text) = match notice {
        Notice::MemberUp(node) => ("memberUp", node.to_string(), ELECTION),
        Notice::MemberDown(node) => ("memberDown", node.to_string(), ELECTION),
        Notice::MemberRestarted(node) => ("memberRestarted", node.to_string(), "a member has a new identity"),
        Notice::Joined { members, missing } if missing.is_empty() => {
            ("joined", joined(members), "all speakers that Kubernetes names are known")
        }
        Notice::Joined { members, .. } if members.len() > 1 => {
            ("joined", joined(members), "the first members are known")
        }
        Notice::Joined { missing, .. } => {
            let text = "no other speaker has answered so far; this node goes on as if it were alone";
            tracing::warn!(op = "memberlist", event = "joined", missing = joined(missing), "{text}");
            return;
        }
        _ => return,
    };
    tracing::info!(op = "memberlist", event, node, "{text}");
}

fn joined(names: &[ferrolb_api::NodeName]) -> String {
    names.iter().map(ferrolb_api::NodeName::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use ferrolb_api::{NodeName, ServiceKey};
    use speaker_core::WithdrawReason;

    use super::*;
    use crate::log_lines;

    #[test]
    fn f42_what_people_look_for() {
        let service = || ServiceKey::new("default", "web");
        let address = [172, 16, 16, 101].into();
        let (one, two) = (NodeName::from("wk01"), NodeName::from("wk02"));
        let announced =
            Notice::Announced { service: service(), address, candidates: vec![one.clone(), two.clone()] };
        let reason = WithdrawReason::NotOwner;
        let withdrawn = Notice::Withdrawn { service: service(), address, reason, owner: Some(two) };
        for (notice, expected) in [
            (
                announced,
                &[("event", "serviceAnnounced"), ("ips", "172.16.16.101"), ("protocol", "layer2")][..],
            ),
            (withdrawn, &[("event", "serviceWithdrawn"), ("reason", "notOwner"), ("owner", "wk02")]),
            (
                Notice::MemberDown(one),
                &[("event", "memberDown"), ("msg", "node event forces a new election")],
            ),
        ] {
            let lines = log_lines::of(|| log(&notice));
            let [line] = lines.as_slice() else { panic!("{notice:?}: {lines:?}") };
            assert_eq!(line["level"], "info");
            for (key, value) in expected {
                assert_eq!(line[key], *value, "{notice:?}");
            }
        }
    }
}

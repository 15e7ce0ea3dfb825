//! The status of pools and advertisements: their conditions and the
//! counters, merged into one write for each object (A20, C83).

use std::collections::BTreeMap;

use ::kube::api::{ApiResource, DynamicObject};
use ::kube::{Api, Client};
use controller_core::PoolUsage;
use ferrolb_api::conditions;
use ferrolb_api::config::{Kind, Verdict};
use ferrolb_api::crd::{
    IPAddressPool, IPAddressPoolStatus, L2Advertisement, L2AdvertisementStatus, LastKnownGood,
};
use ferrolb_shell::kubernetes::resources::Statuses;
use ferrolb_shell::kubernetes::write_queue::Outcome;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};

use super::status_patch::StatusPatch;

/// Objects that are gone, and whose status is remembered.
const GONE: usize = 1_024;

/// The field of a status in which the version in force stands.
const LAST_KNOWN_GOOD: &str = "lastKnownGood";

/// Kind and name.
pub(super) type ObjectKey = (Kind, String);

/// What is to stand in each object's status, beside what stands there.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    objects: BTreeMap<ObjectKey, Parts>,
    seen: Statuses,
    /// Whether a version in force has been seen to stand: the CRDs have a field for it.
    are_kept: bool,
}

#[derive(Debug, Default)]
struct Parts {
    verdict: Option<Verdict>,
    usage: Option<PoolUsage>,
    /// The version in force as it was to be written last.
    offered: Option<LastKnownGood>,
}

impl Wanted {
    /// Takes a verdict in, and says whose it is.
    pub(super) fn verdict(&mut self, verdict: Verdict) -> ObjectKey {
        let key = (verdict.kind, verdict.name.clone());
        self.objects.entry(key.clone()).or_default().verdict = Some(verdict);
        key
    }

    /// Takes counters in, and says whose they are.
    pub(super) fn usage(&mut self, usage: PoolUsage) -> ObjectKey {
        let key = (Kind::IPAddressPool, usage.pool.clone());
        self.objects.entry(key.clone()).or_default().usage = Some(usage);
        key
    }

    /// The pool is not in force any more; a verdict on it may stand.
    pub(super) fn forget_pool(&mut self, pool: String) {
        if let Some(parts) = self.objects.get_mut(&(Kind::IPAddressPool, pool)) {
            parts.usage = None;
        }
    }

    /// Takes in what stands, and gives the objects where it has changed.
    pub(super) fn seen(&mut self, seen: Statuses) -> Vec<ObjectKey> {
        // One that is gone may come back at once, and the core may never have
        // noticed: what was wanted of it is forgotten only when there is a lot.
        if self.objects.len() > seen.len() + GONE {
            self.objects.retain(|key, _| seen.contains_key(key));
        }
        self.are_kept |= seen.values().any(|status| status.get(LAST_KNOWN_GOOD).is_some());
        let changed = seen.iter().filter(|(key, status)| self.seen.get(*key) != Some(*status));
        let changed = changed.map(|(key, _)| key.clone()).collect();
        self.seen = seen;
        changed
    }

    /// The status to write, if it differs from what stands. Nothing is written
    /// to an object that has not been seen: it is gone, or about to be seen. A version in
    /// force that MetalLB's CRDs have no field for is offered once.
    pub(super) fn status(&mut self, key: &ObjectKey) -> Option<Value> {
        let (seen, parts) = (self.seen.get(key)?, self.objects.get_mut(key)?);
        let now = Time(Timestamp::now());
        let wanted = match key.0 {
            Kind::IPAddressPool => pool_status(seen, parts, &now),
            Kind::L2Advertisement => advertisement_status(seen, parts, &now),
        };
        let mut rest = wanted.clone();
        let version = rest.as_object_mut().and_then(|status| status.remove(LAST_KNOWN_GOOD));
        let is_offered = parts.offered.as_ref().map(|offered| json!(offered)) == version;
        if wanted == *seen || (rest == *seen && is_offered && !self.are_kept) {
            return None;
        }
        parts.offered = parts.verdict.as_ref().and_then(|verdict| verdict.last_known_good.clone());
        Some(replacing(seen, wanted))
    }
}

/// `wanted` as a merge patch over `seen` that leaves nothing of an earlier spec: what it lacks is
/// taken away by a null.
fn replacing(seen: &Value, mut wanted: Value) -> Value {
    fn clear(seen: &Value, wanted: &mut Value) {
        let (Some(seen), Some(wanted)) = (seen.as_object(), wanted.as_object_mut()) else { return };
        for (key, old) in seen {
            clear(old, wanted.entry(key.clone()).or_insert(Value::Null));
        }
    }
    if let Some(kept) = wanted.get_mut(LAST_KNOWN_GOOD) {
        clear(&seen[LAST_KNOWN_GOOD], kept);
    }
    wanted
}

fn pool_status(seen: &Value, parts: &Parts, now: &Time) -> Value {
    // A status that cannot be read is written anew.
    let mut status: IPAddressPoolStatus = serde_json::from_value(seen.clone()).unwrap_or_default();
    if let Some(verdict) = &parts.verdict {
        status.conditions = conditions::with_verdict(verdict, &status.conditions, now);
        status.observed_generation = Some(verdict.generation);
        status.last_known_good = verdict.last_known_good.clone().or(status.last_known_good);
    }
    let out_of_force = parts
        .verdict
        .as_ref()
        .and_then(|verdict| verdict.outcome.as_ref().err())
        .is_some_and(|problem| !problem.last_valid_kept);
    if parts.usage.is_some() || out_of_force {
        let exhausted = parts.usage.as_ref().and_then(|usage| usage.exhausted.as_deref());
        let generation = status.observed_generation.unwrap_or_default();
        status.conditions = conditions::with_exhaustion(exhausted, generation, &status.conditions, now);
    }
    if let Some(usage) = &parts.usage {
        status.assigned_ipv4 = usage.assigned_ipv4;
        status.assigned_ipv6 = usage.assigned_ipv6;
        status.available_ipv4 = usage.total_ipv4.saturating_sub(usage.assigned_ipv4).max(0);
        status.available_ipv6 = usage.total_ipv6.saturating_sub(usage.assigned_ipv6).max(0);
    }
    json!(status)
}

fn advertisement_status(seen: &Value, parts: &Parts, now: &Time) -> Value {
    let mut status: L2AdvertisementStatus = serde_json::from_value(seen.clone()).unwrap_or_default();
    if let Some(verdict) = &parts.verdict {
        status.conditions = conditions::with_verdict(verdict, &status.conditions, now);
        status.observed_generation = Some(verdict.generation);
        status.last_known_good = verdict.last_known_good.clone().or(status.last_known_good);
    }
    json!(status)
}

/// WriteSender the status of one object.
pub(super) async fn write(
    client: Client,
    namespace: String,
    patch: &StatusPatch,
    (kind, name): ObjectKey,
    status: Value,
) -> Outcome {
    let resource = match kind {
        Kind::IPAddressPool => ApiResource::erase::<IPAddressPool>(&()),
        Kind::L2Advertisement => ApiResource::erase::<L2Advertisement>(&()),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client, &namespace, &resource);
    patch.write(&api, &name, &json!({ "status": status }), || {}).await
}

#[cfg(test)]
mod tests {
    use ferrolb_api::config::Problem;

    use super::*;

    fn key() -> ObjectKey {
        (Kind::IPAddressPool, "pool".to_owned())
    }

    fn verdict(outcome: Result<(), &str>) -> Verdict {
        let outcome = outcome.map_err(|message| Problem {
            reason: "InvalidAddresses",
            message: message.to_owned(),
            last_valid_kept: false,
            only_until_restart: false,
        });
        Verdict {
            kind: Kind::IPAddressPool,
            name: "pool".to_owned(),
            generation: 4,
            outcome,
            effective: None,
            note: String::new(),
            last_known_good: None,
        }
    }

    fn usage(assigned: i64) -> PoolUsage {
        PoolUsage {
            pool: "pool".to_owned(),
            total_ipv4: 10,
            total_ipv6: 0,
            assigned_ipv4: assigned,
            assigned_ipv6: 0,
            exhausted: None,
        }
    }

    #[test]
    fn c83_counters_and_condition_are_one_write() {
        let mut wanted = Wanted::default();
        wanted.verdict(verdict(Ok(())));
        assert_eq!(wanted.status(&key()), None, "the object has not been seen");
        wanted.usage(usage(3));
        assert_eq!(wanted.seen([(key(), Value::Null)].into()), [key()]);
        let status = wanted.status(&key()).expect("nothing stands there yet");
        assert_eq!((&status["assignedIPv4"], &status["availableIPv4"]), (&json!(3), &json!(7)));
        assert_eq!(status["observedGeneration"], 4);
        assert_eq!(status["conditions"][0]["status"], "True");

        assert_eq!(wanted.seen([(key(), status.clone())].into()), [key()]);
        assert_eq!(wanted.status(&key()), None, "it stands");
        let mut edited = status;
        edited["assignedIPv4"] = json!(9);
        assert_eq!(wanted.seen([(key(), edited)].into()), [key()]);
        let restored = wanted.status(&key()).expect("somebody has edited it");
        assert_eq!(restored["assignedIPv4"], 3);
    }

    #[test]
    fn a_verdict_alone_keeps_the_counters_that_stand() {
        let mut wanted = Wanted::default();
        wanted.verdict(verdict(Err("192.168.1.0/33 is no prefix")));
        wanted.seen([(key(), json!({ "assignedIPv4": 2, "availableIPv4": 8 }))].into());
        let status = wanted.status(&key()).expect("the condition is new");
        assert_eq!((&status["assignedIPv4"], &status["availableIPv4"]), (&json!(2), &json!(8)));
        assert_eq!(status["conditions"][0]["reason"], "InvalidAddresses");
    }

    #[test]
    fn c84_a_pool_that_is_gone_is_not_written_to() {
        let mut wanted = Wanted::default();
        wanted.seen([(key(), Value::Null)].into());
        wanted.verdict(verdict(Ok(())));
        wanted.usage(usage(1));
        assert_eq!(wanted.seen(Statuses::default()), []);
        assert_eq!(wanted.status(&key()), None);
        wanted.forget_pool("pool".to_owned());
        assert_eq!(wanted.seen([(key(), Value::Null)].into()), [key()]);
        let status = wanted.status(&key()).expect("it was made again under its name");
        assert_eq!((&status["assignedIPv4"], &status["observedGeneration"]), (&json!(0), &json!(4)));
    }

    #[test]
    fn exhausted_stands_beside_ready_and_goes_with_its_cause() {
        let mut wanted = Wanted::default();
        wanted.seen([(key(), Value::Null)].into());
        wanted.verdict(verdict(Ok(())));
        wanted.usage(PoolUsage { exhausted: Some("no free IPv4 address".to_owned()), ..usage(10) });
        let full = wanted.status(&key()).expect("nothing stands there yet");
        let types = |status: &Value| -> Vec<String> {
            let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().map(|c| format!("{} {}", c["type"], c["status"]).replace('"', "")).collect()
        };
        assert_eq!(types(&full), ["Ready True", "Exhausted True"]);
        assert_eq!(full["conditions"][1]["observedGeneration"], 4);
        wanted.seen([(key(), full.clone())].into());
        assert_eq!(wanted.status(&key()), None, "it stands");

        // After a restart the verdict comes first: nothing is known of addresses yet.
        let mut restarted = Wanted::default();
        restarted.seen([(key(), full.clone())].into());
        restarted.verdict(verdict(Ok(())));
        assert_eq!(restarted.status(&key()), None);
        restarted.usage(usage(9));
        assert_eq!(restarted.status(&key()).as_ref().map(types).expect("one is free"), ["Ready True"]);

        // A pool that is not in force has nothing to be short of.
        wanted.verdict(verdict(Err("192.168.1.0/33 is no prefix")));
        wanted.forget_pool("pool".to_owned());
        let bad = wanted.status(&key()).expect("the verdict is new");
        assert_eq!(types(&bad), ["Ready False", "Stalled True"]);
    }

    #[test]
    fn the_version_in_force_is_replaced_whole_and_offered_once_where_it_is_dropped() {
        let accepted = |generation, spec: Value| Verdict {
            generation,
            last_known_good: Some(LastKnownGood { generation, spec }),
            ..verdict(Ok(()))
        };
        let mut wanted = Wanted::default();
        wanted.seen([(key(), Value::Null)].into());
        wanted.verdict(accepted(1, json!({ "addresses": ["a"], "serviceAllocation": { "priority": 1 } })));
        let first = wanted.status(&key()).expect("nothing stands there yet");
        assert_eq!(first["lastKnownGood"]["generation"], 1);

        // MetalLB's CRDs drop it: what comes back lacks it.
        let mut dropped = first.clone();
        dropped.as_object_mut().expect("a status").remove("lastKnownGood");
        wanted.seen([(key(), dropped)].into());
        assert_eq!(wanted.status(&key()), None, "it was offered");

        wanted.seen([(key(), first)].into());
        wanted.verdict(accepted(2, json!({ "addresses": ["b"] })));
        let second = wanted.status(&key()).expect("another version");
        let kept = &second["lastKnownGood"]["spec"];
        assert_eq!(kept, &json!({ "addresses": ["b"], "serviceAllocation": null }), "a merge patch");

        // Rejected, it stays; taken away by somebody, it comes back.
        wanted.verdict(Verdict {
            last_known_good: accepted(2, json!({})).last_known_good,
            ..verdict(Err("bad"))
        });
        assert_eq!(wanted.status(&key()).expect("the verdict is new")["lastKnownGood"]["generation"], 2);
    }

    #[test]
    fn memory_of_what_is_gone_is_bounded() {
        let mut wanted = Wanted::default();
        for number in 0..3 * GONE {
            wanted.verdict(Verdict { name: number.to_string(), ..verdict(Ok(())) });
            wanted.seen(Statuses::default());
        }
        assert!(wanted.objects.len() <= GONE);
    }
}

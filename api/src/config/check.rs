//! Judging: resources in, configuration and verdicts out.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::Serialize;

use super::{
    Advertisement, Checked, Config, Kind, Occupied, Pool, PoolSelection, Preference, Problem, Resources,
    ServiceAllocation, Verdict, Version, reason,
};
use crate::address::{self, AddressRange, AddressRangeError};
use crate::crd::{IPAddressPool, L2Advertisement, ServiceAllocationSpec};
use crate::namespace::Namespace;
use crate::selector::{self, Selector};
use claims::Claims;
use kept::Kept;

mod claims;
mod effective;
mod kept;
mod notes;
mod reservations;

/// Judges every object by itself and beside the others (B1 to B18).
///
/// A bad object is left out, unless `last` or its status holds a valid version of
/// it that still fits: then that one stays in force, so that an edit gone wrong
/// takes no address away. Where two pools overlap, the older one stands (by creation
/// time, then name; an object without a creation time counts as newest). The
/// order of the input does not matter.
///
/// What is valid now never depends on `last`: a valid pool goes before the
/// kept version of a bad one, which keeps those of its addresses that no valid
/// pool has. So two processes, one of them just started, can differ only in
/// what is bad, and there only until the status has it.
///
/// Advertisements with equal content (B18) are not collapsed: candidates are a
/// union over advertisements, and an advertisement without preferences adds
/// nothing to a score, so that a second one of the kind changes nothing.
#[must_use]
pub fn check(resources: &Resources, last: &Config) -> Checked {
    let (pools, mut verdicts) = pools(resources, last);
    let (advertisements, more) = advertisements(resources, last);
    verdicts.extend(more);
    for object in &resources.undecodable {
        let kept = match object.kind {
            Kind::IPAddressPool => pools.kept.contains(&object.name),
            Kind::L2Advertisement => advertisements.kept.contains(&object.name),
        };
        let message = format!("the object cannot be read as {}: {}", object.kind, object.error);
        let mut problem = Problem::new(reason::UNDECODABLE, message);
        problem.last_valid_kept = kept;
        problem.only_until_restart = kept;
        verdicts.push(Verdict {
            kind: object.kind,
            name: object.name.clone(),
            generation: object.generation,
            outcome: Err(problem),
            effective: None,
            note: String::new(),
            last_known_good: None,
        });
    }
    // The text too, for the pair of one name that only files can hold.
    verdicts.sort_by_cached_key(|verdict| {
        let text = verdict.outcome.as_ref().err().map(ToString::to_string);
        (verdict.kind, verdict.name.clone(), verdict.generation, text)
    });
    let unusable_pools = left_out(resources, Kind::IPAddressPool, &verdicts, &pools.in_force);
    let stand_in = |name: String| {
        let labels = kept::labels(resources, last, &name);
        (name.clone(), Pool { name, labels, ..Pool::default() })
    };
    let mut config = Config {
        unusable_pools: unusable_pools.into_iter().map(stand_in).collect(),
        unusable_advertisements: left_out(
            resources,
            Kind::L2Advertisement,
            &verdicts,
            &advertisements.in_force,
        ),
        pools: pools.in_force,
        advertisements: advertisements.in_force,
        versions: pools.versions.into_iter().chain(advertisements.versions).collect(),
    };
    let occupied = Occupied::of(resources);
    for pool in config.pools.values_mut() {
        pool.withhold(&occupied);
    }
    for verdict in &mut verdicts {
        verdict.effective =
            effective::judge(verdict.kind, &verdict.name, &config, resources.nodes.as_deref());
        let version = config.versions.get(&(verdict.kind, verdict.name.clone()));
        verdict.last_known_good = version.map(|version| version.source.clone());
        if verdict.kind == Kind::IPAddressPool
            && verdict.outcome.is_ok()
            && let Some(withheld) = config.pools.get(&verdict.name).and_then(notes::withheld)
        {
            let separator = if verdict.note.is_empty() { "" } else { "; " };
            verdict.note = format!("{}{separator}{withheld}", verdict.note);
        }
    }
    Checked { config, verdicts }
}

/// The objects of one kind that are in force, and which of them are kept.
struct InForce<T> {
    in_force: BTreeMap<String, T>,
    kept: BTreeSet<String>,
    versions: BTreeMap<(Kind, String), Version>,
}

impl<T> InForce<T> {
    fn new() -> Self {
        Self { in_force: BTreeMap::new(), kept: BTreeSet::new(), versions: BTreeMap::new() }
    }
}

fn pools(resources: &Resources, last: &Config) -> (InForce<Pool>, Vec<Verdict>) {
    let mut pools = InForce::new();
    let mut claims = Claims::default();
    let mut verdicts = Vec::new();
    for object in by_precedence(&resources.pools, |pool| &pool.metadata) {
        let name = object.metadata.name.clone().unwrap_or_default();
        let outcome = match pools.in_force.contains_key(&name) {
            true => Err(duplicate_name(Kind::IPAddressPool)),
            false => read_pool(object, resources).and_then(|(pool, texts)| {
                claims.admit(&pool, &texts)?;
                Ok(pool)
            }),
        };
        let note = if outcome.is_ok() { notes::widened(object) } else { String::new() };
        let outcome = outcome.map(|pool| {
            let version = kept::accepted(&object.metadata, &object.spec);
            pools.versions.insert((Kind::IPAddressPool, name.clone()), version);
            pools.in_force.insert(name, pool);
        });
        verdicts.push(Verdict { note, ..verdict(Kind::IPAddressPool, &object.metadata, outcome) });
    }
    for name in left_out(resources, Kind::IPAddressPool, &verdicts, &pools.in_force) {
        let Some(Kept { value: pool, version, is_stored }) = kept::pool(resources, last, &name) else {
            continue;
        };
        let ranges: Vec<_> = pool.ranges.iter().flat_map(|range| claims.left_of(range)).collect();
        if ranges.is_empty() {
            continue;
        }
        let shrunk = ranges != pool.ranges;
        let mut pool = Pool { ranges, ..pool };
        pool.clip_reservations();
        claims.add(&pool);
        pools.in_force.insert(name.clone(), pool);
        mark_kept(&mut verdicts, &name, is_stored, shrunk);
        pools.versions.insert((Kind::IPAddressPool, name.clone()), version);
        pools.kept.insert(name);
    }
    (pools, verdicts)
}

fn advertisements(resources: &Resources, last: &Config) -> (InForce<Advertisement>, Vec<Verdict>) {
    let mut advertisements = InForce::new();
    let mut verdicts = Vec::new();
    for object in by_precedence(&resources.l2_advertisements, |ad| &ad.metadata) {
        let name = object.metadata.name.clone().unwrap_or_default();
        let outcome = match advertisements.in_force.contains_key(&name) {
            true => Err(duplicate_name(Kind::L2Advertisement)),
            false => read_advertisement(object),
        };
        verdicts.push(verdict(
            Kind::L2Advertisement,
            &object.metadata,
            outcome.map(|advertisement| {
                let version = kept::accepted(&object.metadata, &object.spec);
                advertisements.versions.insert((Kind::L2Advertisement, name.clone()), version);
                advertisements.in_force.insert(name, advertisement);
            }),
        ));
    }
    for name in left_out(resources, Kind::L2Advertisement, &verdicts, &advertisements.in_force) {
        let Some(Kept { value, version, is_stored }) = kept::advertisement(resources, last, &name) else {
            continue;
        };
        advertisements.in_force.insert(name.clone(), value);
        mark_kept(&mut verdicts, &name, is_stored, false);
        advertisements.versions.insert((Kind::L2Advertisement, name.clone()), version);
        advertisements.kept.insert(name);
    }
    (advertisements, verdicts)
}

/// The names that exist, but of which no valid object is in force.
fn left_out<T>(
    resources: &Resources,
    kind: Kind,
    verdicts: &[Verdict],
    in_force: &BTreeMap<String, T>,
) -> BTreeSet<String> {
    let undecodable = resources.undecodable.iter().filter(|object| object.kind == kind);
    let names = verdicts.iter().map(|verdict| &verdict.name).chain(undecodable.map(|object| &object.name));
    names.filter(|name| !in_force.contains_key(*name)).cloned().collect()
}

fn mark_kept(verdicts: &mut [Verdict], name: &str, is_stored: bool, shrunk: bool) {
    let problems = verdicts.iter_mut().filter(|verdict| verdict.name == name);
    for problem in problems.filter_map(|verdict| verdict.outcome.as_mut().err()) {
        problem.last_valid_kept = true;
        problem.only_until_restart = !is_stored;
        if shrunk {
            problem.message.push_str("; other pools now have some of the addresses it had");
        }
    }
}

/// The objects, those that stand against others first.
fn by_precedence<T: Serialize>(objects: &[T], metadata: fn(&T) -> &ObjectMeta) -> Vec<&T> {
    let mut sorted: Vec<_> = objects.iter().collect();
    sorted.sort_by(|a, b| {
        let (meta_a, meta_b) = (metadata(a), metadata(b));
        let age = match (&meta_a.creation_timestamp, &meta_b.creation_timestamp) {
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        // The last resort is for two objects of one name, which only files can hold.
        let text = |object: &&T| serde_json::to_string(object).unwrap_or_default();
        age.then_with(|| meta_a.name.cmp(&meta_b.name)).then_with(|| text(a).cmp(&text(b)))
    });
    sorted
}

fn verdict(kind: Kind, metadata: &ObjectMeta, outcome: Result<(), Problem>) -> Verdict {
    let name = metadata.name.clone().unwrap_or_default();
    Verdict {
        kind,
        name,
        generation: metadata.generation.unwrap_or_default(),
        outcome,
        effective: None,
        note: String::new(),
        last_known_good: None,
    }
}

fn duplicate_name(kind: Kind) -> Problem {
    let message = format!("another {kind} has the same name; give each its own or delete one");
    Problem::new(reason::DUPLICATE_NAME, message)
}

/// The pool, and each of its ranges as it is written.
fn read_pool(object: &IPAddressPool, resources: &Resources) -> Result<(Pool, Vec<String>), Problem> {
    let (ranges, texts): (Vec<_>, Vec<_>) = read_addresses(&object.spec.addresses)?.into_iter().unzip();
    let namespaces = &resources.namespaces;
    let allocation = object.spec.service_allocation.as_ref();
    let pool = Pool {
        name: object.metadata.name.clone().unwrap_or_default(),
        labels: object.metadata.labels.clone().unwrap_or_default(),
        ranges,
        auto_assign: object.spec.auto_assign,
        avoid_buggy_ips: object.spec.avoid_buggy_ips,
        allocation: allocation.map(|allocation| read_allocation(allocation, namespaces)).transpose()?,
        reservations: reservations::read(&object.spec.reservations)?,
        exclusions: reservations::read_exclusions(&object.spec.excluded_addresses)?,
        allow_occupied: object.spec.allow_occupied_addresses,
        withheld: BTreeMap::new(),
    };
    reservations::fit(&pool)?;
    Ok((pool, texts))
}

fn read_addresses(texts: &[String]) -> Result<Vec<(AddressRange, String)>, Problem> {
    if texts.is_empty() {
        let message = "spec.addresses is empty; list at least one CIDR prefix or range";
        return Err(Problem::new(reason::NO_ADDRESSES, message));
    }
    let mut ranges = Vec::with_capacity(texts.len());
    let mut errors = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match read_entry(text) {
            Ok(range) => ranges.push((range, as_understood(text))),
            Err(error) => errors.push(format!("[{index}]: {error}")),
        }
    }
    if errors.is_empty() {
        return Ok(ranges);
    }
    Err(Problem::new(
        reason::INVALID_ADDRESSES,
        errors.iter().map(|error| format!("spec.addresses{error}")).collect::<Vec<_>>().join("; "),
    ))
}

/// The text of a range as it is written, with what it becomes if that is more.
fn as_understood(text: &str) -> String {
    match address::widened(text) {
        None => text.to_owned(),
        Some(whole) => format!("{text}, which is the whole of {whole},"),
    }
}

/// One item of `spec.addresses`.
fn read_entry(text: &str) -> Result<AddressRange, String> {
    let parts: Vec<&str> = text.split(',').collect();
    if let Some(empty) = parts.iter().position(|part| part.trim().is_empty()) {
        return Err(match parts.len() {
            1 => "an empty entry; remove it".to_owned(),
            _ => format!("{text:?} has an empty entry, the {}; remove the comma", ordinal(empty + 1)),
        });
    }
    if parts.len() > 1 {
        return Err(format!("{text:?} has a comma; write each prefix or range as an item of its own"));
    }
    let range: AddressRange = text.parse().map_err(|error: AddressRangeError| error.to_string())?;
    match range.not_for_services() {
        None => Ok(range),
        Some((part, kind)) => Err(format!("{text:?}: {} is {kind}, which no Service can have", part.shown())),
    }
}

/// `1st`, `2nd` and so on.
fn ordinal(number: usize) -> String {
    let suffix = match (number % 10, number % 100 / 10) {
        (1, tens) if tens != 1 => "st",
        (2, tens) if tens != 1 => "nd",
        (3, tens) if tens != 1 => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

fn read_allocation(
    spec: &ServiceAllocationSpec,
    namespaces: &[Namespace],
) -> Result<ServiceAllocation, Problem> {
    const FIELD: &str = "spec.serviceAllocation";
    let mut names = distinct(&format!("{FIELD}.namespaces"), &spec.namespaces)?;
    let by_label = read_selectors(&format!("{FIELD}.namespaceSelectors"), &spec.namespace_selectors)?;
    let restricted = !names.is_empty() || !by_label.is_empty();
    // A17 or A18; an empty list of selectors selects nothing here.
    let selected =
        namespaces.iter().filter(|ns| by_label.iter().any(|selector| selector.matches(&ns.labels)));
    names.extend(selected.map(|namespace| namespace.name.clone()));
    Ok(ServiceAllocation {
        priority: spec.priority.unwrap_or_default(),
        namespaces: restricted.then_some(names),
        service_selectors: read_selectors(&format!("{FIELD}.serviceSelectors"), &spec.service_selectors)?,
    })
}

fn read_advertisement(object: &L2Advertisement) -> Result<Advertisement, Problem> {
    let spec = &object.spec;
    let names = distinct("spec.ipAddressPools", &spec.ip_address_pools)?;
    let selectors = read_selectors("spec.ipAddressPoolSelectors", &spec.ip_address_pool_selectors)?;
    let pools = match names.is_empty() && selectors.is_empty() {
        true => PoolSelection::All,
        false => PoolSelection::Some { names, selectors },
    };
    let mut preferred_nodes = Vec::with_capacity(spec.preferred_node_selectors.len());
    for item in &spec.preferred_node_selectors {
        let weight = u32::try_from(item.weight).ok().filter(|weight| (1..=100).contains(weight));
        let weight = weight.ok_or_else(|| {
            let message =
                format!("spec.preferredNodeSelectors: weight {} is not between 1 and 100", item.weight);
            Problem::new(reason::INVALID_WEIGHT, message)
        })?;
        let nodes = Selector::try_from(&item.preference)
            .map_err(|error| Problem::selector("spec.preferredNodeSelectors", &error))?;
        preferred_nodes.push(Preference { weight, nodes });
    }
    Ok(Advertisement {
        name: object.metadata.name.clone().unwrap_or_default(),
        pools,
        node_selectors: read_selectors("spec.nodeSelectors", &spec.node_selectors)?,
        interfaces: spec.interfaces.clone(),
        service_selectors: read_selectors("spec.serviceSelectors", &spec.service_selectors)?,
        preferred_nodes,
    })
}

fn read_selectors(field: &str, list: &[LabelSelector]) -> Result<Vec<Selector>, Problem> {
    selector::compile(list).map_err(|error| Problem::selector(field, &error))
}

/// The names as a set; B8 and B10 refuse a second mention.
fn distinct(field: &str, names: &[String]) -> Result<BTreeSet<String>, Problem> {
    let mut set = BTreeSet::new();
    for name in names {
        if !set.insert(name.clone()) {
            return Err(Problem::new(reason::DUPLICATE_ENTRY, format!("{field}: {name:?} is written twice")));
        }
    }
    Ok(set)
}

impl Problem {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), last_valid_kept: false, only_until_restart: false }
    }

    fn selector(field: &str, error: &selector::SelectorError) -> Self {
        Self::new(reason::INVALID_SELECTOR, format!("{field}: {error}"))
    }
}

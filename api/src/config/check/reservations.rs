//! Judging reservations and exclusions: by themselves, beside each other and
//! against the pool that they are in.

use super::super::reservations::without;
use super::super::{Exclusion, Pool, Problem, Reservation, reason};
use crate::address::{AddressRange, AddressRangeError};
use crate::crd::{ExclusionSpec, ReservationSpec};
use crate::selector::Selector;

/// Reads `spec.reservations`.
pub(super) fn read(specs: &[ReservationSpec]) -> Result<Vec<Reservation>, Problem> {
    specs.iter().enumerate().map(|(index, entry)| reservation(index, entry)).collect()
}

/// Reads `spec.excludedAddresses`.
pub(super) fn read_exclusions(specs: &[ExclusionSpec]) -> Result<Vec<Exclusion>, Problem> {
    specs.iter().enumerate().map(|(index, entry)| exclusion(index, entry)).collect()
}

/// Whether reservations fit into their pool and no address is reserved or
/// excluded twice.
pub(super) fn fit(pool: &Pool) -> Result<(), Problem> {
    let reserved = entries("spec.reservations", &pool.reservations, |entry| &entry.ranges);
    let excluded = entries("spec.excludedAddresses", &pool.exclusions, |entry| &entry.ranges);
    for (field, range) in &reserved {
        let outside = without(&[**range], pool.ranges.iter());
        if let Some(part) = outside.first() {
            let message = format!(
                "{field}: {} lies outside of spec.addresses, so nobody would ever get it; \
                 correct it or add it to spec.addresses",
                part.shown(),
            );
            return Err(Problem::new(reason::RESERVATION_OUTSIDE_POOL, message));
        }
        if pool.avoid_buggy_ips && range.size() == range.buggy() {
            let message = format!("{field}: {} ends in .0 or .255, which avoidBuggyIPs skips", range.shown());
            return Err(Problem::new(reason::RESERVATION_OUTSIDE_POOL, message));
        }
    }
    let mut all: Vec<_> = reserved.into_iter().chain(excluded).collect();
    all.sort_by_key(|(_, range)| **range);
    // Sorted: if any two overlap, two neighbours do.
    for pair in all.windows(2) {
        let [(field, range), (other_field, other)] = pair else { continue };
        if range.overlaps(other) {
            let (range, other) = (range.shown(), other.shown());
            let message =
                format!("{field}: {range} overlaps with {other_field}: {other}; set each address aside once");
            return Err(Problem::new(reason::OVERLAPPING_ADDRESSES, message));
        }
    }
    Ok(())
}

/// Every range with the field it stands in.
fn entries<'a, T>(
    field: &str,
    list: &'a [T],
    ranges: fn(&T) -> &Vec<AddressRange>,
) -> Vec<(String, &'a AddressRange)> {
    let ranges = list.iter().enumerate().flat_map(|(index, entry)| {
        ranges(entry).iter().map(move |range| (format!("{field}[{index}]"), range))
    });
    ranges.collect()
}

fn reservation(index: usize, spec: &ReservationSpec) -> Result<Reservation, Problem> {
    let field = format!("spec.reservations[{index}]");
    let ranges = read_ranges(&field, &spec.addresses)?;
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (namespace, name) = (given(&spec.namespace), given(&spec.name));
    let selector = spec.service_selector.as_ref();
    let service_selector = selector
        .map(Selector::try_from)
        .transpose()
        .map_err(|error| Problem::selector(&format!("{field}.serviceSelector"), &error))?;
    let service_selector = service_selector.filter(|selector| *selector != Selector::default());
    if namespace.is_none() && name.is_none() && service_selector.is_none() {
        let message =
            format!("{field}: say for which Services: give a namespace, a name or a serviceSelector");
        return Err(Problem::new(reason::RESERVATION_FOR_NOBODY, message));
    }
    let reason = spec.reason.clone().unwrap_or_default();
    Ok(Reservation { ranges, namespace, name, service_selector, reason })
}

fn exclusion(index: usize, spec: &ExclusionSpec) -> Result<Exclusion, Problem> {
    let ranges = read_ranges(&format!("spec.excludedAddresses[{index}]"), &spec.addresses)?;
    Ok(Exclusion { ranges, reason: spec.reason.clone().unwrap_or_default() })
}

fn read_ranges(field: &str, texts: &[String]) -> Result<Vec<AddressRange>, Problem> {
    if texts.is_empty() {
        let message = format!("{field}.addresses is empty; list at least one address");
        return Err(Problem::new(reason::NO_ADDRESSES, message));
    }
    let ranges: Result<Vec<_>, _> = texts.iter().map(|text| read_range(text)).collect();
    ranges.map_err(|error| Problem::new(reason::INVALID_ADDRESSES, format!("{field}.addresses: {error}")))
}

/// A prefix, a range or, other than in `spec.addresses`, one address.
fn read_range(text: &str) -> Result<AddressRange, AddressRangeError> {
    text.parse().or_else(|error| match error {
        AddressRangeError::MissingPrefixLength { address, .. } => {
            let address = address.to_canonical();
            Ok(AddressRange::new(address, address).expect("an address is not greater than itself"))
        }
        error => Err(error),
    })
}

//! The reasons of our conditions, in CamelCase.

/// The object is in force.
pub const ACCEPTED: &str = "Accepted";
/// The object cannot be read as its kind.
pub const UNDECODABLE: &str = "Undecodable";
/// B7: another object of its kind has its name; only files can hold such a pair.
pub const DUPLICATE_NAME: &str = "DuplicateName";
/// B2: a pool without addresses.
pub const NO_ADDRESSES: &str = "NoAddresses";
/// B3 to B5, B17: an entry of `addresses` that is no range.
pub const INVALID_ADDRESSES: &str = "InvalidAddresses";
/// B6: two entries of one pool overlap, or two that set addresses aside.
pub const OVERLAPPING_ADDRESSES: &str = "OverlappingAddresses";
/// B6: the pool overlaps with another one that takes precedence.
pub const OVERLAPS_WITH_POOL: &str = "OverlapsWithPool";
/// B9, B11, B12: a label selector that cannot be used.
pub const INVALID_SELECTOR: &str = "InvalidSelector";
/// B8, B10: a name that comes twice in a list.
pub const DUPLICATE_ENTRY: &str = "DuplicateEntry";
/// A33: a weight that is not between 1 and 100.
pub const INVALID_WEIGHT: &str = "InvalidWeight";
/// A reservation of addresses that the pool does not have.
pub const RESERVATION_OUTSIDE_POOL: &str = "ReservationOutsidePool";
/// A reservation that does not say for which Services.
pub const RESERVATION_FOR_NOBODY: &str = "ReservationForNobody";
/// `Effective`: every part of the object finds its counterpart.
pub const MATCHED: &str = "Matched";
/// `Effective`: an advertisement finds pools, but not every one that it names.
pub const UNKNOWN_POOL: &str = "UnknownPool";
/// `Effective`, false: an advertisement finds no pool.
pub const NO_MATCHING_POOL: &str = "NoMatchingPool";
/// `Effective`, false: an advertisement's `nodeSelectors` match no Node, or a
/// pool has such advertisements only.
pub const NO_MATCHING_NODE: &str = "NoMatchingNode";
/// `Effective`, false: no advertisement selects the pool.
pub const NO_ADVERTISEMENT: &str = "NoAdvertisement";
/// `Exhausted`: every address of a family is in use or reserved.
pub const POOL_EXHAUSTED: &str = "PoolExhausted";

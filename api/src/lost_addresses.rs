//! What a Service has lost because no pool held it any more, as an annotation on the Service.
//!
//! Why an annotation: it is written by the patch that clears the status, so that neither stands without the other, with the
//! rights that MetalLB's manifests give. `kubectl apply`, Flux and Argo CD leave alone what their manifests do not name. A
//! condition in the status would outlive `kubectl replace` too, but has to be written together with everybody else's
//! conditions; what a replace takes away is put back, for the controller remembers it as well. A copied Service has another
//! UID, and with it the annotation says nothing.

use std::net::IpAddr;

use crate::IpFamilies;

/// The most losses that are remembered of one Service, so that some wrong edits after another do no harm. With the UID that
/// makes 300 bytes at most.
const MAX_LOSSES: usize = 4;

/// The addresses that a Service has lost, the latest loss first. An entry is one address, or one of each family.
///
/// It is remembered until the Service has one of them again, asks for others or ceases to be ours, or until
/// four later losses have followed. There is no time limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LostAddresses(Vec<Vec<IpAddr>>);

impl LostAddresses {
    /// Reads the annotation of the Service with `uid`. What was written for another one, or by somebody else, is nothing.
    #[must_use]
    pub fn parse(text: &str, uid: &str) -> Self {
        let own = text.strip_prefix(uid).and_then(|rest| rest.strip_prefix('/'));
        let Some(own) = own.filter(|_| !uid.is_empty()) else { return Self::default() };
        let entry = |part: &str| -> Option<Vec<IpAddr>> {
            let addresses: Vec<IpAddr> = part.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
            IpFamilies::of(&addresses).map(|_| addresses)
        };
        let entries: Option<Vec<_>> = own.split('/').take(MAX_LOSSES).map(entry).collect();
        Self(entries.unwrap_or_default())
    }

    /// The annotation for the Service with `uid`; `None` if there is nothing to remember.
    #[must_use]
    pub fn to_annotation(&self, uid: &str) -> Option<String> {
        let entry =
            |addresses: &Vec<IpAddr>| addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(",");
        let entries: Vec<String> = self.0.iter().map(entry).collect();
        (!entries.is_empty()).then(|| format!("{uid}/{}", entries.join("/")))
    }

    /// Whether there is nothing to remember.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was lost last.
    #[must_use]
    pub fn latest(&self) -> Option<&[IpAddr]> {
        self.0.first().map(Vec::as_slice)
    }

    /// All losses, the latest first.
    pub fn iter(&self) -> impl Iterator<Item = &[IpAddr]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// Takes note that `addresses` were lost.
    pub fn remember(&mut self, addresses: &[IpAddr]) {
        self.0.retain(|entry| entry != addresses);
        self.0.insert(0, addresses.to_vec());
        self.0.truncate(MAX_LOSSES);
    }

    /// Forgets everything.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// Takes note that the Service has `addresses`: once it has all of one loss again, nothing is missing. Returns
    /// whether that is so.
    pub fn returned(&mut self, addresses: &[IpAddr]) -> bool {
        let is_back = self.0.iter().any(|entry| entry.iter().all(|lost| addresses.contains(lost)));
        if is_back {
            self.forget();
        }
        is_back
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Vec<IpAddr> {
        text.split(',').map(|text| text.parse().expect("the test writes addresses")).collect()
    }

    #[test]
    fn what_is_written_is_read_back_by_its_service_alone() {
        let mut lost = LostAddresses::default();
        assert_eq!(lost.to_annotation("u"), None);
        lost.remember(&addresses("172.16.16.101"));
        lost.remember(&addresses("172.16.16.102,fd00::1"));
        let text = lost.to_annotation("u").expect("there is something");
        assert_eq!(text, "u/172.16.16.102,fd00::1/172.16.16.101");
        assert_eq!(LostAddresses::parse(&text, "u"), lost);
        assert!(LostAddresses::parse(&text, "of-a-copy").is_empty());
        for bad in [
            "",
            "u",
            "u/",
            "u/x",
            "u/172.16.16.1,172.16.16.2",
            "u/172.16.16.1/",
            "172.16.16.1",
            "/172.16.16.1",
        ] {
            assert!(LostAddresses::parse(bad, "u").is_empty(), "{bad}");
        }
        assert!(LostAddresses::parse("/172.16.16.1", "").is_empty(), "without a UID it is nobody's");
    }

    #[test]
    fn four_losses_are_remembered_and_each_once() {
        let mut lost = LostAddresses::default();
        for last in [1, 2, 3, 2, 4, 5] {
            lost.remember(&addresses(&format!("10.0.0.{last}")));
        }
        assert_eq!(lost.to_annotation("u").as_deref(), Some("u/10.0.0.5/10.0.0.4/10.0.0.2/10.0.0.3"));
        assert_eq!(
            LostAddresses::parse("u/10.0.0.1/10.0.0.2/10.0.0.3/10.0.0.4/10.0.0.5", "u").iter().count(),
            4
        );
        assert!(!lost.returned(&addresses("10.0.0.1")));
        assert!(lost.returned(&addresses("10.0.0.2")));
        assert!(lost.is_empty(), "nothing is missing any more");
    }
}

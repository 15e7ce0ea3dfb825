//! `ServiceL2Status`: it names the node that answers, and where, for as long as it does.

use std::time::Duration;

use netsim::lab::api::objects::Kind;

use super::lab::{BOTH, Lab};
use super::objects::{Families, Service, advertisement, pool};

/// Every status object as it stands: Service, node, interfaces.
fn statuses(lab: &Lab) -> Vec<(String, String, Vec<String>)> {
    let all = lab.world().api().l2_statuses();
    let content = all.into_iter().filter_map(|status| status.content);
    content.map(|it| (it.subject.service.to_string(), it.subject.node.to_string(), it.interfaces)).collect()
}

#[test]
fn h2_the_status_names_the_node_that_answers() {
    for families in Families::ALL {
        let mut lab = Lab::standard();
        assert!(statuses(&lab).is_empty());
        let address = lab.serve(&Service::new("nginx").families(families))[0];
        let expected = vec![("default/nginx".to_owned(), lab.is_served(address), Vec::new())];
        assert_eq!(statuses(&lab), expected, "{families:?}");
        let writes = lab.world().api().l2_status_writes();
        lab.wait(Duration::from_secs(5));
        assert_eq!(statuses(&lab), expected, "it stays as it is for 5 s");
        assert_eq!(lab.world().api().l2_status_writes(), writes, "and nobody writes it again");
        lab.delete(Kind::Service, "nginx");
        assert!(statuses(&lab).is_empty(), "{families:?}");
    }
}

#[test]
fn h2_the_status_follows_the_address_to_another_node() {
    let mut lab = Lab::standard();
    let address = lab.serve(&Service::new("nginx"))[0];
    let owner = lab.is_served(address);
    for is_unavailable in [true, false] {
        lab.set_network_unavailable(&owner, is_unavailable);
        let now = lab.is_served(address);
        assert_eq!(now != owner, is_unavailable);
        assert_eq!(statuses(&lab), [("default/nginx".to_owned(), now, Vec::new())]);
    }
}

#[test]
fn h16_the_status_lists_the_interfaces() {
    for (list, expected) in
        [("eth0", &["eth0"][..]), ("eth1", &["eth1"]), ("eth1, eth0", &["eth0", "eth1"]), ("", &[])]
    {
        let mut lab = Lab::with_two_lans(2);
        lab.apply(&[pool("one", BOTH, ""), advertisement("one", &format!("interfaces: [{list}]"))]);
        lab.serve(&Service::new("nginx"));
        let found = statuses(&lab);
        assert_eq!(found.len(), 1, "{list}: {found:?}");
        assert_eq!(found[0].2, expected, "{list}");
    }
}

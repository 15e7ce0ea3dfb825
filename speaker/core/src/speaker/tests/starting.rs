//! Starts long before the API server answers (W15, E10).

use super::together::{Lan, services};
use super::*;

/// A speaker on the first of its nodes, which has had its interface alone for a minute.
fn started() -> Speaker {
    let mut speaker = Speaker::new(settings(0));
    speaker.handle(at(0), Input::Interfaces(vec![interface(0)]));
    assert_eq!(joins(&mut speaker, at(60_000)), 0, "knowing nobody is not being alone");
    speaker
}

/// Runs its timers up to, and not including, `end`: how often it has joined by then.
fn joins(speaker: &mut Speaker, end: Time) -> usize {
    let mut joins = 0;
    loop {
        let effects = drain(speaker);
        joins += notices(&effects).iter().filter(|notice| matches!(notice, Notice::Joined { .. })).count();
        let Some(due) = speaker.poll_timeout().filter(|due| *due < end) else { return joins };
        speaker.handle(due, Input::Timeout);
    }
}

#[test]
fn w15_e10_the_grace_begins_when_the_peers_are_known() {
    let mut speaker = started();
    tell_cluster(&mut speaker, at(60_000), 2, &services(1));
    assert_eq!(joins(&mut speaker, at(62_500)), 0);
    speaker.handle(at(62_500), Input::Peers(peers(2)));
    assert_eq!(joins(&mut speaker, at(64_000)), 0, "the peers come last, and have the whole grace");
    speaker.handle(at(64_000), Input::Peers(peers(2)));
    assert_eq!(joins(&mut speaker, at(65_500)), 0);
    assert_eq!(announced(&speaker), []);
    assert_eq!(speaker.is_ready(), Err(NotReady::Membership));
    speaker.handle(at(65_500), Input::Timeout);
    assert_eq!(joins(&mut speaker, at(65_500)), 1);
    assert_eq!(announced(&speaker).len(), 1);
    assert_eq!(speaker.is_ready(), Ok(()));
}

#[test]
fn w15_e10_without_a_list_of_pods_the_grace_begins_with_the_rest() {
    let mut speaker = started();
    tell_cluster(&mut speaker, at(60_000), 2, &services(1));
    assert_eq!(joins(&mut speaker, at(63_000)), 0);
    speaker.handle(at(63_000), Input::Timeout);
    assert_eq!(joins(&mut speaker, at(63_000)), 1);
    assert_eq!(announced(&speaker).len(), 1);
}

#[test]
fn w15_the_only_node_waits_for_nobody() {
    let mut speaker = started();
    tell_cluster(&mut speaker, at(60_000), 1, &services(1));
    speaker.handle(at(60_000), Input::Peers(peers(1)));
    assert_eq!(announced(&speaker).len(), 1);
}

/// Three speakers that run for 30 s before the API server answers, and then hear
/// of their peers last, one after the other.
fn cold_boot(services: &[Service], apart: Duration) -> Lan {
    let mut lan = Lan::without_speakers(3);
    for own in 0..3 {
        lan.speakers[own] = Some(Speaker::new(settings(own)));
        lan.handle(own, Input::Interfaces(vec![interface(own)]));
    }
    lan.run_until(at(30_000));
    for own in 0..3 {
        tell_cluster(lan.speakers[own].as_mut().expect("it runs"), lan.now, 3, services);
        lan.route(own);
    }
    lan.run_for(ms(500));
    for own in 0..3 {
        lan.handle(own, Input::Peers(peers(3)));
        lan.run_for(apart);
    }
    lan.run_for(ms(500));
    lan
}

#[test]
fn w15_e10_nobody_claims_what_another_owns_after_a_cold_boot_of_all() {
    let all = services(30);
    for apart in [ms(0), ms(20)] {
        let lan = cold_boot(&all, apart);
        for last in 1..=30 {
            assert_eq!(lan.owners(vip(last)).len(), 1);
        }
        for (_, node, notice) in &lan.log {
            if let Notice::Joined { members, .. } = notice {
                assert!(members.len() > 1, "{node} joined itself alone");
            }
        }
        let claims: usize = (0..3).map(|own| lan.claims(own)).sum();
        // The first to be told of its peers may join one of them before the other.
        assert!(claims == 30 || apart > ms(0) && claims < 45, "{claims} claims of 30 addresses");
    }
}

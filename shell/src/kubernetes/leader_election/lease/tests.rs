//! The Lease's state machine against a Lease of the test's own: each case is a
//! sequence of moments.

use super::*;

const ME: &str = "me";
const OTHER: &str = "other";
/// After the clocks that the cases begin with.
const START: u64 = 1_000;

/// The API server's side of one Lease, and a candidate.
struct Table {
    election: Election,
    stored: Option<Lease>,
    version: u64,
    now: Time,
}

/// What happens to a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Server {
    Answers,
    Refuses,
    LosesTheReply,
}

impl Table {
    fn new(holder: Option<&str>) -> Self {
        let now = Time::ZERO + Duration::from_secs(START);
        let mut table = Self { election: Election::new(ME.to_owned()), stored: None, version: 0, now };
        if holder.is_some() {
            table.store(held_by(holder, 1));
        }
        table
    }

    fn store(&mut self, spec: LeaseSpec) {
        self.version += 1;
        let mut lease = Lease { spec: Some(spec), ..Lease::default() };
        lease.metadata.resource_version = Some(self.version.to_string());
        self.stored = Some(lease);
    }

    fn at(&mut self, seconds: u64) -> &mut Self {
        self.now = Time::ZERO + Duration::from_secs(START + seconds);
        self
    }

    fn holder(&self) -> Option<&str> {
        self.stored.as_ref().and_then(|lease| lease.spec.as_ref()).and_then(holder)
    }

    fn leads(&self) -> bool {
        matches!(self.election.leader_state(self.now), LeaderState::Leading { .. })
    }

    /// Does all that is to be done now; returns the number of requests.
    fn run(&mut self, server: Server) -> usize {
        for requests in 0..10 {
            let action = self.election.poll(self.now, Timestamp::UNIX_EPOCH);
            let (version, spec) = match action {
                Action::Wait(until) => {
                    assert!(until > self.now, "it would spin");
                    return requests;
                }
                Action::Done => return requests,
                _ if server == Server::Refuses => {
                    self.election.failed(self.now, Failed::Unknown);
                    continue;
                }
                Action::Read => {
                    self.election.read(self.now, self.stored.clone());
                    continue;
                }
                Action::Create(spec) => (None, spec),
                Action::Replace(version, spec) => (Some(version), spec),
            };
            let stored = self.stored.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
            if stored != version {
                self.election.failed(self.now, Failed::Overtaken);
                continue;
            }
            self.store(spec);
            if server == Server::LosesTheReply {
                self.election.failed(self.now, Failed::Unknown);
            } else {
                let lease = self.stored.clone().expect("it was stored just now");
                self.election.wrote(self.now, self.now, lease);
            }
        }
        panic!("it does not come to rest: {:?}", self.election);
    }
}

fn held_by(holder: Option<&str>, renewals: i64) -> LeaseSpec {
    let renewed = Timestamp::from_second(renewals).expect("a date of 1970");
    LeaseSpec {
        holder_identity: holder.map(str::to_owned),
        lease_duration_seconds: Some(15),
        renew_time: Some(MicroTime(renewed)),
        lease_transitions: Some(4),
        ..LeaseSpec::default()
    }
}

#[test]
fn x26_what_is_free_is_taken_at_once_and_what_is_held_is_not() {
    for (stored, leads) in [
        (None, true),
        (Some(held_by(None, 1)), true),
        (Some(held_by(Some(""), 1)), true),
        (Some(LeaseSpec::default()), true),
        (Some(held_by(Some(OTHER), 1)), false),
        // Whatever its dates and numbers say.
        (Some(LeaseSpec { renew_time: None, ..held_by(Some(OTHER), 1) }), false),
        (Some(LeaseSpec { lease_duration_seconds: Some(-7), ..held_by(Some(OTHER), 1) }), false),
        (Some(LeaseSpec { lease_duration_seconds: None, ..held_by(Some(OTHER), 1) }), false),
    ] {
        let mut table = Table::new(None);
        if let Some(spec) = stored.clone() {
            table.store(spec);
        }
        table.run(Server::Answers);
        assert_eq!(table.leads(), leads, "{stored:?}");
        assert_eq!(table.holder(), Some(if leads { ME } else { OTHER }), "{stored:?}");
    }
}

#[test]
fn x26_a_lease_that_does_not_change_is_taken_after_its_duration_on_the_own_clock() {
    for (seconds, respected) in [(15, 15), (60, 60), (1, 15), (i32::MAX, 3_600)] {
        let mut table = Table::new(None);
        // Dates of long ago, as from a machine whose clock is wrong: no matter.
        table.store(LeaseSpec { lease_duration_seconds: Some(seconds), ..held_by(Some(OTHER), 1) });
        for second in 0..respected {
            table.at(second).run(Server::Answers);
            assert_eq!(table.holder(), Some(OTHER), "duration {seconds}, after {second} s");
        }
        table.at(respected + PERIOD.as_secs()).run(Server::Answers);
        assert!(table.leads(), "duration {seconds}");
        let spec = table.stored.and_then(|lease| lease.spec).expect("it was written");
        assert_eq!((spec.lease_transitions, spec.lease_duration_seconds), (Some(5), Some(15)));
    }
}

#[test]
fn x26_a_lease_that_is_renewed_is_never_taken() {
    let mut table = Table::new(Some(OTHER));
    for second in 0..600 {
        if second % 14 == 0 {
            let renewals = i64::try_from(second).expect("it is small");
            table.store(held_by(Some(OTHER), renewals));
        }
        table.at(second).run(Server::Answers);
        assert!(!table.leads(), "after {second} s");
    }
    // An edit of something else than the Lease's own fields is no renewal.
    let mut table = Table::new(Some(OTHER));
    for second in 0..=16 {
        table.store(held_by(Some(OTHER), 1));
        table.at(second).run(Server::Answers);
    }
    assert!(table.leads());
}

#[test]
fn x26_leading_ends_ten_seconds_after_the_last_confirmed_renewal_was_sent() {
    for server in [Server::Refuses, Server::LosesTheReply] {
        let mut table = Table::new(None);
        table.run(Server::Answers);
        // Nobody comes by to renew it: time alone ends it.
        assert!(table.at(9).leads());
        assert!(!table.at(10).leads(), "whoever asks, before any request is made");
        for second in 0..60 {
            assert_eq!(table.at(second).leads(), second < 10, "after {second} s");
            table.run(server);
        }
        table.run(Server::Answers);
        table.at(63).run(Server::Answers);
        assert!(table.leads(), "it is still ours, and taken up again");
        let LeaderState::Leading { term, .. } = table.election.leader_state(table.now) else {
            panic!("it leads")
        };
        assert!(term > 1, "another might have led in between");
    }
}

#[test]
fn an_answer_that_comes_too_late_gives_nothing() {
    let mut table = Table::new(None);
    table.election.read(table.now, None);
    let sent = table.now;
    let Action::Create(spec) = table.election.poll(sent, Timestamp::UNIX_EPOCH) else { panic!("it is free") };
    table.store(spec);
    let lease = table.stored.clone().expect("it was stored just now");
    table.at(11);
    table.election.wrote(sent, table.now, lease);
    assert!(!table.leads(), "suspended between the request and its answer");
    table.run(Server::Answers);
    assert!(table.leads(), "it is ours: renewed, and good again");
}

#[test]
fn x26_clock_jumps() {
    // (jump of the own clock in seconds, whether another took the Lease meanwhile)
    for (jump, taken, leads_before_a_request, leads_after) in [
        (1, false, true, true),
        (9, false, true, true),
        (10, false, false, true),
        (3_600, false, false, true),
        (9, true, true, false),
        (14, true, false, false),
        (86_400, true, false, false),
    ] {
        let mut table = Table::new(None);
        table.run(Server::Answers);
        if taken {
            table.store(held_by(Some(OTHER), 9));
        }
        table.at(jump);
        assert_eq!(table.leads(), leads_before_a_request, "{jump} s, taken: {taken}");
        table.run(Server::Answers);
        assert_eq!(table.leads(), leads_after, "{jump} s, taken: {taken}");
        assert_eq!(table.holder(), Some(if taken { OTHER } else { ME }));
        let terms = 1 + u64::from(leads_after && !leads_before_a_request);
        assert_eq!(table.election.term, terms, "{jump} s, taken: {taken}");
    }
    // A standby that was suspended does not know whether the Lease was renewed
    // meanwhile, and looks before it takes it.
    let mut table = Table::new(Some(OTHER));
    table.run(Server::Answers);
    table.store(held_by(Some(OTHER), 2));
    table.at(86_400).run(Server::Answers);
    assert_eq!(table.holder(), Some(OTHER));
}

#[test]
fn x26_of_two_who_take_it_one_is_refused_and_stands_by() {
    let mut table = Table::new(Some(OTHER));
    table.run(Server::Answers);
    table.at(16);
    table.election.read(table.now, table.stored.clone());
    let Action::Replace(version, _) = table.election.poll(table.now, Timestamp::UNIX_EPOCH) else {
        panic!("it is to be taken")
    };
    table.store(held_by(Some("third"), 1));
    assert_ne!(
        Some(&version),
        table.stored.as_ref().and_then(|lease| lease.metadata.resource_version.as_ref())
    );
    table.election.failed(table.now, Failed::Overtaken);
    table.run(Server::Answers);
    assert_eq!(table.election.leader_state(table.now), LeaderState::Standby(Some("third".to_owned())));
}

#[test]
fn x26_a_deleted_lease_is_made_again_by_its_holder_and_left_alone_by_others() {
    let mut leader = Table::new(None);
    leader.run(Server::Answers);
    leader.stored = None;
    leader.at(2).run(Server::Answers);
    assert!(leader.leads() && leader.holder() == Some(ME));
    assert_eq!(leader.election.term, 1);

    let mut standby = Table::new(Some(OTHER));
    standby.run(Server::Answers);
    standby.stored = None;
    for second in 1..15 {
        standby.at(second).run(Server::Answers);
        assert_eq!(standby.holder(), None, "its holder may still lead, after {second} s");
    }
    standby.at(16).run(Server::Answers);
    assert!(standby.leads());
}

#[test]
fn a_lease_that_another_holds_by_anybodys_hand_ends_leading() {
    let mut table = Table::new(None);
    table.run(Server::Answers);
    table.store(held_by(Some(OTHER), 1));
    table.at(2).run(Server::Answers);
    assert_eq!(table.election.leader_state(table.now), LeaderState::Standby(Some(OTHER.to_owned())));
}

#[test]
fn who_resigns_lets_go_and_does_nothing_more() {
    for (before, server) in [
        ("leading", Server::Answers),
        ("leading with a renewal unanswered", Server::LosesTheReply),
        ("leader_state by", Server::Answers),
        ("nothing read", Server::Answers),
    ] {
        let mut table = Table::new((before == "leader_state by").then_some(OTHER));
        if before != "nothing read" {
            table.run(Server::Answers);
        }
        if server == Server::LosesTheReply {
            table.at(2).run(server);
        }
        table.election.resign();
        assert!(!table.leads(), "{before}");
        table.run(Server::Answers);
        assert_eq!(table.holder(), (before == "leader_state by").then_some(OTHER), "{before}");
        assert_eq!(table.election.poll(table.now, Timestamp::UNIX_EPOCH), Action::Done, "{before}");
        // What is free is taken by the next one at once.
        if before.starts_with("leading") {
            let mut next = Table { election: Election::new("next".to_owned()), ..table };
            next.run(Server::Answers);
            assert!(next.leads(), "{before}");
        }
    }
}

#[test]
fn a_server_that_calls_everything_overtaken_is_not_asked_in_a_loop() {
    let mut table = Table::new(None);
    let mut requests = 0;
    for second in 0..20 {
        table.at(second);
        loop {
            match table.election.poll(table.now, Timestamp::UNIX_EPOCH) {
                Action::Wait(_) => break,
                Action::Read => table.election.read(table.now, None),
                _ => table.election.failed(table.now, Failed::Overtaken),
            }
            requests += 1;
        }
    }
    assert!(requests <= 60, "{requests}");
}

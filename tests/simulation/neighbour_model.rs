//! The client models against the rows of `tests::neighbour_rows`, in virtual time.

use std::net::{IpAddr, SocketAddr};

use netsim::net::host::{Host, HostSettings};
use netsim::net::neighbours::{ClientModel, NeighbourState};
use netsim::net::station::Station;
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::IpCidr;
use tests::neighbour_rows::{A, After, B, Before, CLIENT, Case, Form, answer, cases};

/// When the reading is taken, as on the real kernel.
const READ_AFTER: Duration = Duration::from_millis(150);

/// A client in virtual time, and what leaves it.
struct Client {
    host: Host,
    now: Instant,
}

impl Client {
    fn new(model: ClientModel, case: &Case) -> Self {
        let prefix = if case.client.is_ipv4() { 24 } else { 64 };
        let mut settings = HostSettings::new("client", CLIENT, IpCidr::new(case.client.into(), prefix), 1);
        settings.model = model;
        settings.sysctls = case.setting.sysctls();
        Self { host: Host::new(settings), now: Instant::from_secs(100) }
    }

    fn send_to(&mut self, vip: IpAddr) -> Vec<Vec<u8>> {
        let socket = self.host.stack().udp_bind(0);
        self.host
            .stack()
            .udp_send(socket, None, SocketAddr::new(vip, 9), b"x")
            .expect("a new socket has room");
        self.run(Duration::ZERO)
    }

    fn hear(&mut self, frame: &[u8]) {
        self.host.handle_frame(self.now, frame);
        self.run(Duration::ZERO);
    }

    /// Lets time pass and gives the frames sent meanwhile.
    fn run(&mut self, time: Duration) -> Vec<Vec<u8>> {
        let end = self.now + time;
        let mut frames = Vec::new();
        loop {
            self.host.poll(self.now);
            frames.extend(std::iter::from_fn(|| self.host.poll_frame()));
            match self.host.poll_timeout().filter(|next| *next <= end) {
                Some(next) => self.now = next.max(self.now),
                None => break,
            }
        }
        self.now = end;
        frames
    }

    fn line(&self, vip: IpAddr) -> After {
        self.host.neighbours().get(vip).map(|line| (line.mac, line.state))
    }
}

/// The procedure of reliability.md 7 for one case.
fn observe(model: ClientModel, case: &Case) -> After {
    let mut client = Client::new(model, case);
    match case.before {
        Before::Nothing => {}
        Before::Asking => {
            assert!(!client.send_to(case.vip).is_empty(), "it asks");
            client.run(Duration::from_millis(100));
        }
        Before::KnownFor(age) => {
            let asked = client.send_to(case.vip);
            let (target, reply) = asked.iter().find_map(|frame| answer(frame)).expect("it asks");
            assert_eq!(target, case.vip);
            client.hear(&reply);
            assert_eq!(client.line(case.vip), Some((Some(A), NeighbourState::Reachable)), "{}", case.name);
            client.run(age.into());
        }
    }
    client.hear(&case.frame());
    client.run(READ_AFTER);
    client.line(case.vip)
}

#[test]
fn linux_does_what_the_kernel_does() {
    let cases = cases();
    assert_eq!(cases.len(), 7 * 10 + 4 * 8);
    let wrong: Vec<String> = cases
        .iter()
        .map(|case| (case, observe(ClientModel::Linux, case)))
        .filter(|(case, observed)| *observed != case.after)
        .map(|(case, observed)| format!("{}: {observed:?} instead of {:?}", case.name, case.after))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where the other models differ from Linux, by the forms that change a line of 0.1 s and of 1.5 s, or make a new one.
#[test]
fn other_clients_believe_more_or_less() {
    let forms = |model, before: fn(&Before) -> bool| -> Vec<Form> {
        let default = |case: &Case| case.setting.sysctls() == Default::default() && case.vip.is_ipv4();
        let moved = |case: &Case| observe(model, case).is_some_and(|(mac, _)| mac == Some(B));
        cases()
            .into_iter()
            .filter(|case| default(case) && before(&case.before))
            .filter(moved)
            .map(|case| case.form)
            .collect()
    };
    let fresh: fn(&Before) -> bool =
        |before| matches!(before, Before::KnownFor(age) if age.as_millis() < 1000);
    let settled: fn(&Before) -> bool =
        |before| matches!(before, Before::KnownFor(age) if age.as_millis() > 1000);
    let nothing: fn(&Before) -> bool = |before| *before == Before::Nothing;

    let all: Vec<Form> = forms(ClientModel::Linux, settled);
    assert_eq!(all.len(), 9, "after the lock window Linux takes everything but a probe");
    let is_request = |form: &Form| matches!(form, Form::GratuitousRequest(_));
    let is_reply = |form: &Form| matches!(form, Form::GratuitousReply(_));
    let asks_client = |form: &Form| matches!(form, Form::AsksForClient(_));

    let only_questions: Vec<Form> = all.iter().copied().filter(asks_client).collect();
    assert_eq!(forms(ClientModel::LinuxOld, fresh), only_questions, "no exception for gratuitous frames");
    assert_eq!(forms(ClientModel::LinuxOld, settled), all);

    let no_replies: Vec<Form> = all.iter().copied().filter(|form| !is_reply(form)).collect();
    for age in [fresh, settled] {
        assert_eq!(forms(ClientModel::RouterIgnoringGratuitousReplies, age), no_replies);
        assert_eq!(forms(ClientModel::FourHourRouter, age), all);
        assert_eq!(forms(ClientModel::MacOs, age), all);
    }
    assert_eq!(forms(ClientModel::RouterIgnoringGratuitousReplies, nothing), only_questions);
    assert_eq!(forms(ClientModel::FourHourRouter, nothing), only_questions);
    let creating: Vec<Form> =
        all.iter().copied().filter(|form| is_request(form) || asks_client(form)).collect();
    assert_eq!(forms(ClientModel::MacOs, nothing), creating);
}

/// reliability.md 1.2, "woken owner": a late answer of the old owner steals the client, an announcement brings it back.
#[test]
fn a_woken_owner_steals_and_a_gratuitous_request_cures() {
    let all = cases();
    let find = |form| {
        all.iter()
            .find(|case| case.form == form && case.before == Before::Asking)
            .expect("a row of the table")
            .clone()
    };
    let announcement = find(Form::GratuitousRequest(smoltcp::wire::EthernetAddress([0; 6])));
    let mut client = Client::new(ClientModel::Linux, &announcement);
    let asked = client.send_to(announcement.vip);
    let (_, late_answer) = asked.iter().find_map(|frame| answer(frame)).expect("it asks");
    client.hear(&late_answer);
    client.run(Duration::from_millis(1500));
    client.hear(&announcement.frame());
    assert_eq!(client.line(announcement.vip), Some((Some(B), NeighbourState::Stale)), "B has taken over");
    client.run(Duration::from_secs(2));
    client.hear(&late_answer);
    assert_eq!(client.line(announcement.vip), Some((Some(A), NeighbourState::Reachable)), "A has stolen it");
    client.run(Duration::from_millis(50));
    client.hear(&announcement.frame());
    assert_eq!(client.line(announcement.vip), Some((Some(B), NeighbourState::Stale)), "B has it back");
}

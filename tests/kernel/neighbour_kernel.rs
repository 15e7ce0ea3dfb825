//! The real kernel as the client: the rows of `tests::neighbour_rows` on TAP devices, in real time.
//!
//! The recipe is reliability.md 7. Each kernel setting has an interface of its own and each case a VIP of its own, so that
//! all cases are tried at the same time and the whole takes about two seconds. Frames go straight into the TAP.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use netsim::net::tap::{MAX_FRAME, TapPort};
use tests::neighbour_rows::{A, After, Before, CLIENT, Case, Setting, answer, cases};
use tests::{kernel, namespaces};

/// How long the kernel gets to digest a frame before its table is read.
const READ_AFTER: Duration = Duration::from_millis(150);
/// Between a question of the client and the frame that hits it asking. The kernel gives up after 3 s.
const ASKED_FOR: Duration = Duration::from_millis(100);
/// A "fresh" line must be younger than the lock window of 1 s when the frame comes.
const FRESH_LIMIT: Duration = Duration::from_millis(900);
/// Runs before a machine is declared too slow for this.
const ATTEMPTS: u32 = 3;

/// One for each row of the table; the first that runs observes for all.
pub(crate) fn trials() -> Vec<Trial> {
    let observed: Arc<OnceLock<Result<BTreeMap<IpAddr, After>, String>>> = Arc::default();
    let trial = |case: Case| {
        let observed = Arc::clone(&observed);
        Trial::test(format!("neighbour_kernel::{}", case.name), move || {
            let observed = observed.get_or_init(observe_patiently).as_ref().map_err(Failed::from)?;
            let found = observed.get(&case.vip).copied().flatten();
            if found == case.after {
                return Ok(());
            }
            Err(format!("the kernel has {found:?}, the table says {:?}", case.after).into())
        })
    };
    cases().into_iter().map(trial).collect()
}

/// What the kernel has for each VIP after its frame. On a machine that is busy elsewhere a run may be too slow for the
/// lock window; then it is repeated on new interfaces.
fn observe_patiently() -> Result<BTreeMap<IpAddr, After>, String> {
    for _ in 0..ATTEMPTS {
        match observe() {
            Ok(Some(observed)) => return Ok(observed),
            Ok(None) => sleep(Duration::from_secs(1)),
            Err(error) => return Err(format!("the test network failed: {error}")),
        }
    }
    Err(format!("this machine is too slow: {ATTEMPTS} times no frame within {FRESH_LIMIT:?} of the answer"))
}

/// The client: one interface for each setting, and two sockets.
struct Client {
    taps: BTreeMap<Setting, TapPort>,
    indices: BTreeMap<u32, Setting>,
    v4: UdpSocket,
    v6: UdpSocket,
    buffer: Vec<u8>,
}

impl Client {
    fn new() -> io::Result<Self> {
        let mut taps = BTreeMap::new();
        let mut indices = BTreeMap::new();
        for setting in Setting::ALL {
            let subnet = setting.subnet();
            let name = format!("client{subnet}");
            let tap = TapPort::open(&name).map_err(io::Error::other)?;
            for (family, key, value) in setting.kernel() {
                namespaces::set_sysctl(&format!("{family}/conf/{name}/{key}"), value)?;
            }
            kernel::set_up_as(&name, CLIENT)?;
            kernel::add_address(&name, Ipv4Addr::new(10, 9, subnet, 1).into(), 24)?;
            let v6 = Ipv6Addr::new(0xfd09, subnet.into(), 0, 0, 0, 0, 0, 1).into();
            kernel::add_address(&name, v6, 64)?;
            kernel::await_address(v6)?;
            indices.insert(kernel::interface(&name)?.0, setting);
            taps.insert(setting, tap);
        }
        let v4 = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let v6 = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        Ok(Self { taps, indices, v4, v6, buffer: vec![0; MAX_FRAME] })
    }

    /// The client's kernel wants to send to the VIP of each case.
    fn send_to_vips<'c>(&self, cases: impl Iterator<Item = &'c Case>) -> io::Result<()> {
        for case in cases {
            let socket = if case.vip.is_ipv4() { &self.v4 } else { &self.v6 };
            socket.send_to(b"x", SocketAddr::new(case.vip, 9))?;
        }
        Ok(())
    }

    /// A answers every question for these VIPs. Gives up after ten seconds.
    fn answer_all(&mut self, vips: &[IpAddr]) -> io::Result<()> {
        let mut open = vips.to_vec();
        let end = Instant::now() + Duration::from_secs(10);
        while !open.is_empty() && Instant::now() < end {
            for tap in self.taps.values() {
                while let Some(frame) = tap.receive(&mut self.buffer)? {
                    let Some((target, reply)) = answer(frame) else { continue };
                    if vips.contains(&target) {
                        tap.send(&reply)?;
                        open.retain(|vip| *vip != target);
                    }
                }
            }
            sleep(Duration::from_millis(1));
        }
        if open.is_empty() {
            Ok(())
        } else {
            Err(io::Error::other(format!("the kernel never asked for {open:?}")))
        }
    }

    fn send_frames<'c>(&self, cases: impl Iterator<Item = &'c Case>) -> io::Result<()> {
        for case in cases {
            self.taps[&case.setting].send(&case.frame())?;
        }
        Ok(())
    }

    /// The table's lines for these cases' VIPs.
    fn read<'c>(&self, cases: impl Iterator<Item = &'c Case>) -> io::Result<BTreeMap<IpAddr, After>> {
        let table = kernel::neighbours()?;
        let line = |case: &Case| {
            let found = table.iter().find(|line| {
                line.address == case.vip && self.indices.get(&line.interface) == Some(&case.setting)
            });
            (case.vip, found.map(|line| (line.mac, line.state)))
        };
        Ok(cases.map(line).collect())
    }
}

/// One run. `None` if it was too slow to mean anything.
fn observe() -> io::Result<Option<BTreeMap<IpAddr, After>>> {
    let all = cases();
    let known: Vec<&Case> = all.iter().filter(|case| matches!(case.before, Before::KnownFor(_))).collect();
    let is_old = |case: &&Case| matches!(case.before, Before::KnownFor(age) if age > Duration::from_secs(1));
    let (old, fresh): (Vec<&Case>, Vec<&Case>) = known.iter().copied().partition(is_old);
    let nothing = || all.iter().filter(|case| case.before == Before::Nothing);
    let asking = || all.iter().filter(|case| case.before == Before::Asking);
    let old_age = Duration::from_millis(1500);

    let mut client = Client::new()?;
    let first_answer = Instant::now();
    client.send_to_vips(known.iter().copied())?;
    client.answer_all(&known.iter().map(|case| case.vip).collect::<Vec<_>>())?;
    let last_answer = Instant::now();
    sleep(Duration::from_millis(50));
    let learned = client.read(known.iter().copied())?;
    for (vip, line) in learned {
        if line.and_then(|(mac, _)| mac) != Some(A) {
            return Err(io::Error::other(format!(
                "{vip} should be at A before the frame comes, but is {line:?}"
            )));
        }
    }

    sleep_until(last_answer + Duration::from_millis(100));
    client.send_frames(fresh.iter().copied().chain(nothing()))?;
    if first_answer.elapsed() > FRESH_LIMIT {
        return Ok(None);
    }
    sleep(READ_AFTER);
    let mut observed = client.read(fresh.iter().copied().chain(nothing()))?;

    sleep_until(last_answer + old_age - ASKED_FOR);
    client.send_to_vips(asking())?;
    let asked = Instant::now();
    sleep(ASKED_FOR);
    client.send_frames(old.iter().copied().chain(asking()))?;
    sleep(READ_AFTER);
    observed.extend(client.read(old.iter().copied().chain(asking()))?);
    if asked.elapsed() > Duration::from_millis(2500) {
        return Ok(None);
    }
    Ok(Some(observed))
}

fn sleep_until(then: Instant) {
    sleep(then.saturating_duration_since(Instant::now()));
}

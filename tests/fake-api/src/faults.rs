//! What goes wrong, when told to or by seed.

use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use crate::error::Refusal;
use crate::rbac::Attributes;

/// How long a request without an answer hangs before the connection breaks:
/// what Linux takes to give up retransmitting (`tcp_retries2` = 15), rounded.
pub const HANG: Duration = Duration::from_secs(924);

/// Which requests a fault hits. Everything that is not set matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    user: Option<String>,
    verb: Option<String>,
    resource: Option<String>,
    subresource: Option<String>,
    name: Option<String>,
}

impl Match {
    /// Every request.
    #[must_use]
    pub fn any() -> Self {
        Self::default()
    }

    /// Those of a user.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        Self { user: Some(user.to_owned()), ..self }
    }

    /// Those with a verb, `list` for example.
    #[must_use]
    pub fn verb(self, verb: &str) -> Self {
        Self { verb: Some(verb.to_owned()), ..self }
    }

    /// Those for a resource, in plural.
    #[must_use]
    pub fn resource(self, resource: &str) -> Self {
        Self { resource: Some(resource.to_owned()), ..self }
    }

    /// Those for a subresource.
    #[must_use]
    pub fn subresource(self, subresource: &str) -> Self {
        Self { subresource: Some(subresource.to_owned()), ..self }
    }

    /// Those that name this object.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        Self { name: Some(name.to_owned()), ..self }
    }

    pub(crate) fn matches(&self, user: &str, request: &Attributes<'_>) -> bool {
        let fits =
            |wanted: &Option<String>, given: Option<&str>| wanted.is_none() || wanted.as_deref() == given;
        fits(&self.user, Some(user))
            && fits(&self.verb, Some(request.verb))
            && fits(&self.resource, Some(request.resource))
            && fits(&self.subresource, request.subresource)
            && fits(&self.name, request.name)
    }
}

/// One thing that goes wrong with one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is refused without being carried out.
    Refuse(Refusal),
    /// The connection breaks before it is carried out.
    Disconnect,
    /// It is carried out, but the connection breaks before the answer is read.
    LostReply,
    /// It is neither carried out nor answered; after [`HANG`] the connection breaks.
    Hang,
    /// It takes this long before anything else happens to it.
    Delay(Duration),
    /// Somebody annotates the object just before: what names the version that
    /// was read gets a true 409, with a newer view on its way.
    Overtaken,
    /// A list shows what stood that many revisions ago.
    StaleList(u64),
    /// A watch begins with an ERROR event of code 410.
    ExpiredWatch,
    /// A watch breaks that long after it began.
    CutWatch(Duration),
    /// A watch says nothing any more, that long after it began, and does not end.
    HungWatch(Duration),
    /// A watch tells each change with this delay, and then only at the next
    /// multiple of `burst` since it began (zero: at once).
    SlowWatch {
        /// How late.
        delay: Duration,
        /// How coarse.
        burst: Duration,
    },
}

impl Fault {
    /// 409 out of nothing: no newer version of the object follows, as it would
    /// after [`Fault::Overtaken`].
    #[must_use]
    pub fn conflict() -> Self {
        let text = "Operation cannot be fulfilled: the object has been modified; please apply your changes \
                    to the latest version and try again";
        Self::Refuse(Refusal::new(409, "Conflict", text))
    }

    /// 429 with `Retry-After`, in seconds.
    #[must_use]
    pub fn too_many_requests(seconds: u32) -> Self {
        let text = "Too many requests, please try again later.";
        Self::Refuse(Refusal::new(429, "TooManyRequests", text).retry_after(seconds))
    }

    /// 500.
    #[must_use]
    pub fn internal_error() -> Self {
        Self::Refuse(Refusal::new(
            500,
            "InternalError",
            "Internal error occurred: etcdserver: request timed out",
        ))
    }

    /// 503.
    #[must_use]
    pub fn unavailable() -> Self {
        let text = "the server is currently unable to handle the request";
        Self::Refuse(Refusal::new(503, "ServiceUnavailable", text))
    }

    /// 410 of a list.
    #[must_use]
    pub fn gone() -> Self {
        Self::Refuse(Refusal::expired("The provided continue parameter is too old"))
    }

    /// Whether it means anything for a verb.
    fn concerns(&self, verb: &str) -> bool {
        match self {
            Self::StaleList(_) => verb == "list",
            Self::Overtaken => matches!(verb, "update" | "patch"),
            Self::ExpiredWatch | Self::CutWatch(_) | Self::HungWatch(_) | Self::SlowWatch { .. } => {
                verb == "watch"
            }
            _ => true,
        }
    }
}

/// Random faults for a while. The fields are probabilities per request to
/// which the fault applies.
#[derive(Clone, Debug, PartialEq)]
pub struct FaultPlan {
    /// Everything follows from it.
    pub seed: u64,
    /// After this, counted from when the plan was set, nothing goes wrong any more.
    pub duration: Duration,
    /// [`Fault::Disconnect`].
    pub disconnect: f64,
    /// [`Fault::LostReply`] of a write.
    pub lost_reply: f64,
    /// [`Fault::Hang`].
    pub hang: f64,
    /// [`Fault::Delay`], up to [`FaultPlan::longest_delay`].
    pub delay: f64,
    /// The longest delay of a request or a watch event.
    pub longest_delay: Duration,
    /// [`Fault::Overtaken`] of an update or patch.
    pub overtaken: f64,
    /// [`Fault::too_many_requests`], 1 to 5 s.
    pub too_many_requests: f64,
    /// [`Fault::internal_error`] or [`Fault::unavailable`].
    pub server_error: f64,
    /// [`Fault::StaleList`], 1 to 10 revisions.
    pub stale_list: f64,
    /// [`Fault::ExpiredWatch`].
    pub expired_watch: f64,
    /// [`Fault::CutWatch`] within two minutes.
    pub cut_watch: f64,
    /// [`Fault::HungWatch`] within two minutes.
    pub hung_watch: f64,
    /// [`Fault::SlowWatch`].
    pub slow_watch: f64,
    /// Periods in which the server is not there at all.
    pub outages: u32,
    /// The longest of them.
    pub longest_outage: Duration,
}

impl FaultPlan {
    /// A bad day: about a third of all requests meet with something.
    #[must_use]
    pub fn new(seed: u64, duration: Duration) -> Self {
        Self {
            seed,
            duration,
            disconnect: 0.04,
            lost_reply: 0.06,
            hang: 0.01,
            delay: 0.10,
            longest_delay: Duration::from_secs(3),
            overtaken: 0.05,
            too_many_requests: 0.05,
            server_error: 0.05,
            stale_list: 0.15,
            expired_watch: 0.08,
            cut_watch: 0.15,
            hung_watch: 0.08,
            slow_watch: 0.15,
            outages: 2,
            longest_outage: Duration::from_secs(60),
        }
    }
}

#[derive(Debug)]
struct RunningPlan {
    plan: FaultPlan,
    until: Instant,
    outages: Vec<(Instant, Instant)>,
    /// How many draws each kind of request has had. Requests of different kinds
    /// race, and their draws must not depend on who comes first.
    draws: std::collections::BTreeMap<String, u64>,
}

/// All faults that are set.
#[derive(Debug, Default)]
pub(crate) struct ActiveFaults {
    gone: bool,
    injected: Vec<(Match, Fault, usize)>,
    plan: Option<RunningPlan>,
}

impl ActiveFaults {
    pub(crate) fn set_gone(&mut self, gone: bool) {
        self.gone = gone;
    }

    pub(crate) fn inject(&mut self, which: Match, fault: Fault, times: usize) {
        self.injected.push((which, fault, times));
    }

    /// Injected faults that have not been used up.
    pub(crate) fn pending(&self) -> usize {
        self.injected.iter().map(|(_, _, times)| times).sum()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn start(&mut self, plan: FaultPlan, now: Instant) {
        let mut rng = rng(plan.seed, "outages", 0);
        let outages = (0..plan.outages)
            .map(|_| {
                let from = now + scale(plan.duration, rng.random_range(0.0..1.0));
                (from, from + scale(plan.longest_outage, rng.random_range(0.1..1.0)))
            })
            .collect();
        let until = now + plan.duration;
        self.plan = Some(RunningPlan { plan, until, outages, draws: std::collections::BTreeMap::new() });
    }

    /// Whether there is no server now.
    pub(crate) fn is_gone(&self, now: Instant) -> bool {
        let in_outage = |plan: &RunningPlan| {
            now < plan.until && plan.outages.iter().any(|(from, to)| (*from..*to).contains(&now))
        };
        self.gone || self.plan.as_ref().is_some_and(in_outage)
    }

    /// When a planned outage begins or ends next, for streams that must notice.
    pub(crate) fn next_turn(&self, now: Instant) -> Option<Instant> {
        let plan = self.plan.as_ref()?;
        let turns = plan.outages.iter().flat_map(|(from, to)| [*from, (*to).min(plan.until)]);
        turns.filter(|turn| *turn > now).min()
    }

    /// What goes wrong with a request.
    pub(crate) fn draw(&mut self, user: &str, request: &Attributes<'_>, now: Instant) -> Vec<Fault> {
        let hit = self.injected.iter_mut().find(|(which, fault, times)| {
            *times > 0 && fault.concerns(request.verb) && which.matches(user, request)
        });
        if let Some((_, fault, times)) = hit {
            *times -= 1;
            return vec![fault.clone()];
        }
        match &mut self.plan {
            Some(plan) if now < plan.until => plan.draw(user, request),
            _ => Vec::new(),
        }
    }
}

impl RunningPlan {
    fn draw(&mut self, user: &str, request: &Attributes<'_>) -> Vec<Fault> {
        let subresource = request.subresource.unwrap_or_default();
        let name = request.name.unwrap_or_default();
        let stream = format!("{user} {} {}/{subresource} {name}", request.verb, request.resource);
        let count = self.draws.entry(stream.clone()).or_default();
        *count += 1;
        let mut rng = rng(self.plan.seed, &stream, *count);
        let plan = &self.plan;
        let writes = matches!(request.verb, "create" | "update" | "patch" | "delete");
        let moment = Duration::from_secs(rng.random_range(0..120));
        let delay = scale(plan.longest_delay, rng.random_range(0.0..1.0));
        let server_error = if rng.random_bool(0.5) { Fault::internal_error() } else { Fault::unavailable() };
        let table = [
            (plan.delay, true, Fault::Delay(delay)),
            (plan.disconnect, true, Fault::Disconnect),
            (plan.lost_reply, writes, Fault::LostReply),
            (plan.hang, true, Fault::Hang),
            (plan.overtaken, true, Fault::Overtaken),
            (plan.too_many_requests, true, Fault::too_many_requests(rng.random_range(1..=5))),
            (plan.server_error, true, server_error),
            (plan.stale_list, true, Fault::StaleList(rng.random_range(1..=10))),
            (plan.expired_watch, true, Fault::ExpiredWatch),
            (plan.cut_watch, true, Fault::CutWatch(moment)),
            (plan.hung_watch, true, Fault::HungWatch(moment)),
            (plan.slow_watch, true, Fault::SlowWatch { delay, burst: delay * 2 }),
        ];
        let mut faults = Vec::new();
        for (probability, applies, fault) in table {
            let hit = rng.random_bool(probability);
            if hit && applies && fault.concerns(request.verb) {
                faults.push(fault);
            }
        }
        faults
    }
}

fn scale(duration: Duration, factor: f64) -> Duration {
    duration.mul_f64(factor)
}

/// A generator of its own for each concern and draw (FNV-1a over both).
fn rng(seed: u64, concern: &str, draw: u64) -> ChaCha8Rng {
    let bytes = concern.bytes().chain(draw.to_le_bytes()).chain(seed.to_le_bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    ChaCha8Rng::seed_from_u64(hash)
}

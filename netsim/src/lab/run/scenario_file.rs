//! Scenario files: a [`Scenario`] written in YAML.
//!
//! `netsim/scenarios/example.yaml` shows and explains every key.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_saphyr::Spanned;

use crate::lab::api::manifests::{ManifestError, Manifests};
use crate::lab::api::objects::{Key, Kind};
use crate::lab::api::watch::Delay;
use crate::lab::api::yaml;
use crate::lab::run::scenario::{Action, Cut, Expect, Link, Scenario, Step, Target};
use crate::lab::stations::client::ClientKind;

/// Everything that a step can do, as scenario files write it.
const ACTIONS: &[&str] = &[
    "power-off",
    "power-on",
    "crash",
    "start",
    "stop",
    "freeze",
    "thaw",
    "link-down",
    "link-up",
    "cut-cable",
    "mend-cable",
    "isolate",
    "heal",
    "loss",
    "api-gone",
    "api-back",
    "cut-watch",
    "stale-list",
    "replay-watch",
    "delay-deletes",
    "lose-answers",
    "crash-controller",
    "start-controller",
    "apply",
    "delete",
    "replay-gossip",
    "wrong-key",
    "garbage",
    "wait",
];

/// Why a scenario file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioFileError {
    /// It is missing or cannot be read.
    #[error("cannot read {path}: {cause}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// It is not YAML, or has a key that it should not have.
    #[error("{path}:{line}: {message}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A manifest that it names is bad.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    name: String,
    #[serde(default)]
    description: String,
    nodes: Option<u8>,
    link: Option<LinkText>,
    api: Option<ApiText>,
    clients: Option<Vec<Spanned<String>>>,
    ask: Option<Spanned<String>>,
    fetch: Option<Spanned<String>>,
    services_at: Option<Spanned<String>>,
    settle: Option<Spanned<String>>,
    #[serde(default)]
    expect: ExpectText,
    #[serde(default)]
    steps: Vec<StepText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkText {
    loss: Option<Spanned<String>>,
    delay: Option<Spanned<String>>,
    jitter: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiText {
    min: Spanned<String>,
    max: Spanned<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ExpectText {
    outage_at_most: Option<Spanned<String>>,
    lost_at_most: Option<u32>,
    moves_at_most: Option<u32>,
    moves_at_least: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepText {
    at: Spanned<String>,
    spread: Option<Spanned<String>>,
    #[serde(rename = "do")]
    action: Spanned<String>,
    node: Option<String>,
    way: Option<Spanned<String>>,
    loss: Option<Spanned<String>>,
    client: Option<String>,
    revisions: Option<u64>,
    by: Option<Spanned<String>>,
    count: Option<u32>,
    file: Option<String>,
    object: Option<Spanned<String>>,
}

/// Reads the scenario in `path`; the manifests that it names lie beside it.
///
/// # Errors
/// The first fault found, with file and line.
pub fn read(path: &Path) -> Result<Scenario, ScenarioFileError> {
    let unreadable = |cause| ScenarioFileError::Unreadable { path: path.to_owned(), cause };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    parse(path, &text)
}

/// Reads a scenario from a text, as if it stood in `path`.
///
/// # Errors
/// The first fault found, with file and line.
pub fn parse(path: &Path, text: &str) -> Result<Scenario, ScenarioFileError> {
    let reader = Reader { path };
    let file: File = yaml::from_str(text).map_err(|fault| reader.error(fault.line, &fault.message))?;
    let mut scenario = Scenario::new(&file.name, &file.description);
    scenario.nodes = file.nodes.unwrap_or(scenario.nodes);
    if let Some(link) = &file.link {
        let Link { loss, delay, jitter } = scenario.link;
        scenario.link = Link {
            loss: reader.or(link.loss.as_ref(), share, loss)?,
            delay: reader.or(link.delay.as_ref(), duration, delay)?,
            jitter: reader.or(link.jitter.as_ref(), duration, jitter)?,
        };
    }
    if let Some(api) = &file.api {
        scenario.api = Delay { min: reader.take(&api.min, duration)?, max: reader.take(&api.max, duration)? };
    }
    if let Some(clients) = &file.clients {
        let kinds = clients.iter().map(|text| reader.take(text, client));
        scenario.clients = kinds.collect::<Result<_, _>>()?;
    }
    scenario.ask_every = reader.or(file.ask.as_ref(), duration, scenario.ask_every)?;
    scenario.fetch_every = reader.or(file.fetch.as_ref(), duration, scenario.fetch_every)?;
    scenario.services_at = reader.or(file.services_at.as_ref(), duration, scenario.services_at)?;
    scenario.settle = reader.or(file.settle.as_ref(), duration, scenario.settle)?;
    scenario.expect = Expect {
        outage_at_most: file.expect.outage_at_most.as_ref().map(|t| reader.take(t, duration)).transpose()?,
        lost_at_most: file.expect.lost_at_most,
        moves_at_most: file.expect.moves_at_most,
        moves_at_least: file.expect.moves_at_least,
    };
    for step in &file.steps {
        scenario.steps.push(Step {
            at: reader.take(&step.at, duration)?,
            spread: reader.or(step.spread.as_ref(), duration, Duration::ZERO)?,
            action: reader.action(step)?,
        });
    }
    scenario.validate().map_err(|message| reader.error(1, &message))?;
    Ok(scenario)
}

struct Reader<'a> {
    path: &'a Path,
}

impl Reader<'_> {
    fn error(&self, line: usize, message: &str) -> ScenarioFileError {
        ScenarioFileError::Malformed { path: self.path.to_owned(), line, message: message.to_owned() }
    }

    fn take<T>(
        &self,
        text: &Spanned<String>,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ScenarioFileError> {
        read(&text.value).map_err(|message| self.error(line(text), &message))
    }

    fn or<T>(
        &self,
        text: Option<&Spanned<String>>,
        read: impl Fn(&str) -> Result<T, String>,
        default: T,
    ) -> Result<T, ScenarioFileError> {
        text.map_or(Ok(default), |text| self.take(text, read))
    }

    /// A key that the step must have.
    fn need<'s, T>(
        &self,
        step: &StepText,
        key: &str,
        value: Option<&'s T>,
    ) -> Result<&'s T, ScenarioFileError> {
        let message = || format!("{:?} needs the key {key:?}", step.action.value);
        value.ok_or_else(|| self.error(line(&step.action), &message()))
    }

    fn action(&self, step: &StepText) -> Result<Action, ScenarioFileError> {
        let node = || self.need(step, "node", step.node.as_ref()).map(|name| target(name));
        let everybody = || step.client.clone().unwrap_or_default();
        Ok(match step.action.value.as_str() {
            "power-off" => Action::PowerOff(node()?),
            "power-on" => Action::PowerOn(node()?),
            "crash" => Action::Crash(node()?),
            "start" => Action::Start(node()?),
            "stop" => Action::Stop(node()?),
            "freeze" => Action::Freeze(node()?),
            "thaw" => Action::Thaw(node()?),
            "link-down" => Action::LinkDown(node()?),
            "link-up" => Action::LinkUp(node()?),
            "cut-cable" => Action::CutCable(node()?, self.or(step.way.as_ref(), way, Cut::Both)?),
            "mend-cable" => Action::MendCable(node()?),
            "isolate" => Action::Isolate(node()?),
            "heal" => Action::Heal,
            "loss" => Action::Loss(self.take(self.need(step, "loss", step.loss.as_ref())?, share)?),
            "api-gone" => Action::ApiGone,
            "api-back" => Action::ApiBack,
            "cut-watch" => Action::CutWatch(everybody()),
            "stale-list" => {
                Action::StaleList(everybody(), *self.need(step, "revisions", step.revisions.as_ref())?)
            }
            "replay-watch" => Action::ReplayWatch(everybody()),
            "delay-deletes" => Action::DelayDeletes(
                everybody(),
                self.take(self.need(step, "by", step.by.as_ref())?, duration)?,
            ),
            "lose-answers" => Action::LoseAnswers(step.count.unwrap_or(1)),
            "crash-controller" => Action::CrashController,
            "start-controller" => Action::StartController,
            "apply" => {
                let file = self.need(step, "file", step.file.as_ref())?;
                let beside = self.path.parent().unwrap_or(Path::new("."));
                Action::Apply(Manifests::read(&beside.join(file))?.objects)
            }
            "delete" => Action::Delete(self.take(self.need(step, "object", step.object.as_ref())?, key)?),
            "replay-gossip" => Action::ReplayGossip,
            "wrong-key" => Action::WrongKey,
            "garbage" => Action::Garbage(step.count.unwrap_or(100)),
            "wait" => Action::Wait,
            other => {
                let message = format!("unknown action {other:?}; there are {}", ACTIONS.join(", "));
                return Err(self.error(line(&step.action), &message));
            }
        })
    }
}

fn line(text: &Spanned<String>) -> usize {
    usize::try_from(text.referenced.line()).unwrap_or(1)
}

fn target(name: &str) -> Target {
    match name {
        "owner" => Target::Owner,
        "other" => Target::Other,
        "former-owner" => Target::FormerOwner,
        name => Target::Node(name.to_owned()),
    }
}

fn way(text: &str) -> Result<Cut, String> {
    match text {
        "both" => Ok(Cut::Both),
        "out" => Ok(Cut::Outgoing),
        "in" => Ok(Cut::Incoming),
        _ => Err(format!("{text:?} is no way to cut a cable; there are both, out, in")),
    }
}

fn client(text: &str) -> Result<ClientKind, String> {
    ClientKind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
        let known = ClientKind::ALL.map(ClientKind::as_str).join(", ");
        format!("unknown client {text:?}; there are {known}")
    })
}

/// `10ms`, `50us`, `1.5s`, `2m`.
fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let fault = || format!("{text:?} is no duration like 50us, 10ms, 1.5s or 2m");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(fault)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| fault())?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        _ => return Err(fault()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| fault())
}

/// `1%`, `0.5%`: a share in 1/10,000.
fn share(text: &str) -> Result<u32, String> {
    let fault = || format!("{text:?} is no share between 0% and 100%");
    let percent: f64 =
        text.trim().strip_suffix('%').ok_or_else(fault)?.trim().parse().map_err(|_| fault())?;
    if !(0.0..=100.0).contains(&percent) {
        return Err(fault());
    }
    // At most 10,000, so the conversion is exact.
    Ok((percent * 100.0).round() as u32)
}

/// `Service default/nginx`, `IPAddressPool metallb-system/first-pool`, `Node wk01`.
fn key(text: &str) -> Result<Key, String> {
    let fault = || format!("{text:?} is no object like \"Service default/nginx\" or \"Node wk01\"");
    let (kind, name) = text.trim().split_once(' ').ok_or_else(fault)?;
    let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind).ok_or_else(|| {
        let known = Kind::ALL.map(Kind::as_str).join(", ");
        format!("unknown kind {kind:?}; there are {known}")
    })?;
    let (namespace, name) = name.trim().split_once('/').unwrap_or(("", name.trim()));
    Ok(Key { kind, namespace: namespace.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Scenario, ScenarioFileError> {
        parse(Path::new("case.yaml"), text)
    }

    #[test]
    fn durations_and_shares() {
        for (text, expected) in [("50us", 50), ("10ms", 10_000), ("1.5s", 1_500_000), ("2m", 120_000_000)] {
            assert_eq!(duration(text), Ok(Duration::from_micros(expected)));
        }
        for text in ["", "10", "ms", "10 parsecs", "1.2.3s", "-1s"] {
            duration(text).expect_err(text);
        }
        assert_eq!(share("0.5%"), Ok(50));
        for text in ["1", "101%", "-1%", "x%", "%"] {
            share(text).expect_err(text);
        }
    }

    #[test]
    fn the_example_shows_every_action() {
        let text = include_str!("../../../scenarios/example.yaml");
        for action in ACTIONS {
            assert!(text.contains(action), "the example does not name {action}");
        }
        let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/example.yaml"));
        let scenario = parse(path, text).expect("the example is valid");
        assert!(scenario.steps.len() > 2);
    }

    #[test]
    fn errors_name_line_and_remedy() {
        for (text, expected) in [
            ("name: [x\n", "case.yaml:"),
            ("name: x\nnods: 3\n", "case.yaml:2: unknown field"),
            ("nodes: 3\n", "case.yaml:1: missing field"),
            ("name: x\nsettle: soon\n", "case.yaml:2: \"soon\" is no duration"),
            ("name: x\nclients:\n  - beos\n", "case.yaml:3: unknown client \"beos\"; there are linux"),
            ("name: x\nsteps:\n  - at: 1s\n    do: explode\n", "case.yaml:4: unknown action \"explode\""),
            ("name: x\nsteps:\n  - at: 1s\n    do: crash\n", "case.yaml:4: \"crash\" needs the key \"node\""),
            ("name: x\nnodes: 200\n", "case.yaml:1: nodes: 200 is not between 1 and 30"),
            (
                "name: x\nsteps:\n  - {at: 1s, do: crash, node: wk09}\n",
                "case.yaml:1: there is no node \"wk09\"; there are wk01, wk02",
            ),
            ("name: x\nsteps:\n  - {at: 1s, do: apply, file: no-such.yaml}\n", "cannot read no-such.yaml: "),
        ] {
            let error = parsed(text).expect_err(text).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}

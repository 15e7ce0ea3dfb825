//! Scenario files: a [`Scenario`] written in YAML. `netsim/scenarios/example.yaml` shows and explains every key.

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
use crate::lab::run::action::{Action, Args, Cut, Target};
use crate::lab::run::scenario::{Expect, Link, Scenario, Step};
use crate::lab::run::world::actions::{self, ACTIONS, Arg};
use crate::lab::stations::client::ClientKind;

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
    node: Option<Spanned<String>>,
    way: Option<Spanned<String>>,
    loss: Option<Spanned<String>>,
    client: Option<Spanned<String>>,
    revisions: Option<Spanned<u64>>,
    by: Option<Spanned<String>>,
    count: Option<Spanned<u32>>,
    file: Option<Spanned<String>>,
    object: Option<Spanned<String>>,
}

impl StepText {
    /// The arguments that it gives, with their lines.
    fn given(&self) -> Vec<(Arg, usize)> {
        let revisions = self.revisions.as_ref().map(|number| (Arg::Revisions, line(number)));
        let count = self.count.as_ref().map(|number| (Arg::Count, line(number)));
        let texts = [
            (Arg::Node, &self.node),
            (Arg::Way, &self.way),
            (Arg::Loss, &self.loss),
            (Arg::Client, &self.client),
            (Arg::By, &self.by),
            (Arg::File, &self.file),
            (Arg::Object, &self.object),
        ];
        let texts = texts.into_iter().filter_map(|(arg, text)| Some((arg, line(text.as_ref()?))));
        texts.chain(revisions).chain(count).collect()
    }
}

/// Reads the scenario in `path`; the manifests that it names lie beside it.
///
/// # Errors
/// The first fault found, with file and line.
pub fn read(path: &Path) -> Result<Scenario, ScenarioFileError> {
    let unreadable = |cause| ScenarioFileError::Unreadable { path: path.to_owned(), cause };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    parse(path, &text, &|file| Manifests::read(&folder.join(file)))
}

/// Reads a scenario from a text, as if it stood in `path`; `manifests` reads a file that it names.
///
/// # Errors
/// The first fault found, with file and line.
pub fn parse(
    path: &Path,
    text: &str,
    manifests: &dyn Fn(&str) -> Result<Manifests, ManifestError>,
) -> Result<Scenario, ScenarioFileError> {
    let reader = Reader { path, manifests };
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
    manifests: &'a dyn Fn(&str) -> Result<Manifests, ManifestError>,
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

    /// Reads a step by the row of the table that its action has.
    fn action(&self, step: &StepText) -> Result<Action, ScenarioFileError> {
        let word = &step.action.value;
        let Some(row) = actions::row(word) else {
            let known: Vec<&str> = ACTIONS.iter().map(|row| row.word).collect();
            let message = format!("unknown action {word:?}; there are {}", known.join(", "));
            return Err(self.error(line(&step.action), &message));
        };
        let given = step.given();
        if let Some(missing) = row.needs.iter().find(|needed| !given.iter().any(|(arg, _)| arg == *needed)) {
            let message = format!("{word:?} needs the key {:?}", missing.key());
            return Err(self.error(line(&step.action), &message));
        }
        let takes = |arg| row.needs.contains(&arg) || row.may_have == Some(arg);
        if let Some((arg, line)) = given.iter().find(|(arg, _)| !takes(*arg)) {
            return Err(self.error(*line, &format!("{word:?} takes no key {:?}", arg.key())));
        }
        Ok(Action { word: row.word, args: self.args(step)? })
    }

    fn args(&self, step: &StepText) -> Result<Args, ScenarioFileError> {
        let manifests = match &step.file {
            Some(file) => (self.manifests)(&file.value)?.objects,
            None => Vec::new(),
        };
        Ok(Args {
            node: step.node.as_ref().map(|node| Target::from(node.value.as_str())),
            way: self.or(step.way.as_ref(), way, Cut::Both)?,
            loss: self.or(step.loss.as_ref(), share, 0)?,
            client: step.client.as_ref().map(|client| client.value.clone()).unwrap_or_default(),
            revisions: step.revisions.as_ref().map_or(0, |number| number.value),
            by: self.or(step.by.as_ref(), duration, Duration::ZERO)?,
            count: step.count.as_ref().map_or(0, |number| number.value),
            manifests,
            object: step.object.as_ref().map(|text| self.take(text, key)).transpose()?,
        })
    }
}

fn line<T>(value: &Spanned<T>) -> usize {
    usize::try_from(value.referenced.line()).unwrap_or(1)
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
        parse(Path::new("case.yaml"), text, &|file| Manifests::read(Path::new(file)))
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
        for row in ACTIONS.iter() {
            assert!(text.contains(row.word), "the example does not name {}", row.word);
        }
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
            (
                "name: x\nsteps:\n  - at: 1s\n    do: heal\n    node: owner\n",
                "case.yaml:5: \"heal\" takes no key \"node\"",
            ),
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

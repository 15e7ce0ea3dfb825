//! The sequence picture: lifelines of the stations, and an arrow for what each
//! sent to whom.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use ferrolb_api::Time;

use super::{class, escape};
use crate::lab::clock::millis;
use crate::lab::run::timeline::{Message, Tone};
use crate::lab::run::world::{Outcome, World};

/// The drawing's width and where its lifelines are.
const WIDTH: f64 = 1120.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 1000.0;
const TOP: f64 = 64.0;
/// Room for an arrow, and for a stretch in which nothing is sent.
const ROW: f64 = 26.0;
const GAP: f64 = 36.0;
/// A stretch longer than this is cut short.
const QUIET: Duration = Duration::from_millis(150);
/// Arrows that fit on a page one still reads.
const MOST: usize = 150;

/// The whole drawing.
pub(super) fn draw(world: &World, outcome: &Outcome) -> String {
    let messages = world.timeline().messages();
    let shown = &messages[..messages.len().min(MOST)];
    let picture = Picture::new(world, shown);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"sequence of messages\">\n",
        picture.bottom + 20.0
    );
    picture.outage(&mut svg, outcome, world.now());
    picture.lifelines(&mut svg);
    picture.gaps(&mut svg);
    for (message, y) in shown.iter().zip(&picture.rows) {
        picture.message(&mut svg, message, *y);
    }
    svg.push_str("</svg>\n");
    if messages.len() > MOST {
        let _ = writeln!(svg, "<p>The first {MOST} of {} arrows are shown.</p>", messages.len());
    }
    svg
}

struct Picture {
    /// The stations in order, and where their lines are.
    columns: Vec<(String, f64)>,
    /// Where each message is.
    rows: Vec<f64>,
    times: Vec<Time>,
    /// Stretches cut short: where, and how long they were.
    quiet: Vec<(f64, Duration)>,
    /// Where each station goes down (`true`) or comes up again.
    powers: BTreeMap<String, Vec<(f64, bool)>>,
    bottom: f64,
}

impl Picture {
    fn new(world: &World, messages: &[Message]) -> Self {
        let clients = world.clients().iter().map(|client| client.name().to_owned());
        let nodes = world.node_names().map(str::to_owned);
        let names: Vec<String> =
            clients.chain(nodes).chain(["api".to_owned(), "controller".to_owned()]).collect();
        let between = (RIGHT - LEFT) / (names.len().max(2) - 1) as f64;
        let columns = names
            .into_iter()
            .enumerate()
            .map(|(index, name)| (name, LEFT + between * index as f64))
            .collect();
        let (mut rows, mut quiet) = (Vec::new(), Vec::new());
        let (mut y, mut last) = (TOP, Time::ZERO);
        for message in messages {
            let passed = message.at - last;
            if passed > QUIET {
                quiet.push((y + GAP / 2.0 + 2.0, passed));
                y += GAP;
            }
            y += ROW;
            rows.push(y);
            last = message.at;
        }
        let times = messages.iter().map(|message| message.at).collect();
        let mut powers: BTreeMap<String, Vec<(f64, bool)>> = BTreeMap::new();
        for (message, y) in messages.iter().zip(&rows) {
            let is_about_itself = message.to.as_deref() == Some(message.from.as_str());
            if is_about_itself && let Some(is_down) = power(&message.label) {
                powers.entry(message.from.clone()).or_default().push((*y, is_down));
            }
        }
        Self { columns, rows, times, quiet, powers, bottom: y + ROW }
    }

    fn is_down(&self, name: &str, y: f64) -> bool {
        let changes = self.powers.get(name).map(Vec::as_slice).unwrap_or_default();
        changes.iter().rev().find(|(at, _)| *at <= y).is_some_and(|(_, is_down)| *is_down)
    }

    fn x(&self, name: &str) -> Option<f64> {
        self.columns.iter().find(|(column, _)| column == name).map(|(_, x)| *x)
    }

    /// Where a point in time is, between the messages before and after it.
    fn y(&self, at: Time) -> f64 {
        let next = self.times.partition_point(|time| *time < at);
        let row = |index: usize| self.rows.get(index).copied();
        match (next.checked_sub(1).and_then(row), row(next)) {
            (Some(before), Some(after)) => f64::midpoint(before, after),
            (None, Some(after)) => after - ROW / 2.0,
            (Some(before), None) => before + ROW / 2.0,
            (None, None) => TOP,
        }
    }

    fn outage(&self, svg: &mut String, outcome: &Outcome, end: Time) {
        let Some(before) = outcome.outage.last_before else { return };
        let (y, to) = (self.y(before), self.y(outcome.outage.first_after.unwrap_or(end)));
        let _ = writeln!(
            svg,
            "<rect class=\"outage\" x=\"0\" y=\"{y:.1}\" width=\"{WIDTH}\" height=\"{:.1}\"/>",
            to - y
        );
        for edge in [y, to] {
            let _ = writeln!(
                svg,
                "<line class=\"outage-edge\" x1=\"0\" x2=\"{WIDTH}\" y1=\"{edge:.1}\" y2=\"{edge:.1}\"/>"
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"outage-label halo\" x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">outage {} ms</text>",
            WIDTH - 12.0,
            f64::midpoint(y, to) + 4.0,
            millis(outcome.outage.duration)
        );
    }

    /// Lines from head to foot, broken where a node was down.
    fn lifelines(&self, svg: &mut String) {
        for (name, x) in &self.columns {
            let _ = writeln!(
                svg,
                "<text class=\"head\" x=\"{x:.1}\" y=\"34\" text-anchor=\"middle\">{}</text>",
                escape(name)
            );
            let (mut from, mut is_down) = (44.0, false);
            let changes = self.powers.get(name).cloned().unwrap_or_default();
            for (y, now_down) in changes.into_iter().chain([(self.bottom, is_down)]) {
                let look = if is_down { "life down" } else { "life" };
                let _ = writeln!(
                    svg,
                    "<line class=\"{look}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{from:.1}\" y2=\"{y:.1}\"/>"
                );
                (from, is_down) = (y, now_down);
            }
        }
    }

    fn gaps(&self, svg: &mut String) {
        for (y, passed) in &self.quiet {
            let _ = writeln!(
                svg,
                "<line class=\"gap\" x1=\"76\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"axis\" x=\"66\" y=\"{:.1}\" text-anchor=\"end\">{} ms</text>",
                WIDTH - 20.0,
                y + 4.0,
                passed.as_millis()
            );
        }
    }

    fn message(&self, svg: &mut String, message: &Message, y: f64) {
        let Some(from) = self.x(&message.from) else { return };
        let look = class(message.tone);
        let label = escape(&message.label);
        let _ = writeln!(
            svg,
            "<text class=\"at\" x=\"66\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            y + 4.0,
            message.at
        );
        match message.to.as_deref() {
            Some(to) if to == message.from => note(svg, from, y, look, &label),
            Some(to) => {
                if let Some(to) = self.x(to) {
                    arrow(svg, from, to, y, look);
                    text(svg, f64::midpoint(from, to), y - 5.0, look, &label);
                }
            }
            None => self.broadcast(svg, from, y, message.tone, &label),
        }
    }

    /// A line through all stations of the LAN, a dot on each that hears it.
    fn broadcast(&self, svg: &mut String, from: f64, y: f64, tone: Tone, label: &str) {
        let look = class(tone);
        let lan: Vec<&(String, f64)> = self.columns.iter().filter(|(name, _)| name != "controller").collect();
        let (first, last) = (lan.first().map_or(from, |(_, x)| *x), lan.last().map_or(from, |(_, x)| *x));
        let _ = writeln!(
            svg,
            "<line class=\"arrow {look}\" x1=\"{first:.1}\" x2=\"{last:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
        );
        for (name, x) in lan {
            if self.is_down(name, y) {
                continue;
            }
            let radius = if (x - from).abs() < 1.0 { 5.0 } else { 3.0 };
            let _ =
                writeln!(svg, "<circle class=\"tip {look}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>");
        }
        text(svg, f64::midpoint(first, from), y - 5.0, look, label);
    }
}

/// Whether a note says that its node goes down, or comes up again.
fn power(label: &str) -> Option<bool> {
    let downs = ["loses power", "stands still", "is killed", "cable is cut"];
    let ups = ["has power", "goes on", "starts again", "is whole"];
    if downs.iter().any(|text| label.contains(text)) {
        Some(true)
    } else {
        ups.iter().any(|text| label.contains(text)).then_some(false)
    }
}

fn text(svg: &mut String, x: f64, y: f64, look: &str, label: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"halo {look}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{label}</text>"
    );
}

fn arrow(svg: &mut String, from: f64, to: f64, y: f64, look: &str) {
    /// Length and half the width of an arrow's head.
    const HEAD: (f64, f64) = (8.0, 4.0);
    let back = if to > from { to - HEAD.0 } else { to + HEAD.0 };
    let _ = writeln!(
        svg,
        "<line class=\"arrow {look}\" x1=\"{from:.1}\" x2=\"{back:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
         <polygon class=\"tip {look}\" points=\"{to:.1},{y:.1} {back:.1},{:.1} {back:.1},{:.1}\"/>",
        y - HEAD.1,
        y + HEAD.1
    );
}

/// Something a station does by itself.
fn note(svg: &mut String, x: f64, y: f64, look: &str, label: &str) {
    /// About the width of a letter.
    const LETTER: f64 = 6.6;
    let width = label.chars().count() as f64 * LETTER + 18.0;
    let left = (x - width / 2.0).clamp(76.0, (WIDTH - width - 8.0).max(76.0));
    let _ = writeln!(
        svg,
        "<rect class=\"note {look}\" x=\"{left:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"20\" rx=\"10\"/>\
         <text class=\"{look}\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
        y - 10.0,
        left + width / 2.0,
        y + 4.0
    );
}

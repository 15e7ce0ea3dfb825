//! Bars over linear time: who answered the first client, and where each
//! client's table said the address was.

use std::fmt::Write;
use std::time::Duration;

use ferrolb_api::Time;

use super::{escape, node_class};
use crate::lab::checks::outage::IN_FLIGHT;
use crate::lab::clock::millis;
use crate::lab::run::world::{Outcome, World};

/// The drawing's width, and where its bars begin and end.
const WIDTH: f64 = 1120.0;
const LEFT: f64 = 150.0;
const RIGHT: f64 = 1100.0;
/// A bar, and the room it takes.
const BAR: f64 = 22.0;
const ROW: f64 = 34.0;
const TOP: f64 = 40.0;
/// A bar shorter than this has no room for a name.
const NAMED: f64 = 42.0;

/// A stretch of time with one colour.
struct Stretch {
    from: Time,
    to: Time,
    class: String,
    name: String,
}

/// The whole drawing.
pub(super) fn draw(world: &World, outcome: &Outcome) -> String {
    let mut rows = vec![("answers to client".to_owned(), answers(world))];
    for client in world.clients() {
        let stretches = table(world, client.name());
        if !stretches.is_empty() {
            rows.push((format!("ARP table of {}", client.name()), stretches));
        }
    }
    let scale = Scale { end: world.now() };
    let bottom = TOP + ROW * rows.len() as f64;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"answers and neighbour tables over time\">\n",
        bottom + 34.0
    );
    scale.axis(&mut svg, bottom);
    for (index, (label, stretches)) in rows.iter().enumerate() {
        let y = TOP + ROW * index as f64;
        let _ = writeln!(svg, "<text x=\"14\" y=\"{}\">{}</text>", y + 15.0, escape(label));
        for stretch in stretches {
            scale.bar(&mut svg, y, stretch);
        }
    }
    scale.outage(&mut svg, bottom, outcome);
    svg.push_str("</svg>\n");
    svg
}

/// Questions one after the other, equal answerers joined.
fn answers(world: &World) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let Some(client) = world.clients().first() else { return stretches };
    for (index, ask) in client.asks().iter().enumerate() {
        let next = client.asks().get(index + 1).map_or(world.now(), |next| next.sent);
        let answer = ask.answered.filter(|answered| *answered - ask.sent <= IN_FLIGHT);
        let name = answer.and_then(|_| client.answerers().get(usize::from(ask.by)).cloned());
        let class = match &name {
            Some(name) => node_class(world, name),
            None if world.now() - ask.sent <= IN_FLIGHT => continue,
            None => "lost".to_owned(),
        };
        let name = name.unwrap_or_else(|| "nobody".to_owned());
        match stretches.last_mut().filter(|last| last.name == name) {
            Some(last) => last.to = next,
            None => stretches.push(Stretch { from: ask.sent, to: next, class, name }),
        }
    }
    stretches
}

fn table(world: &World, client: &str) -> Vec<Stretch> {
    let changes: Vec<_> = world.timeline().tables().iter().filter(|change| change.client == client).collect();
    let mut stretches: Vec<Stretch> = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let to = changes.get(index + 1).map_or(world.now(), |next| next.at);
        let name = change.owner.clone().unwrap_or_else(|| change.state.to_lowercase());
        let class = change.owner.as_deref().map_or("nobody".to_owned(), |owner| node_class(world, owner));
        match stretches.last_mut().filter(|last| last.name == name) {
            Some(last) => last.to = to,
            None => stretches.push(Stretch { from: change.at, to, class, name }),
        }
    }
    stretches
}

/// From virtual time to the drawing.
struct Scale {
    end: Time,
}

impl Scale {
    fn x(&self, at: Time) -> f64 {
        let share = at.as_micros() as f64 / (self.end.as_micros() as f64).max(1.0);
        LEFT + (RIGHT - LEFT) * share
    }

    /// A line for each second, or for each five or ten if there are many.
    fn axis(&self, svg: &mut String, bottom: f64) {
        let seconds = (self.end - Time::ZERO).as_secs();
        let every = match seconds {
            0..=20 => 1,
            21..=60 => 5,
            _ => 10,
        };
        for second in (0..=seconds).step_by(every) {
            let x = self.x(Time::ZERO + Duration::from_secs(second));
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>"
            );
            let y = bottom + 18.0;
            let _ = writeln!(
                svg,
                "<text class=\"axis\" x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{second} s</text>"
            );
        }
    }

    fn bar(&self, svg: &mut String, y: f64, stretch: &Stretch) {
        let (x, to) = (self.x(stretch.from), self.x(stretch.to));
        let width = (to - x).max(1.0);
        let title = format!("{}: {} to {} s", stretch.name, stretch.from, stretch.to);
        let _ = writeln!(
            svg,
            "<rect class=\"{}\" x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" rx=\"3\">\
             <title>{}</title></rect>",
            stretch.class,
            escape(&title)
        );
        if width >= NAMED {
            let (middle, base) = (x + width / 2.0, y + 15.0);
            let name = escape(&stretch.name);
            let _ = writeln!(
                svg,
                "<text class=\"on-bar\" x=\"{middle:.1}\" y=\"{base}\" text-anchor=\"middle\">{name}</text>"
            );
        }
    }

    fn outage(&self, svg: &mut String, bottom: f64, outcome: &Outcome) {
        let Some(before) = outcome.outage.last_before else { return };
        let (x, to) = (self.x(before), self.x(outcome.outage.first_after.unwrap_or(self.end)));
        let _ = writeln!(
            svg,
            "<rect class=\"outage\" x=\"{x:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{}\"/>",
            to - x,
            bottom - TOP
        );
        for edge in [x, to] {
            let _ = writeln!(
                svg,
                "<line class=\"outage-edge\" x1=\"{edge:.1}\" x2=\"{edge:.1}\" y1=\"{}\" y2=\"{bottom}\"/>",
                TOP - 8.0
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"outage-label\" x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">outage {} ms</text>",
            f64::midpoint(x, to),
            TOP - 14.0,
            millis(outcome.outage.duration)
        );
    }
}

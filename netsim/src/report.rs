//! A run as one self-contained HTML page: who sent what to whom when, what the
//! clients' neighbour tables said, and how long nobody answered.

use crate::lab::clock::millis;
use crate::lab::run::scenario::Scenario;
use crate::lab::run::timeline::Tone;
use crate::lab::run::world::{Outcome, World};

mod sequence;
mod strips;

/// The page's colours, light and dark, and everything else that is looks.
const STYLE: &str = include_str!("report/style.css");

/// The page.
#[must_use]
pub fn page(scenario: &Scenario, world: &World, outcome: &Outcome) -> String {
    let mut page = String::new();
    page.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.push_str(&format!("<title>Ferrolb netsim: {}</title>\n", escape(&scenario.name)));
    page.push_str(&format!("<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n"));
    page.push_str(&head(scenario, outcome));
    page.push_str("<h2>Answers and neighbour tables</h2>\n");
    page.push_str(
        "<p>Virtual time runs from left to right. The colour says which node answered, and which node each \
         client's ARP table named; nobody answered where it is red.</p>\n",
    );
    page.push_str(&strips::draw(world, outcome));
    page.push_str("<h2>Who sent what to whom</h2>\n");
    page.push_str(
        "<p>Time runs from top to bottom, and stretches in which nothing is sent are cut short. A dot on every \
         line is a broadcast. A lifeline is broken while its node is down.</p>\n",
    );
    page.push_str(&sequence::draw(world, outcome));
    page.push_str(&log(world));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn head(scenario: &Scenario, outcome: &Outcome) -> String {
    let nobody = || "nobody".to_owned();
    let before = outcome.owner_before.clone().unwrap_or_else(nobody);
    let after = outcome.owner_after.clone().unwrap_or_else(nobody);
    let is_clean = outcome.violations.is_empty();
    let verdict =
        if is_clean { "every rule kept".to_owned() } else { format!("{} broken", outcome.violations.len()) };
    let facts = [
        ("outage", format!("{} ms", millis(outcome.outage.duration)), ""),
        ("answers lost", format!("{} of {}", outcome.outage.lost, outcome.outage.asked), ""),
        ("owner", if before == after { before } else { format!("{before} \u{2192} {after}") }, ""),
        ("checkers", verdict, if is_clean { "good" } else { "bad" }),
        ("seed", outcome.seed.to_string(), ""),
        ("fingerprint", outcome.fingerprint.to_string(), "mono"),
    ];
    let mut html = format!(
        "<header>\n<p class=\"brand\">Ferrolb netsim</p>\n<h1>{}</h1>\n<p>{}. {} nodes, {} % loss on every cable \
         each way, first client asking every {} ms.</p>\n</header>\n<dl class=\"facts\">\n",
        escape(&scenario.name),
        escape(&capitalised(&scenario.description)),
        scenario.nodes,
        f64::from(scenario.link.loss) / 100.0,
        scenario.ask_every.as_millis(),
    );
    for (name, value, class) in facts {
        html.push_str(&format!("<div><dt>{name}</dt><dd class=\"{class}\">{}</dd></div>\n", escape(&value)));
    }
    html.push_str("</dl>\n");
    if !is_clean {
        html.push_str("<ul class=\"bad\">\n");
        for violation in &outcome.violations {
            html.push_str(&format!("<li>{}</li>\n", escape(&violation.to_string())));
        }
        html.push_str("</ul>\n");
    }
    html
}

fn log(world: &World) -> String {
    let mut html = "<h2>Timeline</h2>\n<details>\n<summary>Every line</summary>\n<table>\n".to_owned();
    for entry in world.timeline().entries() {
        html.push_str(&format!(
            "<tr class=\"{}\"><td>{}</td><td>{}</td><td>{}</td></tr>\n",
            class(entry.tone),
            entry.at,
            escape(&entry.who),
            escape(&entry.what)
        ));
    }
    html.push_str("</table>\n</details>\n");
    html
}

/// The style of a tone.
const fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Bad => "bad",
        Tone::Wire => "wire",
        Tone::Table => "table",
        Tone::Faint => "faint",
    }
}

/// The style of a node: its place among the nodes, four colours in turn.
fn node_class(world: &World, name: &str) -> String {
    let index = world.node_names().position(|node| node == name);
    index.map_or_else(|| "nobody".to_owned(), |index| format!("node{}", index % 4))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().collect::<String>() + chars.as_str()).unwrap_or_default()
}

/// Text between tags and in attributes.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_can_be_markup() {
        assert_eq!(escape("<b a=\"1\">&"), "&lt;b a=&quot;1&quot;&gt;&amp;");
        assert_eq!(capitalised("the owner"), "The owner");
        assert_eq!(capitalised(""), "");
    }
}

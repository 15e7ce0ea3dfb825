//! Colours and columns of a terminal.

use anstyle::{AnsiColor, Color, Style};

use crate::lab::run::timeline::{Entry, Tone};

/// Stations keep their colour: whom a line is about is seen before it is read.
fn station(who: &str) -> Style {
    let color = match who {
        "wk01" => AnsiColor::Cyan,
        "wk02" => AnsiColor::Magenta,
        "wk03" => AnsiColor::Blue,
        "controller" => AnsiColor::Yellow,
        "client" => AnsiColor::Green,
        "stranger" | "checkers" => AnsiColor::Red,
        _ => AnsiColor::White,
    };
    foreground(color).bold()
}

fn tone(tone: Tone) -> Style {
    match tone {
        Tone::Plain => Style::new(),
        Tone::Good => foreground(AnsiColor::Green),
        Tone::Bad => foreground(AnsiColor::Red).bold(),
        Tone::Wire => foreground(AnsiColor::Blue),
        Tone::Table => foreground(AnsiColor::Yellow),
        Tone::Faint => Style::new().dimmed(),
    }
}

const fn foreground(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(color)))
}

fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// One line: time, who, what.
pub(super) fn entry(entry: &Entry) -> String {
    let at = styled(Style::new().dimmed(), &format!("{:>8}", entry.at.to_string()));
    let who = styled(station(&entry.who), &format!("{:<10}", entry.who));
    format!("{at}  {who}  {}", styled(tone(entry.tone), &entry.what))
}

/// A heading.
pub(super) fn bold(text: &str) -> String {
    styled(Style::new().bold(), text)
}

/// Something that went well.
pub(super) fn good(text: &str) -> String {
    styled(foreground(AnsiColor::Green).bold(), text)
}

/// Something that did not.
pub(super) fn bad(text: &str) -> String {
    styled(foreground(AnsiColor::Red).bold(), text)
}

/// Something that need not be read.
pub(super) fn faint(text: &str) -> String {
    styled(Style::new().dimmed(), text)
}

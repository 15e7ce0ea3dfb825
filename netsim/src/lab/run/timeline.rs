//! What happened, for people: lines of text, and what a picture is drawn from.

use std::fmt;

use ferrolb_api::Time;

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// Information.
    Plain,
    /// Something was achieved.
    Good,
    /// Something is broken, on purpose or not.
    Bad,
    /// Frames on the wire.
    Wire,
    /// A client's neighbour table.
    Table,
    /// Explanation, of use at the first reading.
    Faint,
}

/// One line of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Time,
    /// Who did it, or to whom it was done.
    pub who: String,
    /// How it is meant.
    pub tone: Tone,
    /// What.
    pub what: String,
}

/// `   4.312  wk02        loses power`: the line without colours.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9}  {:<10}  {}", self.at.to_string(), self.who, self.what)
    }
}

/// Something that went from one to another, for the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When it was sent.
    pub at: Time,
    /// By whom.
    pub from: String,
    /// To whom; `None` is everybody on the LAN.
    pub to: Option<String>,
    /// What it is, in a few words.
    pub label: String,
    /// Its colour.
    pub tone: Tone,
}

/// A change in a client's neighbour table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableChange {
    /// When.
    pub at: Time,
    /// Whose table.
    pub client: String,
    /// Which station the address is at now, by name; `None` if unknown.
    pub owner: Option<String>,
    /// The hardware address, as written.
    pub mac: String,
    /// The state of the entry.
    pub state: String,
}

/// Everything that was recorded of a run.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    is_recording: bool,
    /// Lines not yet taken by [`Timeline::take_new`].
    taken: usize,
    entries: Vec<Entry>,
    messages: Vec<Message>,
    tables: Vec<TableChange>,
}

impl Timeline {
    /// A timeline that records, or one that costs nothing.
    #[must_use]
    pub fn new(is_recording: bool) -> Self {
        Self { is_recording, ..Self::default() }
    }

    /// Whether anything is recorded: if not, do not go to the trouble of
    /// finding words.
    #[must_use]
    pub const fn is_recording(&self) -> bool {
        self.is_recording
    }

    /// Adds a line.
    pub fn log(&mut self, at: Time, who: &str, tone: Tone, what: impl Into<String>) {
        if self.is_recording {
            self.entries.push(Entry { at, who: who.to_owned(), tone, what: what.into() });
        }
    }

    /// Adds an arrow to the picture.
    pub fn arrow(&mut self, message: Message) {
        if self.is_recording {
            self.messages.push(message);
        }
    }

    /// Adds a change of a neighbour table.
    pub fn table(&mut self, change: TableChange) {
        if self.is_recording {
            self.tables.push(change);
        }
    }

    /// All lines so far.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All arrows so far.
    #[must_use]
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// All changes of neighbour tables so far.
    #[must_use]
    pub fn tables(&self) -> &[TableChange] {
        &self.tables
    }

    /// The lines that were added since the last call.
    pub fn take_new(&mut self) -> Vec<Entry> {
        let new = self.entries.get(self.taken..).unwrap_or_default().to_vec();
        self.taken = self.entries.len();
        new
    }

    /// The whole timeline as text, one line each.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            text.push_str(&format!("{entry}\n"));
        }
        text
    }
}

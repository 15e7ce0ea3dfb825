//! One log event as one line of JSON, with MetalLB's key names (F40).

use std::fmt;

use jiff::Timestamp;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// Keys that every line has; a field of that name would be ambiguous and is left out.
const OWN_KEYS: [&str; 4] = ["ts", "level", "caller", "msg"];

/// Formats events; spans are not shown.
#[derive(Debug)]
pub(super) struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.write(&mut writer, Timestamp::now(), event.metadata())
    }
}

#[derive(Debug, Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn write(&self, out: &mut Writer<'_>, now: Timestamp, metadata: &Metadata<'_>) -> fmt::Result {
        // Go's RFC 3339 with milliseconds, so that lines sort and line up.
        write!(out, "{{\"ts\":\"{now:.3}\",\"level\":\"{}\"", level_name(*metadata.level()))?;
        let file = short_path(metadata.file().unwrap_or_else(|| metadata.target()));
        let caller = match metadata.line() {
            Some(line) => format!("{file}:{line}"),
            None => file.to_owned(),
        };
        write!(out, ",\"caller\":{}", Value::from(caller))?;
        for (key, value) in &self.others {
            write!(out, ",{}:{value}", Value::from(*key))?;
        }
        if !self.message.is_empty() {
            write!(out, ",\"msg\":{}", Value::from(self.message.as_str()))?;
        }
        writeln!(out, "}}")
    }

    fn push(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            name if OWN_KEYS.contains(&name) => {}
            name => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.push(field, value.to_string().into());
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

/// A dependency's file without the place it was unpacked to.
fn short_path(path: &str) -> &str {
    path.split_once("/registry/src/")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map_or(path, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::process::logs::captured::Captured;

    fn logged(log: impl FnOnce()) -> Value {
        let captured = Captured::default();
        let sink = captured.clone();
        let subscriber =
            tracing_subscriber::fmt().event_format(JsonLine).with_writer(move || sink.clone()).finish();
        tracing::subscriber::with_default(subscriber, log);
        let text = captured.text();
        assert_eq!(text.matches('\n').count(), 1, "one line: {text:?}");
        captured.lines().remove(0)
    }

    #[test]
    fn f40_keys_of_a_line() {
        let line = logged(|| {
            let error = io::Error::other("it \"broke\"\nbadly");
            tracing::warn!(op = "test", count = 3_u64, ok = false, error = %error, "hello\u{1b}[31m");
        });
        assert_eq!(line["level"], "warn");
        assert_eq!(line["msg"], "hello\u{1b}[31m");
        assert_eq!(line["op"], "test");
        assert_eq!(line["count"], 3);
        assert_eq!(line["ok"], false);
        assert_eq!(line["error"], "it \"broke\"\nbadly");
        let caller = line["caller"].as_str().expect("caller is text");
        let (file, number) = caller.rsplit_once(':').expect("file:line");
        assert!(file.ends_with("line.rs") && number.parse::<u32>().is_ok(), "{caller}");
        let ts = line["ts"].as_str().expect("ts is text");
        assert!(ts.parse::<Timestamp>().is_ok() && ts.ends_with('Z') && ts.len() == 24, "{ts}");
    }

    #[test]
    fn a_field_never_doubles_a_key_of_the_line() {
        let line = logged(|| tracing::info!(level = "mine", ts = 1, "kept"));
        assert_eq!(line["level"], "info");
        assert!(line["ts"].is_string());
    }

    #[test]
    fn dependencies_are_named_shortly() {
        assert_eq!(short_path("/r/registry/src/index-1/kube-1.0/src/a.rs"), "kube-1.0/src/a.rs");
        assert_eq!(short_path("controller/src/kube.rs"), "controller/src/kube.rs");
    }
}

//! What a case led to on one side, as texts that can be compared and shown.

use std::fmt;

use regex::Regex;
use tests::backend::Seen;
use tests::client::Response;
use tests::message::{Body, Fields, Head, latin1};
use tests::stats::Stats;

use crate::case::Case;

/// Everything that can be seen of a case from outside the proxy.
#[derive(Default)]
pub(crate) struct Outcome {
    /// The first response's status; 0 where there was none.
    pub(crate) status: u16,
    /// Responses with their interim ones, and how the connection ended where that matters.
    pub(crate) responses: Vec<String>,
    /// Requests that the backends saw.
    pub(crate) upstream: Vec<String>,
    /// Lines of the access log.
    pub(crate) log: Vec<String>,
    /// Spans, in no order of their own.
    pub(crate) spans: Vec<String>,
    /// Counters that grew.
    pub(crate) counters: Stats,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, texts) in [
            ("response", &self.responses),
            ("upstream", &self.upstream),
            ("log", &self.log),
            ("span", &self.spans),
        ] {
            for text in texts {
                writeln!(f, "{name}: {text}")?;
            }
        }
        Ok(())
    }
}

/// Replaces what two runs can never have in common.
pub(crate) struct Mask {
    patterns: Vec<(Regex, String)>,
}

impl Mask {
    /// Ids (but for the digit that says who is traced) and times, then `more`, then texts of this
    /// side alone.
    pub(crate) fn new(more: &[String], own: Vec<(String, &str)>) -> Self {
        let uuid = "[0-9a-f]{8}-[0-9a-f]{4}-([0-9a-f])[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}";
        let patterns =
            [(uuid, "<uuid $1>"), ("(?m)^(date|x-envoy-upstream-service-time): .*$", "$1")];
        let fixed = patterns.map(|(pattern, by)| (pattern.to_owned(), by.to_owned()));
        let own = own.into_iter().map(|(text, by)| (regex::escape(&text), by.to_owned()));
        let more = more.iter().map(|pattern| (pattern.clone(), "<masked>".to_owned()));
        let compile = |(pattern, by): (String, String)| {
            (Regex::new(&pattern).expect("a pattern of a mask"), by)
        };
        Self { patterns: own.chain(fixed).chain(more).map(compile).collect() }
    }

    /// The text without what may differ.
    pub(crate) fn apply(&self, text: &str) -> String {
        let mask = |text: String, (pattern, by): &(Regex, String)| {
            pattern.replace_all(&text, by.as_str()).into_owned()
        };
        self.patterns.iter().fold(text.to_owned(), mask)
    }
}

/// A response as text.
pub(crate) fn response(response: &Response, case: &Case) -> String {
    let mut text = String::new();
    for head in &response.interim {
        text += &head_text(head);
    }
    text + &head_text(&response.head) + &body_text(&response.body, Some(case))
}

/// A request that a backend saw, as text.
pub(crate) fn seen(name: &str, seen: &Seen) -> String {
    format!("({name}) {}{}", head_text(&seen.head), body_text(&seen.body, None))
}

/// Fields ordered by name; fields of one name stay in their order.
pub(crate) fn fields_text(fields: &Fields) -> String {
    let mut fields = fields.clone();
    fields.sort_by_key(|(name, _)| name.to_lowercase());
    fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect()
}

fn head_text(head: &Head) -> String {
    format!("{}\n{}", head.line.trim_end(), fields_text(&head.fields))
}

fn body_text(body: &Body, case: Option<&Case>) -> String {
    let mut text = latin1(&body.bytes);
    if case.is_some_and(|case| case.json)
        && let Ok(value) = serde_json::from_slice::<serde_json::Value>(&body.bytes)
    {
        text = serde_json::to_string_pretty(&value).unwrap_or(text);
    }
    if case.is_some_and(|case| case.sorted) {
        let mut lines: Vec<&str> = text.lines().map(|line| line.trim_end_matches(',')).collect();
        lines.sort_unstable();
        text = lines.join("\n");
    }
    if text.len() > 20_000 {
        text = format!("{} bytes", text.len());
    }
    let trailers = fields_text(&body.trailers);
    let end = if body.complete { "" } else { "\n(incomplete)" };
    format!("\n{text}{end}\n{trailers}")
}

//! Families and cases, as they stand in the files.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use tests::backend::{Reply, Then, When};
use tests::message;

use crate::outcome::Outcome;

/// Cases that share a configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Family {
    /// Fields of the connection manager beside those of the template.
    #[serde(default)]
    pub(crate) manager: Value,
    /// Fields of the listener beside those of the template.
    #[serde(default)]
    pub(crate) listener: Value,
    /// The route configuration.
    pub(crate) routes: Value,
    /// Clusters beside those of the template.
    #[serde(default)]
    pub(crate) clusters: Vec<Value>,
    /// A static layer of runtime keys.
    #[serde(default)]
    pub(crate) runtime: Value,
    /// The access log's format, where it is not the template's; a map is a whole `log_format`.
    #[serde(default)]
    pub(crate) log_format: Value,
    /// Patterns of what may differ in texts.
    #[serde(default)]
    pub(crate) mask: Vec<String>,
    /// Whether there is a collector of spans, behind the cluster `collector`.
    #[serde(default)]
    pub(crate) collects: bool,
    /// Counters are compared whose names match it.
    #[serde(default)]
    pub(crate) counters: Option<String>,
    /// Whether the health flags of the family's clusters are compared after each case.
    #[serde(default)]
    pub(crate) flags: bool,
    pub(crate) cases: Vec<Case>,
}

/// What is sent, what the backend says, and what Envoy is known to answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// The target of a request that is written out for it: GET, HTTP/1.1, `host`.
    #[serde(default)]
    get: Option<String>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    host: Option<String>,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    body: Option<String>,
    /// The bytes themselves instead; `{{x*9}}` repeats x, `{{h#9}}` makes nine headers.
    #[serde(default)]
    raw: Option<String>,
    /// Whether the request travels by HTTP/2.
    #[serde(default)]
    pub(crate) h2: bool,
    /// Whether it is sent to the admin interface.
    #[serde(default)]
    pub(crate) admin: bool,
    /// Numbers that are awaited before anything is sent.
    #[serde(default)]
    pub(crate) once: BTreeMap<String, u64>,
    /// Numbers that are awaited before the outcome is collected.
    #[serde(default)]
    pub(crate) until: BTreeMap<String, u64>,
    /// How many responses are read.
    #[serde(default = "one")]
    pub(crate) responses: usize,
    /// What is said through a tunnel after the first response, and comes back.
    #[serde(default)]
    pub(crate) tunnel: Option<String>,
    /// How many bytes come back, where it is not as many.
    #[serde(default)]
    pub(crate) hear: Option<usize>,
    /// Whether the client says that it sends no more.
    #[serde(default)]
    pub(crate) finish: bool,
    /// Whether the proxy must end the connection by itself.
    #[serde(default)]
    pub(crate) eof: bool,
    /// How many spans the collector gets.
    #[serde(default)]
    pub(crate) spans: usize,
    /// How many log lines there will be, where it is not one a response.
    #[serde(default)]
    pub(crate) logs: Option<usize>,
    /// The backend's replies, byte for byte; without any it says 200 with `hello`.
    #[serde(default)]
    pub(crate) reply: Option<String>,
    #[serde(default)]
    pub(crate) replies: Vec<Said>,
    #[serde(default)]
    pub(crate) mask: Vec<String>,
    /// Whether bodies are compared as JSON values.
    #[serde(default)]
    pub(crate) json: bool,
    /// Whether the order of a body's lines says nothing.
    #[serde(default)]
    pub(crate) sorted: bool,
    /// Envoy's status; 0 where there is no response.
    expect: u16,
}

/// A reply of the backend.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    raw: String,
    /// Whether it comes after the head already.
    #[serde(default)]
    early: bool,
    #[serde(default)]
    then: Option<String>,
}

impl Case {
    /// The bytes to send.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return message::bytes(&expand(raw));
        }
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method(), self.target());
        text += &format!("Host: {}\r\n", self.authority());
        for header in &self.headers {
            text += &format!("{}\r\n", expand(header));
        }
        if let Some(body) = &self.body {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        text += "\r\n";
        text += self.body.as_deref().unwrap_or_default();
        message::bytes(&text)
    }

    pub(crate) fn method(&self) -> &str {
        let written = self.raw.as_deref().and_then(|raw| raw.split(' ').next());
        written.or(self.method.as_deref()).unwrap_or("GET")
    }

    pub(crate) fn target(&self) -> String {
        expand(self.get.as_deref().unwrap_or("/"))
    }

    pub(crate) fn authority(&self) -> &str {
        self.host.as_deref().unwrap_or("example.com")
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (String, String)> {
        let split = |header: &String| {
            let (name, value) = header.split_once(':')?;
            Some((name.to_lowercase(), expand(value.trim())))
        };
        self.headers.iter().filter_map(split)
    }

    pub(crate) fn body(&self) -> Option<&str> {
        self.body.as_deref()
    }

    /// What the backend says to the case's requests.
    pub(crate) fn replies(&self) -> Vec<Reply> {
        let one = self.reply.iter().map(|raw| Reply::bytes(message::bytes(&expand(raw))));
        one.chain(self.replies.iter().map(Said::reply)).collect()
    }

    pub(crate) fn log_lines(&self) -> usize {
        self.logs.unwrap_or(if self.admin { 0 } else { self.responses })
    }

    /// Envoy must answer as the case says, or the case shows something else than it claims.
    pub(crate) fn check(&self, envoy: &Outcome) -> Option<String> {
        let (name, expected, status) = (&self.name, self.expect, envoy.status);
        let text = || format!("== {name}: expected {expected}, Envoy answered {status}\n{envoy}");
        (status != expected).then(text)
    }
}

impl Said {
    fn reply(&self) -> Reply {
        let when = if self.early { When::Head } else { When::Request };
        let then = match self.then.as_deref() {
            None => Then::Keep,
            Some("close") => Then::Close,
            Some("echo") => Then::Echo,
            Some("hang") => Then::Hang,
            Some("reset") => Then::Reset,
            Some(other) => panic!("then: {other}"),
        };
        Reply { bytes: message::bytes(&expand(&self.raw)), when, then }
    }
}

/// Writes out `{{text*times}}` and `{{name#times}}`.
fn expand(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, after) = after.split_once("}}").expect("a closing }}");
        out += before;
        match (inside.rsplit_once('*'), inside.rsplit_once('#')) {
            (Some((part, times)), _) => out += &part.repeat(times.parse().expect("a number")),
            (None, Some((name, times))) => {
                for at in 0..times.parse().expect("a number") {
                    out += &format!("{name}{at}: v\r\n");
                }
            }
            (None, None) => panic!("{{{{{inside}}}}} is neither a repetition nor headers"),
        }
        rest = after;
    }
    out + rest
}

const fn one() -> usize {
    1
}

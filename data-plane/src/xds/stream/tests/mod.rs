//! Scenarios of the protocol, a file a theme, and the property test.
//!
//! [`Script`] plays the server and the clock. What comes out of the stream is written as short
//! lines (see [`line_of_request`] and [`line_of_event`]), so that a test compares whole exchanges.

mod delta;
mod errors;
mod limits;
mod nack;
mod property;
mod reconnect;
mod sotw;
mod timers;
mod wildcard;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::base::clock::Instant;
use bytes::Bytes;

use super::*;
use crate::base::clock;
use crate::config::error::{At, Problems, Reason};

pub(super) const CDS: TypeUrl = TypeUrl::CLUSTER;
pub(super) const EDS: TypeUrl = TypeUrl::ENDPOINTS;
pub(super) const LDS: TypeUrl = TypeUrl::LISTENER;
pub(super) const RDS: TypeUrl = TypeUrl::ROUTES;

/// A stream and the time.
pub(super) struct Script {
    pub(super) stream: AdsStream<String>,
    pub(super) now: Instant,
}

impl Script {
    pub(super) fn new(settings: Settings) -> Self {
        let now = clock::now();
        Self { stream: AdsStream::new(settings, decoder(), now), now }
    }

    /// A stream of `variant` that is open, with the given subscriptions, whose requests are sent.
    pub(super) fn open(variant: Variant, wishes: &[(TypeUrl, &str)]) -> Self {
        let settings = Settings { node_on: NodeOn::FirstRequest, ..Settings::new(variant, 7) };
        let mut script = Self::new(settings);
        for (type_url, name) in wishes {
            script.want(type_url, name);
        }
        script.connect();
        script.sent();
        script
    }

    pub(super) fn handle(&mut self, input: Input) {
        self.stream.handle(input, self.now);
    }

    pub(super) fn want(&mut self, type_url: &TypeUrl, name: &str) {
        self.want_within(type_url, name, None);
    }

    pub(super) fn want_within(&mut self, type_url: &TypeUrl, name: &str, wait: Option<Duration>) {
        self.handle(Input::Subscribe(Subscribe {
            type_url: type_url.clone(),
            name: name.into(),
            initial_fetch_timeout: wait,
        }));
    }

    pub(super) fn unwant(&mut self, type_url: &TypeUrl, name: &str) {
        self.handle(Input::Unsubscribe { type_url: type_url.clone(), name: name.into() });
    }

    /// Waits for the stream to ask for a transport and opens it.
    pub(super) fn connect(&mut self) {
        for _ in 0..100 {
            self.stream.handle_timeout(self.now);
            while let Some(event) = self.stream.poll_event() {
                if event == Event::Connect {
                    self.handle(Input::Opened);
                    return;
                }
            }
            self.now = self.stream.poll_timeout().expect("something is waited for");
        }
        panic!("the stream never asks for a transport");
    }

    pub(super) fn close(&mut self) {
        self.handle(Input::Closed { reason: "gone".into() });
    }

    pub(super) fn respond(&mut self, response: Response) {
        self.handle(Input::Response(response));
    }

    /// A response whose nonce is its version: plain resources in state of the world.
    pub(super) fn sotw(&mut self, type_url: &TypeUrl, version: &str, resources: &[&str]) {
        let resources = resources.iter().map(|body| plain(type_url, body)).collect();
        self.respond(response(type_url, version, resources));
    }

    /// A delta response whose nonce is `nonce`; resources are written `name@version=value`.
    pub(super) fn delta(&mut self, type_url: &TypeUrl, nonce: &str, sent: &[&str], gone: &[&str]) {
        let resources = sent.iter().map(|text| wrapped(type_url, text)).collect();
        let removed = gone.iter().map(|name| Name::from(*name)).collect();
        self.respond(Response { removed, ..response(type_url, nonce, resources) });
    }

    pub(super) fn advance(&mut self, by: Duration) {
        self.now += by;
        self.stream.handle_timeout(self.now);
    }

    /// All requests that may go out now.
    pub(super) fn sent(&mut self) -> Vec<String> {
        let now = self.now;
        std::iter::from_fn(|| self.stream.poll_transmit(now)).map(|r| line_of_request(&r)).collect()
    }

    /// All events that there are now.
    pub(super) fn events(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.stream.poll_event()).map(|e| line_of_event(&e)).collect()
    }
}

pub(super) fn response(type_url: &TypeUrl, version: &str, resources: Vec<RawResource>) -> Response {
    Response {
        type_url: type_url.to_string(),
        version: version.into(),
        nonce: version.into(),
        resources,
        ..Response::default()
    }
}

/// A resource without a wrapper; `body` is `name=value`.
pub(super) fn plain(type_url: &TypeUrl, body: &str) -> RawResource {
    let body = Some(Bytes::copy_from_slice(body.as_bytes()));
    RawResource { type_url: type_url.to_string(), body, ..RawResource::default() }
}

/// A resource in its wrapper, from `name@version=value`; without `=value` it has no body.
pub(super) fn wrapped(type_url: &TypeUrl, text: &str) -> RawResource {
    let (head, value) = text.split_once('=').map_or((text, None), |(h, v)| (h, Some(v)));
    let (name, version) = head.split_once('@').expect("name@version");
    let body = value.map(|value| Bytes::from(format!("{name}={value}")));
    RawResource {
        name: Some(name.into()),
        version: Some(version.into()),
        type_url: type_url.to_string(),
        body,
        ..RawResource::default()
    }
}

/// Reads `name=value`; the value `bad` breaks a rule, bytes without `=` are no resource.
pub(in crate::xds) fn decoder() -> Decode<String> {
    Arc::new(|_, raw: &Bytes| {
        let text = std::str::from_utf8(raw).unwrap_or("");
        let Some((name, value)) = text.split_once('=') else {
            let reason = Reason::Rule("no message of the type".into());
            return Decoded::Undecodable(reason.into());
        };
        if value.starts_with("bad") {
            let reason = Reason::Invalid { got: value.into(), must: "good".into() };
            let result: Result<(), Problems> = Err(reason.into());
            let problems = result.at("value").expect_err("it is an error");
            return Decoded::Rejected { name: name.into(), problems };
        }
        Decoded::Accepted { name: name.into(), value: value.into() }
    })
}

fn short(type_url: &str) -> &str {
    match type_url {
        url if url == CDS.as_str() => "CDS",
        url if url == EDS.as_str() => "EDS",
        url if url == LDS.as_str() => "LDS",
        url if url == RDS.as_str() => "RDS",
        other => other,
    }
}

/// `CDS v1 na [x,y] node NACK(text)` in state of the world, `EDS +[x] -[y] {z:1} na` in delta.
pub(super) fn line_of_request(request: &Request) -> String {
    let mut line = String::new();
    let (node, error) = match request {
        Request::Sotw(r) => {
            line += short(&r.type_url);
            write!(line, " v{} n{} [{}]", r.version, r.nonce, r.names.join(",")).unwrap();
            (r.with_node, &r.error)
        }
        Request::Delta(r) => {
            line += short(&r.type_url);
            write!(line, " +[{}]", r.subscribe.join(",")).unwrap();
            if !r.unsubscribe.is_empty() {
                write!(line, " -[{}]", r.unsubscribe.join(",")).unwrap();
            }
            if !r.initial_versions.is_empty() {
                let pairs: Vec<_> =
                    r.initial_versions.iter().map(|(n, v)| format!("{n}:{v}")).collect();
                write!(line, " {{{}}}", pairs.join(",")).unwrap();
            }
            if !r.nonce.is_empty() {
                write!(line, " n{}", r.nonce).unwrap();
            }
            (r.with_node, &r.error)
        }
    };
    if node {
        line += " node";
    }
    if let Some(error) = error {
        write!(line, " NACK({error})").unwrap();
    }
    line
}

/// `CDS@1 +a=1 ~b -c !d` for an update; other events by their name.
pub(in crate::xds) fn line_of_event(event: &Event<String>) -> String {
    match event {
        Event::Connect => "connect".into(),
        Event::Disconnected { failed, .. } => if *failed { "failed" } else { "ended" }.into(),
        Event::Update(update) => line_of_update(update),
        Event::Absent { type_url, name, why } => {
            format!("absent {} {name} {why:?}", short(type_url.as_str()))
        }
        Event::Ignored { type_url } => format!("ignored {}", short(type_url)),
        Event::FetchTimeout { type_url, name } => {
            format!("fetch-timeout {} {name}", short(type_url.as_str()))
        }
    }
}

fn line_of_update(update: &Update<String>) -> String {
    let mut line = format!("{}@{}", short(update.type_url.as_str()), update.version);
    if update.cause != Cause::Response {
        write!(line, " {:?}", update.cause).unwrap();
    }
    for changed in &update.changed {
        write!(line, " +{}={}", changed.name, changed.value).unwrap();
    }
    for (name, _) in &update.unchanged {
        write!(line, " ~{name}").unwrap();
    }
    for name in &update.removed {
        write!(line, " -{name}").unwrap();
    }
    for bad in &update.rejected {
        write!(line, " !{}", bad.name).unwrap();
    }
    line
}

//! One of the two proxies with backends of its own; runs a case and collects its outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use regex::Regex;
use tests::backend::{self, Backend, Reply};
use tests::client::Connection;
use tests::collector::{Collector, Span};
use tests::h2_backend::H2Backend;
use tests::message::Fields;
use tests::proxy::{Kind, Proxy};
use tests::stats::{self, Stats};
use tests::{h2_client, wait};

use crate::bootstrap::{self, Places};
use crate::case::{Case, Family};
use crate::outcome::{self, Mask, Outcome};

/// Numbers that are compared where the family says nothing else.
const COUNTERS: &str = concat!(
    r"^(http\.in\.(downstream_rq|no_route|no_cluster|rq_)",
    r"|cluster\.[a-z0-9_]+\.((external|internal)\.)?upstream_rq|vhost\.)"
);

/// Numbers that depend on time or on which connection is used again.
const VOLATILE: &str = "_time|_active|_pending|bytes|http1_total";

pub(crate) struct Side {
    proxy: Proxy,
    backend: Backend,
    other: Backend,
    /// Runs as long as the side does.
    _h2: H2Backend,
    collector: Option<Collector>,
    places: Places,
    listener: SocketAddr,
    mask: Vec<String>,
    /// Clusters whose health flags are compared.
    flags: Vec<String>,
    counters: Regex,
    volatile: Regex,
    /// Numbers when the last case had ended.
    before: Stats,
    /// Lines of the access log until then.
    log_lines: usize,
    runtime: tokio::runtime::Runtime,
}

impl Side {
    pub(crate) fn start(kind: Kind, family: &Family) -> Self {
        let collector = family.collects.then(Collector::start);
        let (backend, other, h2) = (Backend::start(), Backend::start(), H2Backend::start());
        let places = Places {
            backend: backend.address(),
            other: other.address(),
            dead: backend::dead_address(),
            h2: h2.address(),
            collector: collector.as_ref().map(Collector::address),
        };
        let proxy = Proxy::start(kind, &bootstrap::text(family, &places));
        let listener = proxy.listener("main");
        let counters = family.counters.as_deref().unwrap_or(COUNTERS);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        Self {
            before: stats::read(proxy.admin_address(), ""),
            proxy,
            backend,
            other,
            _h2: h2,
            collector,
            places,
            listener,
            mask: family.mask.clone(),
            flags: flagged(family),
            counters: Regex::new(counters).expect("a pattern of counters"),
            volatile: Regex::new(VOLATILE).expect("a valid pattern"),
            log_lines: 0,
            runtime: runtime.expect("a runtime for HTTP/2"),
        }
    }

    /// Runs one case; the connection is closed and everything has settled when it returns.
    pub(crate) fn run(&mut self, case: &Case) -> Outcome {
        if !case.once.is_empty() {
            // What went on by itself until then is no case's.
            self.wait_for(&case.once);
            self.before = stats::read(self.proxy.admin_address(), "");
        }
        let replies = case.replies();
        self.other.always(replies.first().cloned().unwrap_or_else(|| Reply::ok("other")));
        self.backend.next(replies);
        let mut outcome = Outcome::default();
        let client =
            if case.h2 { self.http2(case, &mut outcome) } else { self.http1(case, &mut outcome) };
        self.settle();
        self.wait_for(&case.until);
        outcome.log = self.log(case);
        outcome.responses.extend(self.flags());
        for (name, backend) in [("backend", &self.backend), ("other", &self.other)] {
            let seen = backend.take_seen();
            outcome.upstream.extend(seen.iter().map(|seen| outcome::seen(name, seen)));
        }
        outcome.spans = self.spans(case);
        let after = stats::read(self.proxy.admin_address(), "");
        outcome.counters = stats::growth(&self.before, &after);
        let (counters, volatile) = (&self.counters, &self.volatile);
        outcome.counters.retain(|name, _| counters.is_match(name) && !volatile.is_match(name));
        self.before = after;
        self.masked(case, client, outcome)
    }

    fn http1(&self, case: &Case, outcome: &mut Outcome) -> SocketAddr {
        let to = if case.admin { self.proxy.admin_address() } else { self.listener };
        let mut connection = Connection::open(to).expect("the proxy takes connections");
        let client = connection.local().expect("a connected socket has an address");
        // A proxy may answer and close before it took everything; the answer counts.
        let _ = connection.send(&case.bytes());
        if case.finish {
            let _ = connection.finish();
        }
        for _ in 0..case.responses {
            match connection.receive(case.method()) {
                Ok(response) => {
                    if outcome.status == 0 {
                        outcome.status = response.status();
                    }
                    outcome.responses.push(outcome::response(&response, case));
                }
                Err(error) => outcome.responses.push(ending(error.kind())),
            }
        }
        if let Some(text) = &case.tunnel {
            let said = connection.send(text.as_bytes());
            let heard = said.and_then(|()| connection.exactly(case.hear.unwrap_or(text.len())));
            outcome.responses.push(match heard {
                Ok(bytes) => format!("through the tunnel: {}", String::from_utf8_lossy(&bytes)),
                Err(error) => ending(error.kind()),
            });
        }
        if case.eof {
            outcome.responses.push(match connection.rest() {
                Ok(rest) => format!("the end, after {} bytes", rest.len()),
                Err(error) => ending(error.kind()),
            });
        }
        client
    }

    fn http2(&self, case: &Case, outcome: &mut Outcome) -> SocketAddr {
        let unknown = SocketAddr::from(([127, 0, 0, 1], 1));
        let answer = self.runtime.block_on(async {
            let mut connection = h2_client::Connection::open(self.listener).await?;
            let uri = format!("http://{}{}", case.authority(), case.target());
            let mut request = http::Request::builder().method(case.method()).uri(uri);
            for (name, value) in case.headers() {
                request = request.header(name, value);
            }
            let request = request.body(())?;
            let answer = match case.body() {
                Some(body) => {
                    let body = Bytes::copy_from_slice(body.as_bytes());
                    connection.exchange(request, body, None).await
                }
                None => connection.ask(request).await,
            };
            connection.close().await;
            answer
        });
        match answer {
            Ok(answer) => {
                outcome.status = answer.head.status().as_u16();
                let head = outcome::fields_text(&fields(answer.head.headers()));
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                let trailers = answer.trailers.as_ref().map(fields).unwrap_or_default();
                let trailers = outcome::fields_text(&trailers);
                outcome.responses.push(format!("{}\n{head}\n{body}\n{trailers}", outcome.status));
            }
            Err(error) => outcome.responses.push(format!("{error:#}")),
        }
        unknown
    }

    /// Waits until the proxy has forgotten the client, and what it still asks upstreams.
    fn settle(&self) {
        let admin = self.proxy.admin_address();
        wait::until("the end of the client's connection", || {
            let active = stats::read(
                admin,
                r"^(http\.in\.downstream_(cx|rq)|cluster\..*\.upstream_rq(_pending)?)_active$",
            );
            active.values().all(|value| *value == 0).then_some(())
        });
    }

    fn wait_for(&self, numbers: &BTreeMap<String, u64>) {
        for (name, value) in numbers {
            wait::until(name, || {
                (stats::one(self.proxy.admin_address(), name) == *value).then_some(())
            });
        }
    }

    /// The health of every host of the family's clusters.
    fn flags(&self) -> Vec<String> {
        if self.flags.is_empty() {
            return Vec::new();
        }
        let page = self.proxy.admin("/clusters").expect("the page of clusters").text();
        let wanted = |line: &&str| {
            let named = |name: &String| line.split_once("::").is_some_and(|(n, _)| n == name);
            line.contains("::health_flags::") && self.flags.iter().any(named)
        };
        let Places { backend, other, dead, .. } = &self.places;
        let places = [(backend, "<backend>"), (other, "<other>"), (dead, "<dead>")];
        // Ports differ, and their order must not.
        let named = |line: &str| {
            let name = |text: String, (at, name): &(&SocketAddr, &str)| {
                text.replace(&at.to_string(), name)
            };
            places.iter().fold(line.to_owned(), name)
        };
        let lines: BTreeSet<String> = page.lines().filter(wanted).map(named).collect();
        lines.into_iter().collect()
    }

    /// The case's lines of the access log.
    fn log(&mut self, case: &Case) -> Vec<String> {
        let path: PathBuf = self.proxy.folder().join("access.log");
        let wanted = self.log_lines + case.log_lines();
        let read = || {
            // A line that is being written can be seen in part; it counts once it has its end.
            let text = fs::read_to_string(&path).unwrap_or_default();
            text.rfind('\n').map_or(String::new(), |end| text[..=end].to_owned())
        };
        let enough = || {
            let text = read();
            (text.lines().count() >= wanted).then_some(text)
        };
        let text = wait::within(Duration::from_secs(3), enough).unwrap_or_else(read);
        let lines: Vec<_> = text.lines().skip(self.log_lines).map(str::to_owned).collect();
        self.log_lines += lines.len();
        lines
    }

    /// The case's spans: all that came, even where fewer or more were expected.
    fn spans(&self, case: &Case) -> Vec<String> {
        let Some(collector) = &self.collector else { return Vec::new() };
        let mut spans = collector.take();
        let all = || {
            spans.extend(collector.take());
            (spans.len() >= case.spans).then_some(())
        };
        let _all = wait::within(Duration::from_secs(3), all);
        let mut texts: Vec<_> = spans.iter().map(Span::to_string).collect();
        texts.sort_unstable();
        texts
    }

    fn masked(&self, case: &Case, client: SocketAddr, mut outcome: Outcome) -> Outcome {
        let own = vec![
            (client.to_string(), "<client>"),
            (format!(":{}", client.port()), ":<client>"),
            (self.places.backend.to_string(), "<backend>"),
            (self.places.other.to_string(), "<other>"),
            (self.places.dead.to_string(), "<dead>"),
            (self.places.h2.to_string(), "<h2>"),
            (self.listener.to_string(), "<listener>"),
            (self.proxy.admin_address().to_string(), "<admin>"),
            (self.proxy.folder().to_string_lossy().into_owned(), "<folder>"),
        ];
        let patterns = [self.mask.as_slice(), case.mask.as_slice()].concat();
        let mask = Mask::new(&patterns, own);
        let Outcome { responses, upstream, log, spans, .. } = &mut outcome;
        for texts in [responses, upstream, log, spans] {
            texts.iter_mut().for_each(|text| *text = mask.apply(text));
        }
        outcome
    }
}

/// Names of the family's clusters, if their health is looked at.
fn flagged(family: &Family) -> Vec<String> {
    let names = family.clusters.iter().filter_map(|cluster| cluster["name"].as_str());
    names.filter(|_| family.flags).map(str::to_owned).collect()
}

fn fields(headers: &http::HeaderMap) -> Fields {
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    headers.iter().map(text).collect()
}

/// A reset and an end in the middle of a write look alike to the client.
fn ending(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "a reset".to_owned(),
        ErrorKind::UnexpectedEof => "the end".to_owned(),
        other => format!("{other}"),
    }
}

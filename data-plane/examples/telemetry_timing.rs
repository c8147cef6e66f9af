//! What counting and logging cost a request: `cargo run --release --example telemetry_timing`.
//!
//! Prints nanoseconds an operation. Goals: a counter and a histogram value under 2 ns each, a line
//! of Envoy's default access log under 100 ns.

use std::net::SocketAddr;
use std::time::Duration;

use data_plane::base::clock;
use data_plane::telemetry::WorkerId;
use data_plane::telemetry::access_log::{Empty, Entry, Format, LogOptions, Logs, Protocol, Target};
use data_plane::telemetry::metrics::{BuildInfo, Metrics};
use data_plane::telemetry::request_log::{Outcome, Request, RequestLog};
use data_plane::telemetry::stats::{
    ClusterStat, FilesystemStat, HttpStat, Origin, Registry, Scope,
};

const ROUNDS: u32 = 2_000_000;

fn time(what: &str, mut operation: impl FnMut(u64)) {
    let start = clock::now();
    for round in 0..ROUNDS {
        operation(u64::from(round));
    }
    let nanos = start.elapsed().as_nanos() / u128::from(ROUNDS);
    println!("{nanos:>6} ns  {what}");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let worker = WorkerId::worker(0);
    let registry = Registry::new(1);
    let cluster = registry.group::<ClusterStat>(Scope::cluster("local"));
    let http = registry.group::<HttpStat>(Scope::http("edge"));
    time("counter", |_| cluster.inc(worker, ClusterStat::UpstreamRqTotal));
    time("histogram value", |n| http.record(worker, HttpStat::DownstreamRqTime, n % 2000));
    time("response by code", |_| cluster.response(worker, Origin::External, 200));
    let metrics = Metrics::new(1, BuildInfo { version: "0", revision: "0" });
    let service = metrics.service("local");
    time("service", |n| service.completed(worker, 200, Duration::from_micros(n % 20_000)));
    log_lines(worker, &registry)
}

/// What a line of each log costs.
fn log_lines(worker: WorkerId, registry: &Registry) -> Result<(), Box<dyn std::error::Error>> {
    let stats = registry.group::<FilesystemStat>(Scope::plain("filesystem."));
    let logs = Logs::new(1, LogOptions::default(), stats);
    let null = Target::File("/dev/null".into());
    let sink = logs.sink(&null)?;
    let address: SocketAddr = "127.0.0.1:28080".parse()?;
    let headers = http::HeaderMap::from_iter([(
        http::header::USER_AGENT,
        http::HeaderValue::from_static("curl/7.88.1"),
    )]);
    let entry = Entry {
        start: Some(clock::system_now()),
        protocol: Some(Protocol::Http11),
        method: Some("GET"),
        path: Some("/index.html"),
        authority: Some("localhost:8000"),
        request_headers: Some(&headers),
        response_headers: Some(&headers),
        status: Some(200),
        upstream_host: Some(address.into()),
        bytes_sent: 1234,
        duration: Some(Duration::from_millis(3)),
        ..Entry::default()
    };
    let text = Format::default_access_log();
    let mut line = Vec::new();
    time("access log line, text, without its sink", |_| {
        line.clear();
        text.write(&entry, &mut line);
    });
    time("access log line, text", |_| sink.line(worker, |out| text.write(&entry, out)));
    let json = serde_json::json!({
        "start": "%START_TIME%", "method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%",
        "code": "%RESPONSE_CODE%", "duration": "%DURATION%", "host": "%UPSTREAM_HOST%",
    });
    let json = Format::json(&json, Empty::Dash)?;
    time("access log line, JSON", |_| sink.line(worker, |out| json.write(&entry, out)));
    request_lines(worker, &logs, &null, address)
}

fn request_lines(
    worker: WorkerId,
    logs: &Logs,
    null: &Target,
    address: SocketAddr,
) -> Result<(), Box<dyn std::error::Error>> {
    let log = RequestLog::to(logs, null)?;
    let request = Request {
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736",
        w3c_trace_id: None,
        method: "GET",
        path: b"/index.html",
        remote_addr: address.into(),
    };
    let outcome = Outcome {
        status: 200,
        latency: Duration::from_micros(3210),
        service: "local",
        bytes_in: 0,
        bytes_out: 1234,
        flags: data_plane::telemetry::flags::ResponseFlags::NONE,
    };
    time("request log, both lines", |_| {
        log.started(worker, &request);
        log.completed(worker, &request, &outcome);
    });
    Ok(())
}

//! The request log: two JSON lines a request, and one for a caught panic.
//!
//! The serializer is compiled (fixed keys, digits by hand), because a logging framework doubles
//! the cost of a small request. Lines go through a [`Sink`] like those of access logs: buffered by
//! worker, dropped and counted when stderr blocks.

use std::io;
use std::time::{Duration, SystemTime};

use super::WorkerId;
use super::access_log::time::TimeFormat;
use super::access_log::value::{Value, write_json_string, write_number};
use super::access_log::{Addr, LogOptions, Logs, Sink, Target};
use super::flags::ResponseFlags;
use crate::base::clock;

/// What people watch should come at once; this only gathers the lines of a moment.
const INTERVAL: Duration = Duration::from_millis(10);

/// What both lines of a request say.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `trace_id`: the value of `X-Trace-ID`.
    pub trace_id: &'a str,
    /// `w3c_trace_id`: the trace id of a `traceparent`, where it differs from `trace_id`.
    pub w3c_trace_id: Option<&'a str>,
    /// `method`.
    pub method: &'a str,
    /// `path`, with its query, as the client sent it.
    pub path: &'a [u8],
    /// `remote_addr`: address and port of the client.
    pub remote_addr: Addr<'a>,
}

/// What the second line adds.
#[derive(Clone, Copy, Debug)]
pub struct Outcome<'a> {
    /// `status`; 0 when no response was begun.
    pub status: u16,
    /// `latency_ms`, printed with microseconds.
    pub latency: Duration,
    /// `service`: the cluster's name, `none` without a route.
    pub service: &'a str,
    /// `bytes_in`: body bytes of the request.
    pub bytes_in: u64,
    /// `bytes_out`: body bytes of the response.
    pub bytes_out: u64,
    /// `response_flags`.
    pub flags: ResponseFlags,
}

/// What a caught panic's line says.
#[derive(Clone, Copy, Debug)]
pub struct Panic<'a> {
    /// `error`: the panic's message.
    pub error: &'a str,
    /// `method`.
    pub method: &'a str,
    /// `path`.
    pub path: &'a [u8],
    /// `trace_id`.
    pub trace_id: &'a str,
    /// `stack`: the backtrace.
    pub stack: &'a str,
}

/// `level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `info`
    Info,
    /// `warn`
    Warn,
    /// `error`
    Error,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Writes the request log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RequestLog {
    sink: Sink,
}

impl RequestLog {
    /// A log on standard error.
    ///
    /// # Errors
    /// No thread could be started.
    pub fn stderr(logs: &Logs) -> io::Result<Self> {
        Self::to(logs, &Target::Stderr)
    }

    /// A log on another target.
    ///
    /// # Errors
    /// The file cannot be opened, or no thread could be started.
    pub fn to(logs: &Logs, target: &Target) -> io::Result<Self> {
        let options = LogOptions { interval: INTERVAL, ..LogOptions::default() };
        Ok(Self { sink: logs.sink_with(target, options)? })
    }

    /// `request started`.
    pub fn started(&self, worker: WorkerId, request: &Request<'_>) {
        let now = clock::system_now();
        self.sink.line(worker, |out| {
            let mut line = Line::begin(out, Level::Info, now, "request started");
            line.request(request);
            line.end();
        });
    }

    /// `request completed`.
    pub fn completed(&self, worker: WorkerId, request: &Request<'_>, outcome: &Outcome<'_>) {
        let now = clock::system_now();
        self.sink.line(worker, |out| {
            let mut line = Line::begin(out, Level::Info, now, "request completed");
            line.request(request);
            line.number("status", outcome.status.into());
            line.millis("latency_ms", outcome.latency);
            line.text("service", outcome.service.as_bytes());
            line.number("bytes_in", outcome.bytes_in);
            line.number("bytes_out", outcome.bytes_out);
            line.value("response_flags", Value::Flags(outcome.flags));
            line.end();
        });
    }

    /// `panic recovered`.
    pub fn panicked(&self, worker: WorkerId, panic: &Panic<'_>) {
        let now = clock::system_now();
        self.sink.line(worker, |out| {
            let mut line = Line::begin(out, Level::Error, now, "panic recovered");
            line.text("error", panic.error.as_bytes());
            line.text("method", panic.method.as_bytes());
            line.text("path", panic.path);
            line.text("trace_id", panic.trace_id.as_bytes());
            line.text("stack", panic.stack.as_bytes());
            line.end();
        });
    }
}

/// A line in the form of the request log that tells something else (start-up lines), with its line
/// end.
#[must_use]
pub fn message(level: Level, msg: &str, fields: &[(&str, &str)]) -> String {
    let mut out = Vec::with_capacity(160);
    let mut line = Line::begin(&mut out, level, clock::system_now(), msg);
    for (key, value) in fields {
        line.text(key, value.as_bytes());
    }
    line.end();
    String::from_utf8_lossy(&out).into_owned()
}

/// A JSON object on one line, in the making.
struct Line<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Line<'a> {
    fn begin(out: &'a mut Vec<u8>, level: Level, now: SystemTime, msg: &str) -> Self {
        out.extend_from_slice(b"{\"level\":\"");
        out.extend_from_slice(level.as_str().as_bytes());
        out.extend_from_slice(b"\",\"timestamp\":\"");
        TimeFormat::iso().write(now, out);
        out.push(b'"');
        let mut line = Self { out };
        line.text("msg", msg.as_bytes());
        line
    }

    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn text(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        write_json_string(self.out, value);
    }

    fn value(&mut self, key: &str, value: Value<'_>) {
        self.key(key);
        value.write_json(self.out);
    }

    fn number(&mut self, key: &str, number: u64) {
        self.value(key, Value::Number(number));
    }

    /// Milliseconds with three decimals.
    fn millis(&mut self, key: &str, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.number(key, micros / 1000);
        let rest = micros % 1000;
        self.out.push(b'.');
        for digit in [rest / 100, rest / 10 % 10, rest % 10] {
            write_number(self.out, digit);
        }
    }

    fn request(&mut self, request: &Request<'_>) {
        self.text("trace_id", request.trace_id.as_bytes());
        if let Some(id) = request.w3c_trace_id {
            self.text("w3c_trace_id", id.as_bytes());
        }
        self.text("method", request.method.as_bytes());
        self.text("path", request.path);
        self.value("remote_addr", Value::address(Some(request.remote_addr)));
    }

    fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::stats::{FilesystemStat, Registry, Scope};

    const W0: WorkerId = WorkerId::worker(0);

    fn written(write: impl FnOnce(&RequestLog)) -> Vec<serde_json::Value> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let stats = Registry::new(1).group::<FilesystemStat>(Scope::plain("filesystem."));
        let logs = Logs::new(1, LogOptions::default(), stats);
        let log = RequestLog::to(&logs, &Target::File(path.clone())).unwrap();
        write(&log);
        logs.flush(Duration::from_secs(60));
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn request() -> Request<'static> {
        Request {
            trace_id: "t\n1",
            w3c_trace_id: None,
            method: "GET",
            path: b"/a?\"b\"\xff",
            remote_addr: Addr::Ip("127.0.0.1:5000".parse().unwrap()),
        }
    }

    #[test]
    fn a_request_writes_two_lines_with_the_fields_of_the_contract() {
        let lines = written(|log| {
            log.started(W0, &request());
            let outcome = Outcome {
                status: 200,
                latency: Duration::from_micros(1_234_567),
                service: "backend",
                bytes_in: 3,
                bytes_out: 5,
                flags: ResponseFlags::UPSTREAM_CONNECTION_FAILURE,
            };
            log.completed(W0, &request(), &outcome);
        });
        let keys = |line: &serde_json::Value| -> Vec<String> {
            line.as_object().unwrap().keys().cloned().collect()
        };
        let first = ["level", "timestamp", "msg", "trace_id", "method", "path", "remote_addr"];
        assert_eq!(keys(&lines[0]), first);
        assert_eq!(lines[0]["msg"], "request started");
        assert_eq!(lines[0]["trace_id"], "t\n1");
        assert_eq!(lines[0]["remote_addr"], "127.0.0.1:5000");
        assert_eq!(lines[1]["msg"], "request completed");
        assert_eq!(lines[1]["latency_ms"], 1234.567);
        assert_eq!(lines[1]["status"], 200);
        assert_eq!(lines[1]["response_flags"], "UF");
        assert_eq!(lines[1]["bytes_out"], 5);
        let second = ["status", "latency_ms", "service", "bytes_in", "bytes_out", "response_flags"];
        assert_eq!(keys(&lines[1])[first.len()..], second);
    }

    #[test]
    fn a_panic_writes_an_error_with_its_stack() {
        let lines = written(|log| {
            let panic = Panic {
                error: "boom",
                method: "GET",
                path: b"/panic",
                trace_id: "t",
                stack: "0: a\n1: b",
            };
            log.panicked(W0, &panic);
        });
        assert_eq!(lines[0]["level"], "error");
        assert_eq!(lines[0]["msg"], "panic recovered");
        assert_eq!(lines[0]["stack"], "0: a\n1: b");
    }

    #[test]
    fn start_up_lines_have_the_same_form() {
        let line = message(Level::Info, "GoMesh proxy starting", &[("port", "8000")]);
        let json: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(json["msg"], "GoMesh proxy starting");
        assert_eq!(json["port"], "8000");
        let timestamp = json["timestamp"].as_str().unwrap();
        assert_eq!((timestamp.len(), &timestamp[23..]), (24, "Z"));
    }
}

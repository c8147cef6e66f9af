//! The echo service: what arrived, as JSON; and ways to misbehave on request.
//!
//! | path | answer |
//! | --- | --- |
//! | `/health` | 200 |
//! | `/slow?ms=N` | the echo, after N milliseconds (at most a minute) |
//! | `/status/CODE` | the echo with that status |
//! | `/panic` | none: the connection breaks, or the whole process ends |
//! | any other | the echo |

use std::time::Duration;

use http::StatusCode;
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};

use crate::server::{self, Broken, Reply, Request, Service};

/// Longest delay of `/slow`.
const SLOW_MAX: Duration = Duration::from_secs(60);

/// How much of a body is echoed; a longer one is answered with 413.
const BODY_MAX: usize = 1024 * 1024;

/// Exit code of a process that `/panic` ends, as of a Rust program that panicked.
const PANICKED: i32 = 101;

/// Where the `[BACKEND]` lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// To stderr: stdout belongs to someone else.
    Stderr,
    /// To stdout.
    Stdout,
}

impl Lines {
    /// Writes one line; a closed pipe is no reason to end.
    pub fn say(self, text: &str) {
        use std::io::Write as _;
        let _closed = match self {
            Self::Stderr => writeln!(std::io::stderr(), "[BACKEND] {text}"),
            Self::Stdout => writeln!(std::io::stdout(), "[BACKEND] {text}"),
        };
    }
}

/// What `/panic` breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnPanic {
    /// The connection on which it was asked for.
    BreakConnection,
    /// The process.
    Exit,
}

/// An echo service.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Its name in answers.
    pub service: String,
    /// Its version in answers.
    pub version: String,
    /// What `/panic` does.
    pub on_panic: OnPanic,
    /// Where its lines go.
    pub lines: Lines,
}

impl Service for Backend {
    async fn answer(&self, request: Request) -> Result<Reply, Broken> {
        let (head, body) = request.into_parts();
        let asked = Asked::new(&head);
        let Asked { method, path, trace_id, .. } = &asked;
        self.lines.say(&format!("Received: {method} {path} | Trace-ID: {trace_id}"));
        let body = match Limited::new(body, BODY_MAX).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let message = format!("bodies end at {BODY_MAX} bytes here");
                return Ok(server::json(StatusCode::PAYLOAD_TOO_LARGE, &json!({"error": message})));
            }
            // The client has gone; nobody reads an answer.
            Err(_) => return Err(Broken),
        };
        let status = match path.as_str() {
            "/health" => {
                let healthy = json!({"status": "healthy", "version": self.version});
                return Ok(server::json(StatusCode::OK, &healthy));
            }
            "/panic" => return self.panic(&asked),
            "/slow" => {
                tokio::time::sleep(delay(head.uri.query())).await;
                StatusCode::OK
            }
            other => match other.strip_prefix("/status/").map(status) {
                None => StatusCode::OK,
                Some(Some(status)) => status,
                Some(None) => {
                    let error = json!({"error": "a status is a number from 200 to 599"});
                    return Ok(server::json(StatusCode::BAD_REQUEST, &error));
                }
            },
        };
        Ok(server::json(status, &self.echo(&asked, &body)))
    }
}

impl Backend {
    fn panic(&self, asked: &Asked) -> Result<Reply, Broken> {
        self.lines.say(&format!("Breaking on purpose | Trace-ID: {}", asked.trace_id));
        match self.on_panic {
            OnPanic::BreakConnection => Err(Broken),
            OnPanic::Exit => std::process::exit(PANICKED),
        }
    }

    fn echo(&self, asked: &Asked, body: &[u8]) -> Value {
        let mut echo = json!({
            "message": "Hello from the backend service!",
            "timestamp": jiff::Timestamp::now().to_string(),
            "path": asked.path,
            "method": asked.method,
            "trace_id": asked.trace_id,
            "version": self.version,
            "service": self.service,
        });
        if let Some(query) = &asked.query {
            echo["query"] = json!(query);
        }
        if let Some(traceparent) = &asked.traceparent {
            echo["traceparent"] = json!(traceparent);
        }
        if !body.is_empty() {
            echo["body"] = json!(String::from_utf8_lossy(body));
        }
        echo
    }
}

/// What a request says of itself.
struct Asked {
    method: String,
    path: String,
    query: Option<String>,
    trace_id: String,
    traceparent: Option<String>,
}

impl Asked {
    fn new(head: &http::request::Parts) -> Self {
        let text = |name: &str| {
            let value = head.headers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Self {
            method: head.method.to_string(),
            path: head.uri.path().to_owned(),
            query: head.uri.query().map(ToOwned::to_owned),
            trace_id: text("x-trace-id").unwrap_or_else(|| "none".to_owned()),
            traceparent: text("traceparent"),
        }
    }
}

fn delay(query: Option<&str>) -> Duration {
    let pairs = query.unwrap_or_default().split('&');
    let ms = pairs.filter_map(|pair| pair.strip_prefix("ms=")).find_map(|ms| ms.parse().ok());
    Duration::from_millis(ms.unwrap_or_default()).min(SLOW_MAX)
}

/// Final statuses only: 1xx is no answer.
fn status(text: &str) -> Option<StatusCode> {
    text.parse()
        .ok()
        .filter(|code| (200..600).contains(code))
        .and_then(|code: u16| StatusCode::from_u16(code).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_read_and_bounded() {
        assert_eq!(delay(None), Duration::ZERO);
        assert_eq!(delay(Some("ms=abc")), Duration::ZERO);
        assert_eq!(delay(Some("x=1&ms=250")), Duration::from_millis(250));
        assert_eq!(delay(Some("ms=999999999")), SLOW_MAX);
    }

    #[test]
    fn only_final_statuses_are_answered() {
        assert_eq!(status("404"), Some(StatusCode::NOT_FOUND));
        for wrong in ["100", "199", "600", "", "abc", "20x"] {
            assert_eq!(status(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn the_echo_names_its_parts_in_order() {
        let backend = Backend {
            service: "backend".into(),
            version: "v2".into(),
            on_panic: OnPanic::BreakConnection,
            lines: Lines::Stderr,
        };
        let asked = Asked {
            method: "POST".into(),
            path: "/api".into(),
            query: Some("a=1".into()),
            trace_id: "t-1".into(),
            traceparent: None,
        };
        let echo = backend.echo(&asked, b"hi");
        let keys: Vec<&String> = echo.as_object().map(|o| o.keys().collect()).unwrap_or_default();
        assert_eq!(keys[..6], ["message", "timestamp", "path", "method", "trace_id", "version"]);
        assert_eq!((&echo["trace_id"], &echo["version"]), (&json!("t-1"), &json!("v2")));
        assert_eq!((&echo["query"], &echo["body"]), (&json!("a=1"), &json!("hi")));
    }
}

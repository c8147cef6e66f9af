//! Configuration of the panic filter: `{path, at}` as the value of a `TypedStruct`.

use std::fmt;
use std::sync::Arc;

use proto::google::protobuf::value::Kind;

use crate::config::error::{At as _, Collector, Problems, Reason};
use crate::config::extension::Body;

/// Full name of the message that a `TypedStruct` names.
pub(super) const MESSAGE: &str = "gomesh.filters.http.panic.v1.Panic";

/// Where and when it panics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicConfig {
    /// The path, without query, compared exactly; default `/panic`.
    pub path: Arc<str>,
    /// The point of a request; default `request_head`.
    pub at: At,
}

impl Default for PanicConfig {
    fn default() -> Self {
        Self { path: "/panic".into(), at: At::RequestHead }
    }
}

/// A point of a request's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum At {
    /// The request's head.
    RequestHead,
    /// The first part of its body.
    RequestBody,
    /// Its trailers.
    RequestTrailers,
    /// The response's head.
    ResponseHead,
    /// The first part of its body.
    ResponseBody,
    /// Its trailers.
    ResponseTrailers,
    /// After the end, where the request is recorded.
    Done,
}

impl At {
    /// All points and their names, in the order of a request.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::RequestHead, "request_head"),
        (Self::RequestBody, "request_body"),
        (Self::RequestTrailers, "request_trailers"),
        (Self::ResponseHead, "response_head"),
        (Self::ResponseBody, "response_body"),
        (Self::ResponseTrailers, "response_trailers"),
        (Self::Done, "done"),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, text)| *text == name).map(|(at, _)| *at)
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(at, _)| at == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// Reads the value of the `TypedStruct`.
pub(super) fn parse(body: &Body<'_>) -> Result<PanicConfig, Problems> {
    let Body::Struct(value) = body else {
        return Err(Reason::Rule(format!("{MESSAGE} is written as a TypedStruct only")).into());
    };
    let mut config = PanicConfig::default();
    let mut problems = Collector::default();
    for (key, value) in &value.fields {
        let text = match &value.kind {
            Some(Kind::StringValue(text)) => text.as_str(),
            _ => "",
        };
        let read = match key.as_str() {
            "path" if text.starts_with('/') => {
                config.path = text.into();
                Ok(())
            }
            "path" => Err(invalid(text, "a path that begins with '/'")),
            "at" => At::named(text).map(|at| config.at = at).ok_or_else(|| {
                let names: Vec<_> = At::ALL.iter().map(|(_, name)| *name).collect();
                invalid(text, &format!("one of {}", names.join(", ")))
            }),
            _ => Err(Reason::Rule("unknown field; must be path or at".to_owned()).into()),
        };
        problems.keep(read.at_key("value", key));
    }
    problems.finish().map(|()| config)
}

fn invalid(got: &str, must: &str) -> Problems {
    Reason::Invalid { got: format!("\"{got}\""), must: must.to_owned() }.into()
}

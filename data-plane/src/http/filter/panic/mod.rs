//! `gomesh.filters.http.panic`: panics on one path, at one point of a request.
//!
//! It shows, and lets tests prove through the real binary, that a panic costs one request and
//! nothing else. It exists by explicit configuration only (contracts §9): on the wire a
//! `xds.type.v3.TypedStruct` with `type_url`
//! `type.googleapis.com/gomesh.filters.http.panic.v1.Panic` and value `{path, at}`, `is_optional:
//! true` so that real Envoy takes the same listener.

mod config;

use std::sync::Arc;

use crate::codec::{BodyPart, RequestHead, ResponseHead};
use crate::config::error::Problems;
use crate::config::extension::{Body, ExtensionConfig, ExtensionParser};
use crate::config::resource::ParseCx;
use crate::http::exchange::Exchange;
use crate::http::filter::{
    FilterCx, FilterFactory, FilterKind, HttpFilter, Interest, PartStep, ResponseStep, Step,
};

pub use config::{At, PanicConfig};

/// The kind, for the registry.
pub struct Kind;

impl ExtensionParser for Kind {
    fn name(&self) -> &'static str {
        "gomesh.filters.http.panic"
    }

    fn message(&self) -> &'static str {
        config::MESSAGE
    }

    fn parse(&self, body: &Body<'_>, _: &ParseCx<'_>) -> Result<ExtensionConfig, Problems> {
        config::parse(body).map(|config| ExtensionConfig::new(config::MESSAGE, config))
    }
}

impl FilterKind for Kind {
    fn build(&self, config: &ExtensionConfig, _: &FilterCx<'_>) -> Arc<dyn FilterFactory> {
        let config = config.value::<PanicConfig>().cloned().unwrap_or_default();
        Arc::new(Factory(config))
    }
}

#[derive(Debug)]
struct Factory(PanicConfig);

impl FilterFactory for Factory {
    fn create(&self, _: &[&ExtensionConfig]) -> Box<dyn HttpFilter> {
        Box::new(Filter { config: self.0.clone(), armed: false })
    }

    fn interest(&self) -> Interest {
        Interest {
            request_body: matches!(self.0.at, At::RequestBody | At::RequestTrailers),
            response_body: matches!(self.0.at, At::ResponseBody | At::ResponseTrailers),
            emits: false,
        }
    }
}

struct Filter {
    config: PanicConfig,
    /// The request's path is the configured one.
    armed: bool,
}

impl Filter {
    fn reach(&self, at: At) {
        assert!(
            !(self.armed && self.config.at == at),
            "intentional panic for testing recovery at {at}"
        );
    }

    fn reach_part(&self, part: &BodyPart, data: At, trailers: At) {
        match part {
            BodyPart::Data(_) => self.reach(data),
            BodyPart::Trailers(_) => self.reach(trailers),
        }
    }
}

impl HttpFilter for Filter {
    fn on_request(&mut self, head: &mut RequestHead, _: &mut Exchange) -> Step {
        let path = crate::route::path_before_query(head.path.as_bytes());
        self.armed = path == self.config.path.as_bytes();
        self.reach(At::RequestHead);
        Step::Continue
    }

    fn on_request_part(&mut self, part: BodyPart, _: &mut Exchange) -> PartStep {
        self.reach_part(&part, At::RequestBody, At::RequestTrailers);
        PartStep::pass(part)
    }

    fn on_response(&mut self, _: &mut ResponseHead, _: &mut Exchange) -> ResponseStep {
        self.reach(At::ResponseHead);
        ResponseStep::Continue
    }

    fn on_response_part(&mut self, part: BodyPart, _: &mut Exchange) -> PartStep {
        self.reach_part(&part, At::ResponseBody, At::ResponseTrailers);
        PartStep::pass(part)
    }

    fn on_done(&mut self, _: &mut Exchange) {
        self.reach(At::Done);
    }
}

//! Which fault a request gets: pure but for the chance that its share leaves.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::config::{FaultConfig, Length, Share, Status};
use crate::http::names as n;
use crate::route::{RouteInput, header_matches};

/// One request and what is configured for it.
pub(super) struct Decide<'a> {
    config: &'a FaultConfig,
    request: RouteInput<'a>,
    /// The cluster that its route leads to.
    cluster: Option<&'a str>,
    /// Chance.
    random: &'a dyn Fn() -> u64,
}

impl<'a> Decide<'a> {
    pub(super) fn new(
        config: &'a FaultConfig,
        request: RouteInput<'a>,
        cluster: Option<&'a str>,
        random: &'a dyn Fn() -> u64,
    ) -> Self {
        Self { config, request, cluster, random }
    }

    /// Whether the configuration speaks of this request at all.
    pub(super) fn concerned(&self) -> bool {
        let Self { config, request, cluster, .. } = self;
        let node = || request.headers.get(n::X_ENVOY_DOWNSTREAM_SERVICE_NODE)?.to_str().ok();
        let known = |node: &str| config.nodes.binary_search_by(|known| (**known).cmp(node)).is_ok();
        config.upstream_cluster.as_deref().is_none_or(|wanted| *cluster == Some(wanted))
            && (config.nodes.is_empty() || node().is_some_and(known))
            && config.headers.iter().all(|header| header_matches(header, request))
    }

    /// Most faults that may be active at one time.
    pub(super) fn limit(&self) -> u64 {
        let written = self.config.max_active.map_or(u64::MAX, u64::from);
        self.request.runtime.integer(&self.config.keys.max_active).unwrap_or(written)
    }

    /// How long it is held up.
    pub(super) fn delay(&self) -> Option<Duration> {
        let delay = self.config.delay.as_ref()?;
        let share = match delay.length {
            Length::Fixed(_) => delay.share,
            Length::Header => self.asked(delay.share, &n::X_ENVOY_FAULT_DELAY_REQUEST_PERCENTAGE),
        };
        let keys = &self.config.keys;
        if !self.hit(share, &keys.delay_percent, "delay.fixed_delay_percent") {
            return None;
        }
        let written = match delay.length {
            Length::Fixed(length) => u64::try_from(length.as_millis()).unwrap_or(u64::MAX),
            Length::Header => number(self.request.headers, &n::X_ENVOY_FAULT_DELAY_REQUEST)?,
        };
        let millis = self.request.runtime.integer(&keys.delay_duration).unwrap_or(written);
        let millis = self.of_caller("delay.fixed_duration_ms").unwrap_or(millis);
        (millis > 0).then(|| Duration::from_millis(millis))
    }

    /// What it is answered: an HTTP status, and a gRPC status where that was configured.
    pub(super) fn abort(&self) -> Option<(u16, Option<u32>)> {
        let abort = self.config.abort.as_ref()?;
        let share = match abort.status {
            Status::Http(_) | Status::Grpc(_) => abort.share,
            Status::Header => self.asked(abort.share, &n::X_ENVOY_FAULT_ABORT_REQUEST_PERCENTAGE),
        };
        let keys = &self.config.keys;
        if !self.hit(share, &keys.abort_percent, "abort.abort_percent") {
            return None;
        }
        let headers = self.request.headers;
        let (http, grpc) = match abort.status {
            Status::Http(status) => (Some(u64::from(status)), None),
            Status::Grpc(status) => (None, Some(u64::from(status))),
            Status::Header => (
                number(headers, &n::X_ENVOY_FAULT_ABORT_REQUEST)
                    .filter(|status| (200..600).contains(status)),
                number(headers, &n::X_ENVOY_FAULT_ABORT_GRPC_REQUEST),
            ),
        };
        if let Some(written) = http {
            let status = self.changed(written, &keys.abort_http_status, "abort.http_status");
            return Some((u16::try_from(status).unwrap_or(500), None));
        }
        let status = self.changed(grpc?, &keys.abort_grpc_status, "abort.grpc_status");
        Some((200, Some(u32::try_from(status).unwrap_or(u32::MAX))))
    }

    /// A share that the request may ask to be smaller, never larger.
    fn asked(&self, share: Share, by: &HeaderName) -> Share {
        let asked = number(self.request.headers, by).and_then(|asked| u32::try_from(asked).ok());
        let numerator = asked.map_or(share.numerator, |asked| asked.min(share.numerator));
        Share { numerator, ..share }
    }

    /// Whether chance picks it. The caller's own key stands in place of the general one.
    fn hit(&self, share: Share, key: &str, of_caller: &str) -> bool {
        let runtime = self.request.runtime;
        let found = match self.key_of_caller(of_caller) {
            Some(key) => runtime.fraction(&key),
            None => runtime.fraction(key),
        };
        let (numerator, denominator) = found.unwrap_or((share.numerator, share.denominator));
        (self.random)() % u64::from(denominator.max(1)) < u64::from(numerator)
    }

    /// A number that runtime keys may change; the caller's own key has the last word.
    fn changed(&self, written: u64, key: &str, of_caller: &str) -> u64 {
        match self.key_of_caller(of_caller) {
            Some(key) => self.request.runtime.integer(&key).unwrap_or(written),
            None => self.request.runtime.integer(key).unwrap_or(written),
        }
    }

    fn of_caller(&self, what: &str) -> Option<u64> {
        self.request.runtime.integer(&self.key_of_caller(what)?)
    }

    /// A runtime key with the caller's name in it, where it says one.
    fn key_of_caller(&self, what: &str) -> Option<String> {
        let name = self.request.headers.get(n::X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER)?;
        let name = name.to_str().ok().filter(|name| !name.is_empty())?;
        Some(format!("fault.http.{name}.{what}"))
    }
}

/// The first value of a field as a number (`absl::SimpleAtoi`: spaces around it do not count).
fn number(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    headers
        .get(name)
        .map(HeaderValue::as_bytes)
        .and_then(|value| std::str::from_utf8(value).ok()?.trim_ascii().parse().ok())
}

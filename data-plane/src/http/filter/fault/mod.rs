//! `envoy.filters.http.fault`: holds requests up or answers them without their upstream, to try
//! out what callers make of it.
//!
//! The most specific configuration of the route replaces the chain's, as in Envoy. A request that
//! gets no fault costs the comparisons that decide it and nothing else.

mod config;
mod counters;
mod decide;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use crate::codec::RequestHead;
use crate::config::error::Problems;
use crate::config::extension::{Body, ExtensionConfig, ExtensionParser, PolicyRow};
use crate::config::resource::ParseCx;
use crate::http::exchange::Exchange;
use crate::http::filter::{FilterCx, FilterFactory, FilterKind, HttpFilter, Step, Wake};
use crate::http::names::X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER;
use crate::http::reply::LocalReply;
use crate::telemetry::flags::ResponseFlags;

pub use config::{Abort, Delay, FaultConfig, Keys, Length, Share, Status};
use counters::Counters;
use decide::Decide;

/// The kind, for the registry.
pub struct Kind;

impl ExtensionParser for Kind {
    fn name(&self) -> &'static str {
        "envoy.filters.http.fault"
    }

    fn message(&self) -> &'static str {
        config::MESSAGE
    }

    fn fields(&self) -> &'static [PolicyRow<'static>] {
        config::ROWS
    }

    fn parse(&self, body: &Body<'_>, _: &ParseCx<'_>) -> Result<ExtensionConfig, Problems> {
        config::parse(body).map(|config| ExtensionConfig::new(config::MESSAGE, config))
    }

    fn parse_override(
        &self,
        body: &Body<'_>,
        cx: &ParseCx<'_>,
    ) -> Result<ExtensionConfig, Problems> {
        self.parse(body, cx)
    }
}

impl FilterKind for Kind {
    fn build(&self, config: &ExtensionConfig, cx: &FilterCx<'_>) -> Arc<dyn FilterFactory> {
        let counters = Arc::new(Counters::new(cx.registry, cx.stat_prefix));
        Arc::new(Factory { config: config.clone(), counters })
    }
}

#[derive(Debug)]
struct Factory {
    config: ExtensionConfig,
    counters: Arc<Counters>,
}

impl FilterFactory for Factory {
    fn create(&self, overrides: &[&ExtensionConfig]) -> Box<dyn HttpFilter> {
        let config = overrides.last().copied().unwrap_or(&self.config).clone();
        Box::new(Filter { config, counters: Arc::clone(&self.counters), active: false })
    }
}

struct Filter {
    config: ExtensionConfig,
    counters: Arc<Counters>,
    /// It counts as an active fault.
    active: bool,
}

impl Filter {
    /// Whether there is room for one more fault. One request counts once, whatever it gets.
    fn activate(&mut self, limit: u64, ex: &Exchange) -> bool {
        self.active = self.active || self.counters.activate(limit, ex.worker.id);
        self.active
    }

    fn deactivate(&mut self) {
        if std::mem::take(&mut self.active) {
            self.counters.deactivate();
        }
    }

    fn delay(&mut self, head: &RequestHead, ex: &mut Exchange) -> Option<Duration> {
        let (length, limit) = self.decide(head, ex, |decide| decide.delay())?;
        if !self.activate(limit, ex) {
            return None;
        }
        self.counters.delayed(ex.worker.id, self.caller(head));
        ex.flags.insert(ResponseFlags::DELAY_INJECTED);
        Some(length)
    }

    fn abort(&mut self, head: &RequestHead, ex: &Exchange) -> Option<Box<LocalReply>> {
        let ((status, grpc_status), limit) = self.decide(head, ex, |decide| decide.abort())?;
        if !self.activate(limit, ex) {
            return None;
        }
        self.counters.aborted(ex.worker.id, self.caller(head));
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = self.config.value::<FaultConfig>()?.abort.as_ref()?.body.clone();
        let mut reply = LocalReply::new(status, body, "fault_filter_abort");
        reply.flags = ResponseFlags::FAULT_INJECTED;
        reply.grpc_status = grpc_status;
        Some(Box::new(reply))
    }

    /// What `what` says of the request, if it is concerned, and how many faults may be active.
    fn decide<T>(
        &self,
        head: &RequestHead,
        ex: &Exchange,
        what: impl FnOnce(&Decide<'_>) -> Option<T>,
    ) -> Option<(T, u64)> {
        let request = ex.route_input(head);
        let route = ex.route();
        let cluster = route.as_ref().and_then(|route| route.cluster(&request));
        let random = || ex.worker.random_u64();
        let config = self.config.value::<FaultConfig>()?;
        let decide = Decide::new(config, request, cluster, &random);
        if !decide.concerned() {
            return None;
        }
        Some((what(&decide)?, decide.limit()))
    }

    /// Who asks, where faults are counted by that.
    fn caller<'h>(&self, head: &'h RequestHead) -> Option<&'h str> {
        let config = self.config.value::<FaultConfig>()?;
        let name = head.headers.get(X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER)?.to_str().ok()?;
        (config.counts_clusters && !name.is_empty()).then_some(name)
    }

    fn abort_or_continue(&mut self, head: &RequestHead, ex: &Exchange) -> Step {
        self.abort(head, ex).map_or(Step::Continue, Step::Reply)
    }
}

impl HttpFilter for Filter {
    fn on_request(&mut self, head: &mut RequestHead, ex: &mut Exchange) -> Step {
        match self.delay(head, ex) {
            None => self.abort_or_continue(head, ex),
            Some(length) => Step::Wait(Box::pin(async move {
                tokio::time::sleep(length).await;
                Box::new(()) as Wake
            })),
        }
    }

    fn on_wake(&mut self, _: Wake, head: &mut RequestHead, ex: &mut Exchange) -> Step {
        self.abort_or_continue(head, ex)
    }

    fn on_done(&mut self, _: &mut Exchange) {
        self.deactivate();
    }
}

impl Drop for Filter {
    /// A request that ends in a panic is never told that it is over.
    fn drop(&mut self) {
        self.deactivate();
    }
}

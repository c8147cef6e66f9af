//! Header names of Envoy's and of ours that the `http` crate does not know.

use http::HeaderName;

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {$(
        $(#[$doc])*
        pub const $name: HeaderName = HeaderName::from_static($text);
    )*};
}

names! {
    /// How long a gRPC call may take.
    GRPC_TIMEOUT = "grpc-timeout";
    /// Hop-by-hop of HTTP/1.0.
    KEEP_ALIVE = "keep-alive";
    /// Hop-by-hop, from browsers to proxies.
    PROXY_CONNECTION = "proxy-connection";
    /// W3C trace context.
    TRACEPARENT = "traceparent";
    /// Number of the attempt, from 1.
    X_ENVOY_ATTEMPT_COUNT = "x-envoy-attempt-count";
    /// Name of the operation for a span.
    X_ENVOY_DECORATOR_OPERATION = "x-envoy-decorator-operation";
    /// `node.cluster` of the caller.
    X_ENVOY_DOWNSTREAM_SERVICE_CLUSTER = "x-envoy-downstream-service-cluster";
    /// `node.id` of the caller.
    X_ENVOY_DOWNSTREAM_SERVICE_NODE = "x-envoy-downstream-service-node";
    /// How long the caller waits, in ms.
    X_ENVOY_EXPECTED_RQ_TIMEOUT_MS = "x-envoy-expected-rq-timeout-ms";
    /// Asks for an answer with that gRPC status.
    X_ENVOY_FAULT_ABORT_GRPC_REQUEST = "x-envoy-fault-abort-grpc-request";
    /// Asks for an answer with that status.
    X_ENVOY_FAULT_ABORT_REQUEST = "x-envoy-fault-abort-request";
    /// The same for a share of requests only.
    X_ENVOY_FAULT_ABORT_REQUEST_PERCENTAGE = "x-envoy-fault-abort-request-percentage";
    /// Asks to be held up for so many ms.
    X_ENVOY_FAULT_DELAY_REQUEST = "x-envoy-fault-delay-request";
    /// The same for a share of requests only.
    X_ENVOY_FAULT_DELAY_REQUEST_PERCENTAGE = "x-envoy-fault-delay-request-percentage";
    /// The client's address as the edge saw it.
    X_ENVOY_EXTERNAL_ADDRESS = "x-envoy-external-address";
    /// Asks for a trace.
    X_ENVOY_FORCE_TRACE = "x-envoy-force-trace";
    /// Hedging.
    X_ENVOY_HEDGE_ON_PER_TRY_TIMEOUT = "x-envoy-hedge-on-per-try-timeout";
    /// The request comes from inside.
    X_ENVOY_INTERNAL = "x-envoy-internal";
    /// It is a retry after an attempt that took too long.
    X_ENVOY_IS_TIMEOUT_RETRY = "x-envoy-is-timeout-retry";
    /// Tags of the client's address.
    X_ENVOY_IP_TAGS = "x-envoy-ip-tags";
    /// Retries allowed.
    X_ENVOY_MAX_RETRIES = "x-envoy-max-retries";
    /// Host before a rewrite.
    X_ENVOY_ORIGINAL_HOST = "x-envoy-original-host";
    /// Path before a rewrite.
    X_ENVOY_ORIGINAL_PATH = "x-envoy-original-path";
    /// URL before an internal redirect.
    X_ENVOY_ORIGINAL_URL = "x-envoy-original-url";
    /// A circuit breaker is open.
    X_ENVOY_OVERLOADED = "x-envoy-overloaded";
    /// A rate limit said no.
    X_ENVOY_RATELIMITED = "x-envoy-ratelimited";
    /// Headers that make a response retriable.
    X_ENVOY_RETRIABLE_HEADER_NAMES = "x-envoy-retriable-header-names";
    /// Statuses that make a response retriable.
    X_ENVOY_RETRIABLE_STATUS_CODES = "x-envoy-retriable-status-codes";
    /// Conditions of a retry for gRPC.
    X_ENVOY_RETRY_GRPC_ON = "x-envoy-retry-grpc-on";
    /// Conditions of a retry.
    X_ENVOY_RETRY_ON = "x-envoy-retry-on";
    /// Second name of the cluster in counters.
    X_ENVOY_UPSTREAM_ALT_STAT_NAME = "x-envoy-upstream-alt-stat-name";
    /// Timeout of one attempt, in ms.
    X_ENVOY_UPSTREAM_RQ_PER_TRY_TIMEOUT_MS = "x-envoy-upstream-rq-per-try-timeout-ms";
    /// 204 in place of 504.
    X_ENVOY_UPSTREAM_RQ_TIMEOUT_ALT_RESPONSE = "x-envoy-upstream-rq-timeout-alt-response";
    /// Timeout of the request, in ms.
    X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS = "x-envoy-upstream-rq-timeout-ms";
    /// How long the upstream took, in ms.
    X_ENVOY_UPSTREAM_SERVICE_TIME = "x-envoy-upstream-service-time";
    /// Who the callers' certificates say they are.
    X_FORWARDED_CLIENT_CERT = "x-forwarded-client-cert";
    /// A limit of the caller's on how long the upstream's stream may last.
    X_ENVOY_UPSTREAM_STREAM_DURATION_MS = "x-envoy-upstream-stream-duration-ms";
    /// Who asked, and for whom.
    X_FORWARDED_FOR = "x-forwarded-for";
    /// Host before a rewrite.
    X_FORWARDED_HOST = "x-forwarded-host";
    /// Port that the client spoke to.
    X_FORWARDED_PORT = "x-forwarded-port";
    /// Scheme that the client used.
    X_FORWARDED_PROTO = "x-forwarded-proto";
    /// The request's id.
    X_REQUEST_ID = "x-request-id";
    /// What tracing systems add to `traceparent`.
    TRACESTATE = "tracestate";
    /// A client's own id, which asks for a trace.
    X_CLIENT_TRACE_ID = "x-client-trace-id";
    /// Our trace id.
    X_TRACE_ID = "x-trace-id";
}

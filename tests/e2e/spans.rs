//! Spans: which requests are traced, what their upstreams are told, what a collector gets.

use serde_json::{Value, json};
use tests::backend::{self, Backend, Reply};
use tests::client::{Connection, Response};
use tests::collector::{Collector, Span};
use tests::message::Head;
use tests::proxy::{Kind, Proxy};
use tests::{setup, stats, wait};

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A proxy that traces, between a backend and a collector.
struct Traced {
    backend: Backend,
    collector: Collector,
    proxy: Proxy,
}

impl Traced {
    fn start(tracing: &Value, more: &Value) -> Self {
        let collector = Collector::start();
        let address = collector.address();
        Self::to(collector, address, tracing, more)
    }

    fn to(
        collector: Collector,
        address: std::net::SocketAddr,
        tracing: &Value,
        more: &Value,
    ) -> Self {
        let backend = Backend::start();
        let text = setup::bootstrap(Vec::new(), backend.address(), address);
        let mut manager = json!({"tracing": tracing});
        for (field, value) in more.as_object().into_iter().flatten() {
            manager[field] = value.clone();
        }
        let text = setup::with_manager(&text, &manager);
        let mut bootstrap: Value = serde_json::from_str(&text).expect("a bootstrap");
        let runtime = &mut bootstrap["layered_runtime"]["layers"][0]["static_layer"];
        runtime["tracing.opentelemetry.min_flush_spans"] = json!(1);
        let proxy = Proxy::start(Kind::Ours, &bootstrap.to_string());
        Self { backend, collector, proxy }
    }

    /// A request with more header lines; what the backend saw of it, if it came so far.
    fn get(&self, path: &str, headers: &str) -> (Response, Vec<Head>) {
        let mut client = Connection::open(self.proxy.listener("main")).expect("connect");
        let request = format!("GET {path} HTTP/1.1\r\nhost: shop.test\r\n{headers}\r\n");
        client.send(request.as_bytes()).expect("sent");
        let answer = client.receive("GET").expect("an answer");
        let seen = self.backend.take_seen().into_iter().map(|seen| seen.head).collect();
        (answer, seen)
    }

    fn stat(&self, name: &str) -> u64 {
        stats::one(self.proxy.admin_address(), name)
    }
}

/// The tracer, whose collector is the cluster `h2`.
fn provider(more: &Value) -> Value {
    let mut config = json!({
        "@type": "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
        "grpc_service": {"envoy_grpc": {"cluster_name": "h2"}},
        "service_name": "edge",
    });
    for (field, value) in more.as_object().into_iter().flatten() {
        config[field] = value.clone();
    }
    json!({"name": "envoy.tracers.opentelemetry", "typed_config": config})
}

fn parent_of(head: &Head) -> Vec<&str> {
    head.field("traceparent").expect("a traceparent").split('-').collect()
}

fn only(spans: Vec<Span>) -> Span {
    assert_eq!(spans.len(), 1, "{spans:?}");
    spans.into_iter().next().expect("one span")
}

/// 1. A request of nobody's begins a trace: its upstream is told the span that the collector gets.
/// 2. A caller's span is its parent, and the caller's decision holds.
/// 3. An unsampled request is told onwards as such, and exported to nobody.
#[test]
fn a_sampled_request_is_one_span_and_others_are_none() {
    let traced = Traced::start(&json!({"provider": provider(&json!({}))}), &json!({}));
    traced.backend.always(Reply::ok("hello"));

    let (answer, seen) = traced.get("/cart?id=7", "user-agent: curl\r\n");
    let span = only(traced.collector.wait(1));
    let told = parent_of(&seen[0]);
    assert_eq!(told, ["00", &span.trace_id(), &span.id(), "01"]);
    assert_eq!(span.parent(), "");
    assert_eq!(answer.head.field("x-trace-id"), Some(span.trace_id().as_str()));
    assert_eq!((span.message.name.as_str(), span.message.kind), ("ingress", 2));
    assert_eq!(span.resource["service.name"], "edge");
    let id = seen[0].field("x-request-id").expect("an id");
    assert_eq!(&id[14..15], "9");
    let address = traced.backend.address();
    for (name, value) in [
        ("http.url", "http://shop.test/cart?id=7"),
        ("http.method", "GET"),
        ("http.protocol", "HTTP/1.1"),
        ("http.status_code", "200"),
        ("upstream_cluster", "backend"),
        ("response_flags", "-"),
        ("guid:x-request-id", id),
        ("component", "proxy"),
        ("node_id", "edge-1"),
        ("peer.address", "127.0.0.1"),
        ("user_agent", "curl"),
        ("request_size", "0"),
        ("response_size", "5"),
        ("error", ""),
    ] {
        assert_eq!(span.tag(name), value, "{name} ({address})");
    }
    assert!(span.message.start_time_unix_nano <= span.message.end_time_unix_nano);

    let parent = format!("traceparent: {PARENT}\r\ntracestate: a=b\r\n");
    let (_, seen) = traced.get("/", &parent);
    let span = only(traced.collector.wait(1));
    assert_eq!(span.trace_id(), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(span.parent(), "b7ad6b7169203331");
    assert_eq!(span.message.trace_state, "a=b");
    assert_eq!(parent_of(&seen[0]), ["00", &span.trace_id(), &span.id(), "01"]);
    assert_eq!(seen[0].field("tracestate"), Some("a=b"));

    let (_, seen) = traced.get("/", &parent.replace("31-01", "31-00"));
    let told = parent_of(&seen[0]);
    assert_eq!((told[1], told[3]), ("0af7651916cd43dd8448eb211c80319c", "00"));
    assert_ne!(told[2], "b7ad6b7169203331");
    // The next span is that of the next request: there was none between them.
    let _answer = traced.get("/last", "");
    let span = only(traced.collector.wait(1));
    assert_eq!(span.tag("http.url"), "http://shop.test/last");
    assert_eq!(traced.stat("tracing.opentelemetry.spans_sent"), 3);
    assert_eq!(traced.stat("http.in.tracing.random_sampling"), 4);
}

/// Shares of 0 leave out all but those for which somebody asks, and the overall share those too.
#[test]
fn clients_and_services_can_ask_for_a_span() {
    let share = |percent: u32| json!({"value": percent});
    let tracing = json!({"provider": provider(&json!({})), "random_sampling": share(0)});
    let inside = json!({"internal_address_config": {
        "cidr_ranges": [{"address_prefix": "127.0.0.1", "prefix_len": 32}]},
        "use_remote_address": true});
    let traced = Traced::start(&tracing, &inside);
    traced.backend.always(Reply::ok("hello"));
    for (headers, digit, flags) in [
        ("", "4", "00"),
        ("x-client-trace-id: c\r\n", "b", "01"),
        ("x-envoy-force-trace: true\r\n", "a", "01"),
        ("x-request-id: 00000000-0000-9000-8000-000000000000\r\n", "9", "01"),
    ] {
        let (_, seen) = traced.get("/", headers);
        assert_eq!(&seen[0].field("x-request-id").expect("an id")[14..15], digit, "{headers}");
        assert_eq!(parent_of(&seen[0])[3], flags, "{headers}");
    }
    assert_eq!(traced.collector.wait(3).len(), 3);
    for (name, value) in
        [("not_traceable", 1), ("client_enabled", 1), ("service_forced", 1), ("random_sampling", 1)]
    {
        assert_eq!(traced.stat(&format!("http.in.tracing.{name}")), value, "{name}");
    }

    let none = json!({"provider": provider(&json!({})), "overall_sampling": share(0)});
    let traced = Traced::start(&none, &inside);
    traced.backend.always(Reply::ok("hello"));
    let (_, seen) = traced.get("/", "x-envoy-force-trace: true\r\n");
    assert_eq!(parent_of(&seen[0])[3], "00");
    assert_eq!(traced.stat("http.in.tracing.not_traceable"), 1);
}

/// Each attempt has a span below that of the request, and its upstream is told that one.
#[test]
fn attempts_have_spans_of_their_own() {
    let routes = json!({"route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "decorator": {"operation": "cart"},
            "route": {"cluster": "backend",
                "retry_policy": {"retry_on": "5xx", "num_retries": 1}}}]}]}});
    let tracing = json!({"provider": provider(&json!({})), "spawn_upstream_span": true,
        "custom_tags": [{"tag": "tier", "literal": {"value": "front"}}]});
    let traced = Traced::start(&tracing, &routes);
    let fails = "HTTP/1.1 503 Gone\r\ncontent-length: 0\r\n\r\n";
    traced.backend.next(vec![Reply::bytes(fails), Reply::ok("hello")]);
    let (answer, seen) = traced.get("/", "");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.head.field("x-envoy-decorator-operation"), Some("cart"));
    let spans = traced.collector.wait(3);
    let [first, second, whole] = &spans[..] else { panic!("three spans, got {spans:?}") };
    assert_eq!((whole.message.name.as_str(), whole.tag("tier")), ("cart", "front"));
    for (attempt, seen) in [first, second].into_iter().zip(&seen) {
        assert_eq!(attempt.parent(), whole.id());
        assert_eq!(parent_of(seen), ["00", &whole.trace_id(), &attempt.id(), "01"]);
        assert_eq!(
            (attempt.message.name.as_str(), attempt.message.kind),
            ("router backend egress", 3)
        );
        assert_eq!(attempt.tag("upstream_address"), traced.backend.address().to_string());
    }
    assert_eq!((first.tag("http.status_code"), first.tag("error")), ("503", "true"));
    assert_eq!((second.tag("http.status_code"), second.tag("retry.count")), ("200", "1"));
}

/// A collector that is not there costs spans, which are counted, and no request.
#[test]
fn a_dead_collector_costs_spans_and_no_request() {
    let tracing = json!({"provider": provider(&json!({"max_cache_size": 1}))});
    let nobody = backend::dead_address();
    let traced = Traced::to(Collector::start(), nobody, &tracing, &json!({}));
    traced.backend.always(Reply::ok("hello"));
    for _ in 0..20 {
        let (answer, _) = traced.get("/", "");
        assert_eq!(answer.status(), 200);
    }
    assert!(traced.stat("tracing.opentelemetry.spans_dropped") > 0);
    assert_eq!(traced.stat("http.in.tracing.random_sampling"), 20);
}

/// A collector that closed its connection and came back gets the next spans; no request fails
/// meanwhile, and none of the queue is lost for want of room.
#[test]
fn a_collector_that_comes_back_gets_spans_again() {
    let mut traced = Traced::start(&json!({"provider": provider(&json!({}))}), &json!({}));
    traced.backend.always(Reply::ok("hello"));
    let address = traced.collector.address();
    let _answer = traced.get("/first", "");
    assert_eq!(only(traced.collector.wait(1)).tag("http.url"), "http://shop.test/first");
    let elsewhere = Collector::start();
    drop(std::mem::replace(&mut traced.collector, elsewhere));
    traced.collector = Collector::at(address);
    let again = wait::until("a span", || {
        let (answer, _) = traced.get("/again", "");
        assert_eq!(answer.status(), 200);
        traced.collector.take().into_iter().next()
    });
    assert_eq!(again.tag("http.url"), "http://shop.test/again");
    assert_eq!(traced.stat("tracing.opentelemetry.spans_dropped"), 0);
}

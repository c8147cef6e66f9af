//! A panic at each point of a request costs that request and nothing else.

use super::*;
use crate::http::pipeline::recovery;

/// Answers with a body and trailers once the whole request is there.
async fn trailing(mut stream: TcpStream) {
    while let Some((head, mut body)) = read_head(&mut stream).await {
        while head.contains("chunked") && !body.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut body).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let answer = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: t\r\n\r\n\
                      2\r\nok\r\n0\r\nt: 1\r\n\r\n";
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

pub(super) fn filter(at: &str) -> String {
    format!(
        "{{name: p, is_optional: true, typed_config: {{\
         \"@type\": type.googleapis.com/xds.type.v3.TypedStruct, \
         type_url: type.googleapis.com/gomesh.filters.http.panic.v1.Panic, \
         value: {{path: /panic, at: {at}}}}}}},"
    )
}

const TRAILERS: &str = "http_protocol_options: {enable_trailers: true},";

/// Options of the cluster's that let trailers through.
const UPSTREAM_TRAILERS: &str = "connect_timeout: 5s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http_protocol_options: {enable_trailers: true}}";

fn request(path: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: a.test\r\ntransfer-encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nx: y\r\n\r\n"
    )
}

async fn panicking(at: &str) -> (Rig, String, Task) {
    static HOOK: std::sync::Once = std::sync::Once::new();
    HOOK.call_once(recovery::install_hook);
    let (port, upstream) = upstream(trailing).await;
    let yaml = bootstrap(TRAILERS, &filter(at), "", port);
    let yaml = yaml.replace("connect_timeout: 5s", UPSTREAM_TRAILERS);
    let rig = Rig::of(&yaml);
    let mut client = rig.connect();
    client.say(&request("/panic")).await;
    let answer = if at == "done" {
        client.read_to("0\r\nt: 1\r\n\r\n").await
    } else {
        client.read_until("\r\n\r\nInternal Server Error").await
    };
    client.leave().await;
    // The worker lives, and serves the next request on the same path but this one.
    let mut client = rig.connect();
    client.say(&request("/fine")).await;
    client.read_to("0\r\nt: 1\r\n\r\n").await;
    client.leave().await;
    (rig, answer, upstream)
}

fn assert_one_panic(rig: &Rig, at: &str) {
    rig.assert_settled(2);
    let panics = rig.lines("panics");
    assert_eq!(panics.len(), 1, "{at}: {panics:#?}");
    assert!(panics[0].contains(&format!("intentional panic for testing recovery at {at}")));
    assert!(panics[0].contains("panic::Filter"), "no stack in {}", panics[0]);
    let metrics = rig.worker.shared.metrics.render();
    assert!(metrics.contains("\ngomesh_panics_total 1\n"), "{at}: {metrics}");
    assert!(metrics.contains("error_type=\"panic\""), "{at}: {metrics}");
}

#[tokio::test(flavor = "local")]
async fn before_a_head_was_sent_the_client_reads_500() {
    for at in ["request_head", "request_body", "request_trailers", "response_head"] {
        let (rig, answer, _upstream) = panicking(at).await;
        assert!(answer.starts_with("HTTP/1.1 500 Internal Server Error\r\n"), "{at}: {answer}");
        assert!(answer.ends_with("\r\n\r\nInternal Server Error"), "{at}: {answer}");
        assert_one_panic(&rig, at);
    }
}

#[tokio::test(flavor = "local")]
async fn after_a_head_the_answer_is_cut_off() {
    for at in ["response_body", "response_trailers"] {
        let (rig, answer, _upstream) = panicking(at).await;
        assert!(!answer.contains("0\r\n\r\n") && !answer.contains("t: 1"), "{at}: {answer}");
        assert_one_panic(&rig, at);
        assert_eq!(rig.stat(HttpStat::DownstreamCxActive), 0);
    }
}

#[tokio::test(flavor = "local")]
async fn at_the_end_it_costs_not_even_the_answer() {
    let (rig, answer, _upstream) = panicking("done").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_one_panic(&rig, "done");
}

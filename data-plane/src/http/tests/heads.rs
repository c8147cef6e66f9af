//! What heads look like behind the connection manager. Each expectation is what Envoy 1.40 sent
//! upstream for the same configuration and bytes.

use super::*;

/// The lines upstream, sorted, without those that the case is not about.
async fn seen(rig: &Rig, fields: &str) -> Vec<String> {
    let mut client = rig.connect();
    client.say(&format!("GET / HTTP/1.1\r\nhost: h.test\r\n{fields}\r\n")).await;
    client.read_to("\r\n\r\n").await;
    let text = client.read_to("\r\n\r\n").await;
    client.leave().await;
    let boring = ["host: ", "x-request-id: ", "x-envoy-expected-rq-timeout-ms: "];
    let told = |line: &&str| !line.is_empty() && !boring.iter().any(|b| line.starts_with(b));
    let mut lines: Vec<String> =
        text.split("\r\n").skip(1).filter(told).map(str::to_owned).collect();
    lines.sort();
    lines
}

async fn check(options: &str, cases: &[(&str, &[&str])]) {
    let (port, _upstream) = upstream(mirror).await;
    let rig = Rig::new(options, "", port);
    for (fields, expected) in cases {
        assert_eq!(seen(&rig, fields).await, *expected, "{options} {fields:?}");
    }
}

const EXTERNAL: &str = "x-envoy-external-address: 127.0.0.1";
const HTTP: &str = "x-forwarded-proto: http";

#[tokio::test(flavor = "local")]
async fn the_peer_is_the_client_with_use_remote_address() {
    let xff = |text: &'static str| vec![EXTERNAL, text, HTTP];
    check(
        "use_remote_address: true,",
        &[
            ("", &xff("x-forwarded-for: 192.0.2.2")),
            ("x-forwarded-for: 1.2.3.4\r\n", &xff("x-forwarded-for: 1.2.3.4,192.0.2.2")),
            (
                "x-forwarded-for: 9.9.9.9\r\nx-forwarded-for: 10.0.0.2\r\n",
                &xff("x-forwarded-for: 9.9.9.9,10.0.0.2,192.0.2.2"),
            ),
            ("x-forwarded-for: unknown\r\n", &xff("x-forwarded-for: unknown,192.0.2.2")),
            ("x-forwarded-for: \r\n", &xff("x-forwarded-for: 192.0.2.2")),
            ("x-forwarded-proto: https\r\n", &xff("x-forwarded-for: 192.0.2.2")),
        ],
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_trusted_hop_says_who_the_client_is() {
    check(
        "use_remote_address: true, xff_num_trusted_hops: 1,",
        &[
            (
                "x-forwarded-for: 9.9.9.9\r\nx-forwarded-for: 10.0.0.2\r\n",
                &[
                    "x-envoy-external-address: 10.0.0.2",
                    "x-forwarded-for: 9.9.9.9,10.0.0.2,192.0.2.2",
                    HTTP,
                ],
            ),
            (
                "x-forwarded-proto: https\r\n",
                &[EXTERNAL, "x-forwarded-for: 192.0.2.2", "x-forwarded-proto: https"],
            ),
        ],
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn without_use_remote_address_the_last_hop_is_believed() {
    let internal = "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, \
                    prefix_len: 8}]}, via: tv,";
    check(
        internal,
        &[
            ("", &["via: tv", HTTP]),
            (
                "x-forwarded-for: 10.0.0.1\r\n",
                &["via: tv", "x-envoy-internal: true", "x-forwarded-for: 10.0.0.1", HTTP],
            ),
            // Two addresses are never internal, however many lines they came in.
            (
                "x-forwarded-for: 9.9.9.9, 10.0.0.2\r\n",
                &["via: tv", "x-forwarded-for: 9.9.9.9, 10.0.0.2", HTTP],
            ),
            (
                "x-forwarded-for: 9.9.9.9\r\nx-forwarded-for: 10.0.0.2\r\n",
                &["via: tv", "x-forwarded-for: 9.9.9.9,10.0.0.2", HTTP],
            ),
            ("via: 1.0 a\r\nvia: 1.0 b\r\n", &["via: 1.0 a,1.0 b, tv", HTTP]),
            ("x-forwarded-proto: https\r\n", &["via: tv", "x-forwarded-proto: https"]),
        ],
    )
    .await;
}

/// Everything that begins with `x-envoy-` and a client might send.
const ALL: [&str; 22] = [
    "x-envoy-internal",
    "x-envoy-original-path",
    "x-envoy-original-host",
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-stream-duration-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-original-url",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-peer-metadata",
    "x-envoy-foo",
];

fn all_of_envoys() -> String {
    ALL.iter().map(|name| format!("{name}: 1000\r\n")).collect()
}

async fn kept(options: &str) -> Vec<String> {
    let (port, _upstream) = upstream(mirror).await;
    let lines = seen(&Rig::new(options, "", port), &all_of_envoys()).await;
    let named = lines.iter().filter_map(|line| line.strip_suffix(": 1000"));
    named.map(|name| name.trim_start_matches("x-envoy-").to_owned()).collect()
}

#[tokio::test(flavor = "local")]
async fn an_edge_lets_nobody_outside_steer_it() {
    assert_eq!(kept("use_remote_address: true,").await, ["foo", "peer-metadata"]);
}

#[tokio::test(flavor = "local")]
async fn behind_an_edge_it_is_told_what_the_edge_knows() {
    let expected = [
        "decorator-operation",
        "downstream-service-cluster",
        "downstream-service-node",
        "foo",
        "original-host",
        "original-path",
        "peer-metadata",
    ];
    assert_eq!(kept("").await, expected);
}

#[tokio::test(flavor = "local")]
async fn what_is_for_the_router_goes_no_further_even_from_inside() {
    let inside = "use_remote_address: true, internal_address_config: {cidr_ranges: \
                  [{address_prefix: 127.0.0.0, prefix_len: 8}]},";
    let expected = [
        "decorator-operation",
        "downstream-service-cluster",
        "downstream-service-node",
        "foo",
        "force-trace",
        "ip-tags",
        "original-host",
        "original-path",
        "original-url",
        "peer-metadata",
    ];
    assert_eq!(kept(inside).await, expected);
}

#[tokio::test(flavor = "local")]
async fn hop_by_hop_fields_end_here() {
    let fields = "keep-alive: 1\r\nproxy-connection: keep-alive\r\nte: trailers, gzip\r\n\
                  connection: keep-alive, x-foo\r\nx-foo: 1\r\nproxy-authorization: b\r\n";
    check("", &[(fields, &["proxy-authorization: b", "te: trailers", HTTP])]).await;
}

#[tokio::test(flavor = "local")]
async fn a_scheme_that_is_overwritten_is_forwarded_too() {
    check(
        "scheme_header_transformation: {scheme_to_overwrite: https},",
        &[("x-forwarded-proto: gopher\r\n", &["x-forwarded-proto: https"])],
    )
    .await;
}

#[tokio::test(flavor = "local")]
async fn a_path_that_is_none_ends_the_connection() {
    let rig = Rig::new("normalize_path: true,", "", NOWHERE);
    let mut client = rig.connect();
    client.say("GET /a%00b HTTP/1.1\r\nhost: h\r\n\r\n").await;
    let answer = client.read_all().await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

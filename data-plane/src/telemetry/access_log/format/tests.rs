//! The right sides are lines that Envoy 1.40 wrote for the same requests.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderValue};
use serde_json::json;

use super::*;
use crate::telemetry::access_log::{LogType, Protocol};
use crate::telemetry::flags::{ResponseFlags, details};

fn addr(text: &str) -> Option<super::super::Addr<'static>> {
    Some(text.parse::<SocketAddr>().unwrap().into())
}

fn headers(fields: &[(&'static str, &'static [u8])]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_bytes(value).unwrap())
        })
        .collect()
}

fn served<'a>(request: &'a HeaderMap, response: &'a HeaderMap) -> Entry<'a> {
    Entry {
        start: Some(UNIX_EPOCH + Duration::from_millis(1_795_558_518_418)),
        protocol: Some(Protocol::Http11),
        method: Some("GET"),
        path: Some("/"),
        authority: Some("127.0.0.1:28000"),
        scheme: Some("http"),
        request_headers: Some(request),
        response_headers: Some(response),
        status: Some(200),
        details: Some(details::VIA_UPSTREAM),
        cluster: Some("local"),
        upstream_host: addr("127.0.0.1:28080"),
        attempts: 1,
        bytes_sent: 5,
        duration: Some(Duration::from_micros(1999)),
        request_received: Some(Duration::from_micros(10)),
        response_started: Some(Duration::from_micros(1500)),
        response_sent: Some(Duration::from_micros(1900)),
        remote: addr("127.0.0.1:43548"),
        direct_remote: addr("127.0.0.1:43548"),
        local: addr("127.0.0.1:28000"),
        connection_id: Some(2),
        stream_id: Some("1b8c9460-9ab1-4823-8fb6-0252d14b378f"),
        log_type: LogType::DownstreamEnd,
        ..Entry::default()
    }
}

fn text(format: &str, entry: &Entry<'_>) -> String {
    let format = Format::text(format, Empty::Dash).unwrap();
    String::from_utf8_lossy(&format.render(entry)).into_owned()
}

#[test]
fn the_default_format_writes_envoys_line() {
    let request = headers(&[
        ("user-agent", b"curl/7.88.1"),
        ("x-request-id", b"1b8c9460-9ab1-4823-8fb6-0252d14b378f"),
    ]);
    let response = headers(&[("x-envoy-upstream-service-time", b"0")]);
    let line = Format::default_access_log().render(&served(&request, &response));
    assert_eq!(
        String::from_utf8(line).unwrap(),
        "[2026-11-24T22:15:18.418Z] \"GET / HTTP/1.1\" 200 - 0 5 1 0 \"-\" \"curl/7.88.1\" \
         \"1b8c9460-9ab1-4823-8fb6-0252d14b378f\" \"127.0.0.1:28000\" \"127.0.0.1:28080\"\n"
    );
}

#[test]
fn json_keeps_types_sorts_keys_and_prints_null_for_what_is_absent() {
    let request = headers(&[("x-q", "a\"b\\c\té".as_bytes())]);
    let response = HeaderMap::new();
    let format = json!({
        "zdur": "%DURATION%", "code": "%RESPONSE_CODE%", "a": "x %DURATION% y",
        "gs": "%GRPC_STATUS%",
        "none": "%REQ(x-none)%", "none2": "a%REQ(x-none)%b", "q": "%REQ(x-q)%",
        "lit": 5, "litf": 5.5,
        "litb": true, "litn": null, "lst": ["%PROTOCOL%", 3.0, "x"], "pct": "100%%",
        "sub": {"z": "%PROTOCOL%", "a": "%BYTES_SENT%"}, "drp": "%DOWNSTREAM_REMOTE_PORT%",
        "drawp": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "s2": "%START_TIME(%s.%3f)%",
        "usp": "%UPSTREAM_REQUEST_ATTEMPT_COUNT% tries", "rtd": "%RESPONSE_TX_DURATION%",
        "flags": "%RESPONSE_FLAGS%", "vc": "%VIRTUAL_CLUSTER_NAME%", "p3": "%REQ(:PATH):3%",
    });
    let line = Format::json(&format, Empty::Dash).unwrap().render(&served(&request, &response));
    assert_eq!(
        String::from_utf8(line).unwrap(),
        "{\"a\":\"x 1 y\",\"code\":200,\"drawp\":\"127.0.0.1\",\"drp\":43548,\"flags\":\"-\",\
         \"gs\":null,\"lit\":5,\"litb\":true,\"litf\":\"5.5\",\"litn\":null,\
         \"lst\":[\"HTTP/1.1\",3,\"x\"],\"none\":null,\"none2\":\"a-b\",\"p3\":\"/\",\
         \"pct\":\"100%\",\"q\":\"a\\\"b\\\\c\\té\",\"rtd\":0,\"s2\":\"1795558518.418\",\
         \"sub\":{\"a\":5,\"z\":\"HTTP/1.1\"},\"usp\":\"1 tries\",\"vc\":null,\"zdur\":1}\n"
    );
}

#[test]
fn omitting_empty_values_drops_keys_items_and_objects_but_not_lists() {
    let format = json!({
        "obj": {"x": "%REQ(zz)%"}, "empty": {}, "el": [], "lst": ["%REQ(zz)%", 1],
        "m": "x%REQ(zz)%y", "flags": "%RESPONSE_FLAGS%", "none": "%REQ(zz)%",
    });
    let entry = Entry { flags: ResponseFlags::DOWNSTREAM_PROTOCOL_ERROR, ..Entry::default() };
    let line = Format::json(&format, Empty::Omit).unwrap().render(&entry);
    assert_eq!(line, b"{\"el\":[],\"flags\":\"DPE\",\"lst\":[1],\"m\":\"xy\"}\n");
    let line = Format::json(&format, Empty::Dash).unwrap().render(&entry);
    assert!(line.starts_with(b"{\"el\":[],\"empty\":{},\"flags\":\"DPE\",\"lst\":[null,1]"));
    let header = Format::text("%REQ(zz)%-%RESPONSE_CODE%", Empty::Omit).unwrap();
    assert_eq!(header.render(&Entry::default()), b"-0");
}

#[test]
fn bytes_that_are_no_utf8_are_raw_in_text_and_escaped_in_json() {
    let request = headers(&[("x-q", b"q\"\\\t\xff\xc3\xa9</x>")]);
    let entry = Entry { request_headers: Some(&request), ..Entry::default() };
    let raw = Format::text("%REQ(x-none?x-q)%", Empty::Dash).unwrap().render(&entry);
    assert_eq!(raw, b"q\"\\\t\xff\xc3\xa9</x>");
    let json = Format::json(&json!({"a": "%REQ(X-Q)%"}), Empty::Dash).unwrap().render(&entry);
    assert_eq!(json, b"{\"a\":\"q\\u0022\\u005c\\u0009\\u00ff\\u00c3\\u00a9</x>\"}\n");
}

#[test]
fn grpc_status_is_printed_for_grpc_requests_alone() {
    let all =
        "%GRPC_STATUS%|%GRPC_STATUS(SNAKE_STRING)%|%GRPC_STATUS(NUMBER)%|%GRPC_STATUS_NUMBER%";
    let (plain, grpc) = (HeaderMap::new(), headers(&[("content-type", b"application/grpc")]));
    let (unavailable, odd) =
        (headers(&[("grpc-status", b"14")]), headers(&[("grpc-status", b"99")]));
    let entry = |request, response| Entry {
        request_headers: Some(request),
        response_headers: Some(response),
        ..Entry::default()
    };
    assert_eq!(text(all, &entry(&grpc, &unavailable)), "Unavailable|UNAVAILABLE|14|14");
    assert_eq!(text(all, &entry(&grpc, &odd)), "99|99|99|99");
    assert_eq!(text(all, &entry(&plain, &unavailable)), "-|-|-|-");
    let trailers = headers(&[("grpc-status", b"0")]);
    let entry = Entry { response_trailers: Some(&trailers), ..entry(&grpc, &plain) };
    assert_eq!(text("%GRPC_STATUS%", &entry), "OK");
}

#[test]
fn what_envoy_refuses_is_refused_and_names_the_operator() {
    let error = |format: &str| Format::text(format, Empty::Dash).unwrap_err();
    assert_eq!(error("%FOO%"), FormatError::Unknown("FOO".into()));
    assert_eq!(error("%REQ%"), FormatError::MissingParameter("REQ".into()));
    assert_eq!(error("%REQ()%"), FormatError::MissingParameter("REQ".into()));
    assert_eq!(error("%REQ(a?b?c)%"), FormatError::Alternatives("a?b?c".into()));
    assert_eq!(error("%REQ(A b)%"), FormatError::HeaderName("A b".into()));
    assert_eq!(error("%DURATION:3%"), FormatError::UnexpectedParameter("DURATION".into()));
    assert_eq!(
        error("%RESPONSE_CODE(a)%"),
        FormatError::UnexpectedParameter("RESPONSE_CODE".into())
    );
    for (format, at) in
        [("%REQ(%", 0), ("%REQ(a):x%", 0), ("abc%", 3), ("a % b", 2), ("%protocol%", 0)]
    {
        assert_eq!(error(format), FormatError::Syntax { format: format.into(), at }, "{format}");
    }
    let message = error("%UPSTREAM_WIRE_BYTES_SENT%").to_string();
    assert_eq!(message, "%UPSTREAM_WIRE_BYTES_SENT% is known to Envoy 1.40, not supported here");
    assert!(error("%GRPC_STATUS(X)%").to_string().contains("CAMEL_STRING"));
}

#[test]
fn a_format_without_operators_is_constant() {
    let constant =
        |format| Format::text(format, Empty::Omit).unwrap().constant().map(<[u8]>::to_vec);
    assert_eq!(constant("100%% sure"), Some(b"100% sure".to_vec()));
    assert_eq!(constant(""), Some(Vec::new()));
    assert_eq!(constant("%PROTOCOL%"), None);
}

#[test]
fn addresses_and_flags_are_printed_in_every_variant() {
    let entry = Entry {
        remote: addr("[::1]:80"),
        local: Some(super::super::Addr::Pipe("/run/x.sock")),
        flags: ResponseFlags::UPSTREAM_CONNECTION_FAILURE
            | ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED,
        ..Entry::default()
    };
    let format = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% \
                  %DOWNSTREAM_REMOTE_PORT% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_PORT% \
                  %RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG% %RESPONSE_CODE% %RESP(:STATUS)%";
    assert_eq!(
        text(format, &entry),
        "[::1]:80 ::1 80 /run/x.sock - URX,UF UpstreamRetryLimitExceeded,UpstreamConnectionFailure \
         0 -"
    );
}

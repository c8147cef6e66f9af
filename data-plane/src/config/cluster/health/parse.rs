//! Which messages become health checks.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method};
use proto::envoy::config::core::v3 as pb;
use proto::envoy::config::core::v3::health_check as kinds;
use proto::envoy::config::core::v3::health_check::HealthChecker;
use proto::envoy::r#type::v3::{CodecClientType, Int64Range};

use super::{CheckKind, GrpcCheck, HeaderChanges, HealthCheckConfig, HttpCheck, Pace, TcpCheck};
use crate::config::error::{At, Collector, Problems, Reason};
use crate::config::field;
use crate::config::header_mutation::{self, EmptyValue, HeaderValueOption};
use crate::config::resource::ParseCx;
use crate::config::route::match_rules::parse_string_matcher;

/// `no_traffic_interval` where none is written.
const NO_TRAFFIC_DEFAULT: Duration = Duration::from_secs(60);

/// `response_buffer_size` where none is written.
const RESPONSE_BUFFER_DEFAULT: u64 = 1024;

/// Most that is kept of a body, whatever `response_buffer_size` says: a host that sends without
/// end must not fill the memory.
const RESPONSE_BUFFER_MOST: u64 = 1024 * 1024;

/// What a cluster says about itself.
#[derive(Clone, Copy)]
pub(in crate::config::cluster) struct Around<'a> {
    pub(in crate::config::cluster) name: &'a str,
    pub(in crate::config::cluster) cx: &'a ParseCx<'a>,
    /// It can speak HTTP/2.
    pub(in crate::config::cluster) http2: bool,
}

/// The check of a cluster, if it has one.
///
/// # Errors
/// If it breaks a rule of Envoy's, or something of it is not built.
pub(in crate::config::cluster) fn parse(
    checks: Vec<pb::HealthCheck>,
    around: Around<'_>,
) -> Result<Option<HealthCheckConfig>, Problems> {
    if checks.len() > 1 {
        let text = "a cluster may have one health check only".into();
        return Err(Reason::Rule(text).into()).at("health_checks");
    }
    let one = checks.into_iter().next();
    one.map(|check| parse_one(check, around).at_index("health_checks", 0)).transpose()
}

fn parse_one(check: pb::HealthCheck, around: Around<'_>) -> Result<HealthCheckConfig, Problems> {
    let mut all = Collector::default();
    let timeout = field::required(check.timeout, "timeout");
    let timeout = all.keep(timeout.and_then(|t| field::duration(Some(t), "timeout"))).flatten();
    let pace = all.keep(parse_pace(&check));
    let unhealthy = all.keep(field::required(check.unhealthy_threshold, "unhealthy_threshold"));
    let healthy = all.keep(field::required(check.healthy_threshold, "healthy_threshold"));
    let kind = all.keep(parse_kind(check.health_checker, around));
    all.finish()?;
    let parts = timeout.zip(pace).zip(kind).zip(unhealthy.zip(healthy));
    // The collector is clean, so each of them is there.
    let (((timeout, pace), kind), (unhealthy, healthy)) = parts.ok_or(Reason::Missing)?;
    Ok(HealthCheckConfig {
        timeout,
        pace,
        unhealthy_threshold: unhealthy.value,
        healthy_threshold: healthy.value,
        reuse_connection: field::flag(check.reuse_connection, true),
        kind,
    })
}

fn parse_pace(check: &pb::HealthCheck) -> Result<Pace, Problems> {
    let interval = field::required(check.interval, "interval")?;
    let interval = field::duration(Some(interval), "interval")?.unwrap_or_default();
    let time =
        |value, name, default| Ok::<_, Problems>(field::duration(value, name)?.unwrap_or(default));
    let no_traffic = time(check.no_traffic_interval, "no_traffic_interval", NO_TRAFFIC_DEFAULT)?;
    let unhealthy = time(check.unhealthy_interval, "unhealthy_interval", interval)?;
    let healthy_quiet = check.no_traffic_healthy_interval;
    Ok(Pace {
        interval,
        initial_jitter: time(check.initial_jitter, "initial_jitter", Duration::ZERO)?,
        interval_jitter: time(check.interval_jitter, "interval_jitter", Duration::ZERO)?,
        interval_jitter_percent: check.interval_jitter_percent,
        no_traffic,
        no_traffic_healthy: time(healthy_quiet, "no_traffic_healthy_interval", no_traffic)?,
        unhealthy,
        unhealthy_edge: time(check.unhealthy_edge_interval, "unhealthy_edge_interval", unhealthy)?,
        healthy_edge: time(check.healthy_edge_interval, "healthy_edge_interval", interval)?,
    })
}

fn parse_kind(kind: Option<HealthChecker>, around: Around<'_>) -> Result<CheckKind, Problems> {
    match kind {
        None => Err(Reason::Missing.into()).at("health_checker"),
        Some(HealthChecker::HttpHealthCheck(http)) => {
            let http = parse_http(http, around).at("http_health_check")?;
            Ok(CheckKind::Http(Box::new(http)))
        }
        Some(HealthChecker::TcpHealthCheck(tcp)) => {
            Ok(CheckKind::Tcp(parse_tcp(tcp).at("tcp_health_check")?))
        }
        Some(HealthChecker::GrpcHealthCheck(grpc)) => {
            let grpc = parse_grpc(grpc, around).at("grpc_health_check")?;
            Ok(CheckKind::Grpc(Box::new(grpc)))
        }
        Some(HealthChecker::CustomHealthCheck(_)) => {
            let what = "the field".into();
            Err(Reason::NotSupported { what }.into()).at("custom_health_check")
        }
    }
}

fn parse_tcp(tcp: kinds::TcpHealthCheck) -> Result<TcpCheck, Problems> {
    let mut all = Collector::default();
    let send = all.keep(tcp.send.map(parse_payload).transpose().at("send"));
    let receive = all.keep(parse_payloads(tcp.receive, "receive"));
    all.finish().map(|()| TcpCheck {
        send: send.flatten().unwrap_or_default(),
        receive: receive.unwrap_or_default(),
    })
}

fn parse_grpc(grpc: kinds::GrpcHealthCheck, around: Around<'_>) -> Result<GrpcCheck, Problems> {
    if !around.http2 {
        let text = "the cluster must speak HTTP/2 to its hosts for a gRPC health check".into();
        return Err(Reason::Rule(text).into());
    }
    let authority = if grpc.authority.is_empty() { around.name } else { &grpc.authority };
    Ok(GrpcCheck {
        service: grpc.service_name.into(),
        authority: field::header_value(authority, "authority")?,
        metadata: HeaderChanges {
            remove: Vec::new(),
            add: parse_add(grpc.initial_metadata, "initial_metadata", around)?,
        },
    })
}

fn parse_http(http: kinds::HttpHealthCheck, around: Around<'_>) -> Result<HttpCheck, Problems> {
    let mut all = Collector::default();
    let host = if http.host.is_empty() { around.name } else { &http.host };
    let host = all.keep(field::header_value(host, "host"));
    let path = all.keep(parse_path(&http.path).at("path"));
    let method = all.keep(parse_method(http.method));
    let remove = header_mutation::parse_removals(
        &http.request_headers_to_remove,
        "request_headers_to_remove",
    );
    let remove = all.keep(remove);
    let add = all.keep(parse_add(http.request_headers_to_add, "request_headers_to_add", around));
    let expected = all.keep(parse_ranges(&http.expected_statuses, "expected_statuses"));
    let retriable = all.keep(parse_ranges(&http.retriable_statuses, "retriable_statuses"));
    let http2 = all.keep(parse_codec(http.codec_client_type));
    let service = http.service_name_matcher.map(parse_string_matcher).transpose();
    let service = all.keep(service.at("service_name_matcher"));
    let send = http.send.map(parse_payload).transpose().at("send");
    let send = all.keep(send).flatten().unwrap_or_default();
    let receive = all.keep(parse_payloads(http.receive, "receive"));
    all.finish()?;
    let parts = host.zip(path).zip(method).zip(http2);
    let (((host, path), method), http2) = parts.ok_or(Reason::Missing)?;
    let carries = matches!(method, Method::POST | Method::PUT | Method::PATCH | Method::OPTIONS);
    if !send.is_empty() && !carries {
        let text = "a body needs the method POST, PUT, PATCH or OPTIONS".into();
        return Err(Reason::Rule(text).into()).at("send");
    }
    let buffer = match field::uint64(http.response_buffer_size, RESPONSE_BUFFER_DEFAULT) {
        0 => RESPONSE_BUFFER_MOST,
        bytes => bytes.min(RESPONSE_BUFFER_MOST),
    };
    let expected = expected.filter(|ranges| !ranges.is_empty());
    Ok(HttpCheck {
        host,
        path,
        method,
        headers: HeaderChanges { remove: remove.unwrap_or_default(), add: add.unwrap_or_default() },
        expected: expected.unwrap_or_else(|| std::iter::once(200..201).collect()),
        retriable: retriable.unwrap_or_default(),
        http2,
        service_name: service.flatten(),
        send,
        receive: receive.unwrap_or_default(),
        response_buffer_bytes: usize::try_from(buffer).unwrap_or(usize::MAX),
    })
}

/// Envoy sends any text; what is no request target (RFC 9112 3.2.1) cannot be sent here.
fn parse_path(path: &str) -> Result<PathAndQuery, Problems> {
    let parsed = Some(path).filter(|path| path.starts_with('/')).map(PathAndQuery::try_from);
    parsed.and_then(Result::ok).ok_or_else(|| {
        Reason::NotSupported { what: format!("\"{path}\", which is no path from / on,") }.into()
    })
}

fn parse_method(method: i32) -> Result<Method, Problems> {
    use pb::RequestMethod as M;
    Ok(match field::enumeration::<M>(method, "method")? {
        M::MethodUnspecified | M::Get => Method::GET,
        M::Head => Method::HEAD,
        M::Post => Method::POST,
        M::Put => Method::PUT,
        M::Delete => Method::DELETE,
        M::Connect => Method::CONNECT,
        M::Options => Method::OPTIONS,
        M::Trace => Method::TRACE,
        M::Patch => Method::PATCH,
    })
}

fn parse_codec(codec: i32) -> Result<bool, Problems> {
    match field::enumeration(codec, "codec_client_type")? {
        CodecClientType::Http1 => Ok(false),
        CodecClientType::Http2 => Ok(true),
        CodecClientType::Http3 => {
            Err(Reason::NotSupported { what: "HTTP3".into() }.into()).at("codec_client_type")
        }
    }
}

/// Fields with literal values: there is no request that a format could speak of.
fn parse_add(
    add: Vec<pb::HeaderValueOption>,
    name: &'static str,
    around: Around<'_>,
) -> Result<Vec<(http::HeaderName, HeaderValue, header_mutation::AppendAction)>, Problems> {
    let parsed = header_mutation::parse_additions(add, name, around.cx)?;
    let literal = |option: HeaderValueOption| {
        let text = option.value.replace("%%", "");
        if text.contains('%') {
            let what = format!("\"{}\", a format in a health check,", option.value);
            return Err(Problems::from(Reason::NotSupported { what }));
        }
        let value = field::header_value(&option.value.replace("%%", "%"), "value")?;
        Ok((option.name, value, option.append_action))
    };
    // What is empty is not sent, unless that is asked for.
    let sent = |option: &HeaderValueOption| {
        !option.value.is_empty() || option.keep_empty_value == EmptyValue::Keep
    };
    let parsed = parsed.into_iter().enumerate().filter(|(_, option)| sent(option));
    parsed.map(|(i, option)| literal(option).at_index(name, i)).collect()
}

fn parse_ranges(ranges: &[Int64Range], name: &'static str) -> Result<Vec<Range<u16>>, Problems> {
    let each = ranges.iter().enumerate();
    each.map(|(i, range)| parse_range(range).at_index(name, i)).collect()
}

fn parse_range(range: &Int64Range) -> Result<Range<u16>, Problems> {
    let (start, end) = (range.start, range.end);
    if start >= end || start < 100 || end > 600 {
        let must = "a range within [100, 600) whose start is below its end".into();
        return Err(Reason::Invalid { got: format!("[{start}, {end})"), must }.into());
    }
    let status = |n: i64| u16::try_from(n).unwrap_or(u16::MAX);
    Ok(status(start)..status(end))
}

fn parse_payloads(list: Vec<kinds::Payload>, name: &'static str) -> Result<Vec<Bytes>, Problems> {
    let each = list.into_iter().enumerate();
    each.map(|(i, payload)| parse_payload(payload).at_index(name, i)).collect()
}

fn parse_payload(payload: kinds::Payload) -> Result<Bytes, Problems> {
    match payload.payload {
        None => Err(Reason::Missing.into()),
        Some(kinds::payload::Payload::Binary(bytes)) => Ok(bytes.into()),
        Some(kinds::payload::Payload::Text(text)) => hex(&text)
            .ok_or_else(|| {
                let must = "pairs of hexadecimal digits".into();
                Reason::Invalid { got: format!("\"{text}\""), must }.into()
            })
            .at("text"),
    }
}

fn hex(text: &str) -> Option<Bytes> {
    let digits = text.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let pair = |pair: &[u8]| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?);
    digits.chunks(2).map(pair).collect()
}

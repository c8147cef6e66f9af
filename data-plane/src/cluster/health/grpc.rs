//! A check by a call of `grpc.health.v1.Health/Check`.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, TE, USER_AGENT};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prost::Message;

use super::http::{CHECKER, Link, Question as Body, absolute, authority};
use super::record::{Failure, Verdict};
use super::session::Probe;
use crate::cluster::host::Host;
use crate::config::cluster::health::GrpcCheck;

const PATH: PathAndQuery = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Flag and length before a message.
const PREFIX_BYTES: usize = 5;

/// Most that an answer may have; it is a number.
const ANSWER_MOST: usize = 64 * 1024;

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
struct Question {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
struct Answer {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// `HealthCheckResponse.ServingStatus.SERVING`.
const SERVING: i32 = 1;

/// Asks once.
pub(super) async fn check(
    check: &GrpcCheck,
    host: &Host,
    probe: &Probe,
    kept: &mut Option<Link>,
) -> Verdict {
    let network = Verdict::Failed(Failure::Network);
    let Some(mut link) = Link::take_or_open(kept, host, probe, true).await else { return network };
    let request = request(check, host, probe);
    let Ok(answer) = link.ask(request).await else { return network };
    let (head, body) = answer.into_parts();
    let serves = match head.status {
        StatusCode::OK if is_grpc(&head.headers) => match serves(&head.headers, body).await {
            Ok(serves) => serves,
            Err(Broken) => return network,
        },
        // What is no answer of a gRPC server is one all the same.
        _ => false,
    };
    *kept = Some(link);
    match serves {
        true => Verdict::Passed { degraded: false },
        false => Verdict::Failed(Failure::Answer { retriable: false }),
    }
}

fn request(check: &GrpcCheck, host: &Host, probe: &Probe) -> Request<Body> {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, authority(host, &check.authority));
    headers.insert(USER_AGENT, CHECKER);
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(TE, TRAILERS);
    headers.insert(TIMEOUT, timeout(probe.config.timeout));
    check.metadata.apply(&mut headers);
    let question = Question { service: check.service.to_string() };
    let mut body = BytesMut::new();
    body.put_u8(0);
    body.put_u32(u32::try_from(question.encoded_len()).unwrap_or(u32::MAX));
    body.extend_from_slice(&question.encode_to_vec());
    let mut request = Request::new(Body::unsized_of(body.freeze()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = absolute(&mut headers, host, PATH, probe.connect.tls.is_some());
    *request.headers_mut() = headers;
    request
}

/// A time as `grpc-timeout` has it: at most eight digits, and a unit.
fn timeout(time: Duration) -> HeaderValue {
    let millis = time.as_millis();
    let text = match millis {
        0..=99_999_999 => format!("{millis}m"),
        _ => format!("{}S", time.as_secs().min(99_999_999)),
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("99999999S"))
}

/// `application/grpc`, or a kind of it such as `application/grpc+proto`.
fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The stream broke off.
struct Broken;

/// Whether the host says that it serves: status 0, and one message that says so.
async fn serves(head: &HeaderMap, mut body: Incoming) -> Result<bool, Broken> {
    let (mut bytes, mut status) = (BytesMut::new(), head.get(STATUS).cloned());
    while let Some(frame) = body.frame().await {
        match frame.map_err(|_| Broken)?.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(other) => {
                let trailers = other.into_trailers().unwrap_or_default();
                status = trailers.get(STATUS).cloned();
            }
        }
        if bytes.len() > ANSWER_MOST {
            return Ok(false);
        }
    }
    Ok(status.is_some_and(|status| status == "0") && says_serving(bytes.freeze()))
}

/// Whether these are the bytes of one answer that says so.
pub(super) fn says_serving(mut bytes: Bytes) -> bool {
    if bytes.len() < PREFIX_BYTES {
        return false;
    }
    let (flags, length) = (bytes.get_u8(), bytes.get_u32());
    let whole = usize::try_from(length).is_ok_and(|length| length == bytes.len());
    let answer = Answer::decode(bytes).ok().filter(|_| flags == 0 && whole);
    answer.is_some_and(|answer| answer.status == SERVING)
}

//! How long a request may take: by the word of its route, its cluster and whoever trusted asks.
//!
//! As in Envoy a route with `max_stream_duration` has no timeout of its own besides;
//! `grpc-timeout` counts for a stream's age there, and for the timeout where the route
//! has the older `max_grpc_timeout`.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::cluster::Cluster;
use crate::codec::RequestHead;
use crate::config::route::{Forward, GrpcTimeout, MaxStreamDuration, RouteTimeout};
use crate::http::exchange::Exchange;
use crate::http::names as n;
use crate::http::reply::ReplyFor;

/// Most that eight digits say.
const DIGITS_MAX: u64 = 99_999_999;

/// What limits a request at the router.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// From the end of the request to the end of the response.
    pub(super) whole: Option<Duration>,
    /// How old an attempt may become, from when it has its connection.
    pub(super) attempt_age: Option<Duration>,
    /// The upstream reads in `grpc-timeout` how long it has.
    pub(super) tells_grpc: bool,
}

impl Limits {
    /// Of a request; `asked` if it has any header of Envoy's.
    pub(super) fn of(
        head: &RequestHead,
        asked: bool,
        forward: &Forward,
        cluster: &Cluster,
    ) -> Self {
        let said = |name| asked.then(|| head.headers.get(name)).flatten().and_then(millis);
        // Zero is none.
        let limit = |millis| Some(Duration::from_millis(millis)).filter(|limit| !limit.is_zero());
        let age = cluster.config().http.common.max_stream_duration;
        let attempt_age = said(n::X_ENVOY_UPSTREAM_STREAM_DURATION_MS).map_or(age, limit);
        let whole = said(n::X_ENVOY_UPSTREAM_RQ_TIMEOUT_MS).map(limit);
        if forward.max_stream_duration.is_some() {
            return Self { whole: whole.flatten(), attempt_age, tells_grpc: false };
        }
        let rules = forward.grpc_timeout.filter(|_| is_grpc(head));
        let of_route = || match rules {
            Some(rules) => old_grpc(rules, grpc_timeout(&head.headers)),
            None => forward.timeout,
        };
        Self { whole: whole.unwrap_or_else(of_route), attempt_age, tells_grpc: rules.is_some() }
    }

    /// How long an attempt has that may take `own`, which a gRPC upstream is told.
    pub(super) fn tell(&self, head: &mut RequestHead, own: Option<Duration>) -> Option<Duration> {
        let expected = own.or(self.whole);
        if self.tells_grpc
            && let Some(expected) = expected
        {
            tell_grpc(head, expected);
        }
        expected
    }
}

/// How old the stream may become by the word of route and manager, which a gRPC upstream is told;
/// `None` leaves that as it was, since the request goes to no cluster.
pub fn stream_age(head: &mut RequestHead, ex: &Exchange) -> Option<Option<Duration>> {
    let route = ex.route()?;
    let of_manager = ex.manager.config.common.max_stream_duration;
    let Some(rules) = route.forward()?.max_stream_duration else { return Some(of_manager) };
    let limit = age_of(rules, grpc_timeout(&head.headers), of_manager);
    if is_grpc(head) {
        match limit {
            Some(limit) => tell_grpc(head, limit),
            // Envoy takes it away only where it switches a timer off by that.
            None if of_manager.is_some() => drop(head.headers.remove(n::GRPC_TIMEOUT)),
            None => {}
        }
    }
    Some(limit)
}

fn age_of(
    rules: MaxStreamDuration,
    asked: Option<Duration>,
    of_manager: Option<Duration>,
) -> Option<Duration> {
    match (rules.grpc_timeout_header_max, asked) {
        (Some(most), Some(asked)) => {
            let bounded = if most.is_zero() { asked } else { asked.min(most) };
            Some(bounded.saturating_sub(rules.grpc_timeout_header_offset))
        }
        _ => match rules.max {
            RouteTimeout::After(limit) => Some(limit),
            RouteTimeout::Disabled => None,
            RouteTimeout::Inherit => of_manager,
        },
    }
}

/// The timeout of a gRPC request on a route with `max_grpc_timeout`. Zero is no limit, on both
/// sides; an offset that would leave nothing is none.
fn old_grpc(rules: GrpcTimeout, asked: Option<Duration>) -> Option<Duration> {
    let asked = asked.unwrap_or_default();
    let asked = if rules.offset < asked { asked - rules.offset } else { asked };
    let endless = asked.is_zero() || asked > rules.max;
    let bounded = if endless && !rules.max.is_zero() { rules.max } else { asked };
    (!bounded.is_zero()).then_some(bounded)
}

fn is_grpc(head: &RequestHead) -> bool {
    ReplyFor::of(head) == ReplyFor::Grpc
}

/// A header that is a number of milliseconds.
pub(super) fn millis(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

/// `grpc-timeout` (gRPC over HTTP/2: at most eight digits and a unit) in whole milliseconds, parts
/// of one rounded up as in Envoy.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(n::GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok().filter(|amount| *amount <= DIGITS_MAX)?;
    Some(Duration::from_millis(match unit {
        "H" => amount * 3_600_000,
        "M" => amount * 60_000,
        "S" => amount * 1000,
        "m" => amount,
        "u" => amount.div_ceil(1000),
        "n" => amount.div_ceil(1_000_000),
        _ => return None,
    }))
}

/// Says in `grpc-timeout` how long there is, in the smallest unit that eight digits can say.
fn tell_grpc(head: &mut RequestHead, limit: Duration) {
    let mut amount = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let mut unit = 'm';
    for (next, parts) in [('S', 1000), ('M', 60), ('H', 60)] {
        if amount > DIGITS_MAX {
            (unit, amount) = (next, amount / parts);
        }
    }
    let text = format!("{}{unit}", amount.min(DIGITS_MAX));
    if let Ok(value) = HeaderValue::try_from(text) {
        head.headers.insert(n::GRPC_TIMEOUT, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Version;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn head(fields: &[(&'static str, &'static str)]) -> RequestHead {
        let mut head = RequestHead::unknown(Version::Http2);
        for (name, value) in fields {
            head.headers.insert(*name, HeaderValue::from_static(value));
        }
        head
    }

    #[test]
    fn a_grpc_timeout_has_eight_digits_and_a_unit() {
        let read = |value| grpc_timeout(&head(&[("grpc-timeout", value)]).headers);
        let cases = [
            ("2H", Some(7_200_000)),
            ("3M", Some(180_000)),
            ("4S", Some(4000)),
            ("5m", Some(5)),
            ("5001u", Some(6)),
            ("1n", Some(1)),
            ("00000005m", Some(5)),
            ("99999999m", Some(99_999_999)),
            ("100000000m", None),
            ("5", None),
            ("m", None),
            ("", None),
            ("-5m", None),
            ("5x", None),
        ];
        for (value, expected) in cases {
            assert_eq!(read(value), expected.map(ms), "{value}");
        }
    }

    #[test]
    fn a_grpc_timeout_is_said_in_the_smallest_unit_that_fits() {
        let say = |limit| {
            let mut head = head(&[]);
            tell_grpc(&mut head, limit);
            head.headers["grpc-timeout"].to_str().unwrap().to_owned()
        };
        assert_eq!(say(ms(0)), "0m");
        assert_eq!(say(ms(99_999_999)), "99999999m");
        assert_eq!(say(ms(100_000_000)), "100000S");
        assert_eq!(say(Duration::from_secs(100_000_000)), "1666666M");
        assert_eq!(say(Duration::from_secs(6_000_000_000)), "1666666H");
        assert_eq!(say(Duration::MAX), "99999999H");
    }

    #[test]
    fn the_age_is_the_requests_within_bounds_or_the_routes_or_the_managers() {
        let rules = MaxStreamDuration {
            max: RouteTimeout::After(ms(500)),
            grpc_timeout_header_max: Some(ms(300)),
            grpc_timeout_header_offset: ms(50),
        };
        let manager = Some(ms(900));
        assert_eq!(age_of(rules, Some(ms(200)), manager), Some(ms(150)));
        assert_eq!(age_of(rules, Some(ms(2000)), manager), Some(ms(250)));
        assert_eq!(age_of(rules, Some(ms(20)), manager), Some(ms(0)));
        assert_eq!(age_of(rules, None, manager), Some(ms(500)));
        let unread = MaxStreamDuration { grpc_timeout_header_max: None, ..rules };
        assert_eq!(age_of(unread, Some(ms(200)), manager), Some(ms(500)));
        let endless = MaxStreamDuration { grpc_timeout_header_max: Some(ms(0)), ..rules };
        assert_eq!(age_of(endless, Some(ms(2000)), manager), Some(ms(1950)));
        let off = MaxStreamDuration { max: RouteTimeout::Disabled, ..unread };
        assert_eq!(age_of(off, None, manager), None);
        let silent = MaxStreamDuration { max: RouteTimeout::Inherit, ..unread };
        assert_eq!(age_of(silent, None, manager), manager);
    }

    #[test]
    fn the_older_rules_take_zero_for_no_limit() {
        let rules = GrpcTimeout { max: ms(300), offset: ms(50) };
        assert_eq!(old_grpc(rules, Some(ms(150))), Some(ms(100)));
        assert_eq!(old_grpc(rules, Some(ms(20))), Some(ms(20)), "the offset would leave nothing");
        assert_eq!(old_grpc(rules, Some(ms(2000))), Some(ms(300)));
        assert_eq!(old_grpc(rules, None), Some(ms(300)));
        let endless = GrpcTimeout { max: ms(0), offset: ms(0) };
        assert_eq!(old_grpc(endless, None), None);
        assert_eq!(old_grpc(endless, Some(ms(2000))), Some(ms(2000)));
    }
}

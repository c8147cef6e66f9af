//! Whether a request is traced, and why (`ConnectionManagerUtility::mutateTracingRequestHeader`).
//!
//! A digit of `x-request-id` carries the decision to the next hop, which then does not decide anew.

use http::HeaderValue;

use crate::codec::RequestHead;
use crate::config::tracing::{Sampler, TracingConfig};
use crate::http::exchange::Exchange;
use crate::http::names::{X_CLIENT_TRACE_ID, X_ENVOY_FORCE_TRACE, X_REQUEST_ID};
use crate::http::request_id::DECISION;
use crate::route::fraction_holds;
use crate::telemetry::stats::HttpTracingStat;

/// Length of a UUID.
const ID_LENGTH: usize = 36;

/// Shares of requests are as fine as this.
const GRAINS: u64 = 10_000;

/// Why a request is traced, or that it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// The client asked for it.
    ClientForced,
    /// It is not.
    NotTraceable,
    /// Chance.
    Sampling,
    /// A service inside asked for it.
    ServiceForced,
}

impl Reason {
    /// Whether it is.
    pub(super) fn traced(self) -> bool {
        self != Self::NotTraceable
    }

    /// The counter.
    pub(super) fn stat(self) -> HttpTracingStat {
        match self {
            Self::ClientForced => HttpTracingStat::ClientEnabled,
            Self::NotTraceable => HttpTracingStat::NotTraceable,
            Self::Sampling => HttpTracingStat::RandomSampling,
            Self::ServiceForced => HttpTracingStat::ServiceForced,
        }
    }

    fn of_digit(digit: u8) -> Self {
        match digit {
            b'9' => Self::Sampling,
            b'a' => Self::ServiceForced,
            b'b' => Self::ClientForced,
            _ => Self::NotTraceable,
        }
    }

    fn digit(self) -> u8 {
        match self {
            Self::ClientForced => b'b',
            Self::NotTraceable => b'4',
            Self::Sampling => b'9',
            Self::ServiceForced => b'a',
        }
    }
}

pub(super) fn decide(config: &TracingConfig, ex: &Exchange, head: &mut RequestHead) -> Reason {
    let rules = &ex.manager.config.request_id;
    if !rules.use_for_trace_sampling {
        return Reason::Sampling;
    }
    let id = head.headers.get(X_REQUEST_ID);
    let Some(number) = id.and_then(|id| leading_number(id.as_bytes())) else {
        return Reason::NotTraceable;
    };
    let whole = id.filter(|id| rules.pack_trace_reason && id.len() == ID_LENGTH);
    let told = whole.map_or(Reason::NotTraceable, |id| Reason::of_digit(id.as_bytes()[DECISION]));
    let may_tell = whole.is_some();
    let route = ex.route().and_then(|route| route.entry()?.tracing.as_deref());
    let sampling = route.map_or(&config.sampling, |tracing| &tracing.sampling);
    let (runtime, random) = (&*ex.worker.shared.runtime, number % GRAINS);
    let mut reason = told;
    if !reason.traced() {
        // Of these a request has one in a thousand, but both are looked for: Envoy asks the client
        // first.
        reason = if head.headers.contains_key(X_CLIENT_TRACE_ID)
            && fraction_holds(&sampling.client, ex.random, runtime)
        {
            Reason::ClientForced
        } else if head.headers.contains_key(X_ENVOY_FORCE_TRACE) {
            Reason::ServiceForced
        } else if fraction_holds(&sampling.random, random, runtime) {
            Reason::Sampling
        } else {
            Reason::NotTraceable
        };
    }
    if reason.traced() && !fraction_holds(&sampling.overall, random, runtime) {
        reason = Reason::NotTraceable;
    }
    if may_tell && reason != told {
        tell(head, reason);
    }
    reason
}

/// What a sampler says of a trace whose caller's span is sampled or not. As in Envoy the share of a
/// trace id is that of its first eight bytes, the lowest first, by remainder. The spans of attempts
/// are as that of their request (Envoy asks again, and may sample them alone).
pub(super) fn samples(sampler: &Sampler, trace_id: &[u8; 16], caller: Option<bool>) -> bool {
    match sampler {
        Sampler::AlwaysOn => true,
        Sampler::ParentBased(inner) => caller.unwrap_or_else(|| samples(inner, trace_id, caller)),
        Sampler::TraceIdRatio { numerator, denominator } => {
            let bytes = trace_id.first_chunk().copied().unwrap_or_default();
            u64::from_le_bytes(bytes) % u64::from(*denominator) < u64::from(*numerator)
        }
    }
}

/// Writes the decision into the id: an allocation, for requests that are traced and for those that
/// another hop wanted traced.
fn tell(head: &mut RequestHead, reason: Reason) {
    let Some(id) = head.headers.get(X_REQUEST_ID) else { return };
    let mut bytes = id.as_bytes().to_vec();
    bytes[DECISION] = reason.digit();
    if let Ok(id) = HeaderValue::from_bytes(&bytes) {
        head.headers.insert(X_REQUEST_ID, id);
    }
}

/// The first eight digits, by which all hops sample alike.
fn leading_number(id: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(id.get(..8)?).ok()?;
    let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
    u64::from_str_radix(digits, 16).ok().filter(|_| hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_look_at_the_caller_or_at_the_trace() {
        let id = |first: u64| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&first.to_be_bytes());
            id
        };
        let half = Sampler::TraceIdRatio { numerator: 50, denominator: 100 };
        // Seen with Envoy 1.40.
        for (first, sampled) in
            [(0, true), (u64::MAX, true), (u64::MAX >> 1, false), (1 << 63, true)]
        {
            assert_eq!(samples(&half, &id(first), Some(false)), sampled, "{first:x}");
        }
        let parent = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
        assert!(!samples(&parent, &id(1), Some(false)));
        assert!(samples(&parent, &id(1), Some(true)));
        assert!(samples(&parent, &id(1), None));
        assert!(samples(&Sampler::AlwaysOn, &id(1), Some(false)));
    }

    #[test]
    fn eight_hex_digits_make_the_number() {
        assert_eq!(leading_number(b"0000000a-rest"), Some(10));
        assert_eq!(leading_number(b"FFFFFFFF"), Some(0xffff_ffff));
        assert_eq!(leading_number(b"+000000a"), None);
        assert_eq!(leading_number(b"short"), None);
        assert_eq!(leading_number(b"not-hex-"), None);
    }
}

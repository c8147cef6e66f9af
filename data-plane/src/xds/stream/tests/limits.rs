//! Rate of requests (K7).

use super::*;
use Variant::Sotw;

#[test]
fn k7_requests_wait_for_tokens_and_keep_their_order() {
    let limit = RateLimit { max_tokens: 2, fill_rate: 1.0 };
    let mut script = Script::new(Settings { rate_limit: Some(limit), ..Settings::new(Sotw, 1) });
    script.want(&CDS, "*");
    script.want(&LDS, "*");
    script.want(&RDS, "r");
    script.connect();
    assert_eq!(script.sent(), ["CDS v n [] node", "LDS v n [] node"]);
    assert_eq!(script.stream.pending_requests(), 1);
    assert_eq!(script.stream.rate_limit_enforced(), 1);

    script.sotw(&CDS, "1", &[]);
    assert!(script.sent().is_empty());
    assert_eq!(script.stream.rate_limit_enforced(), 1, "the same wait counts once");
    let at = script.stream.poll_timeout().expect("a token comes");
    assert_eq!(at - script.now, Duration::from_secs(1));
    script.advance(Duration::from_secs(1));
    assert_eq!(script.sent(), ["CDS v1 n1 [] node"]);
    script.advance(Duration::from_secs(1));
    assert_eq!(script.sent(), ["RDS v n [r] node"]);
}

#[test]
fn k7_slowest_rate_does_not_overflow() {
    let limit = RateLimit { max_tokens: 1, fill_rate: 1e-300 };
    let mut script = Script::new(Settings { rate_limit: Some(limit), ..Settings::new(Sotw, 1) });
    script.want(&CDS, "*");
    script.want(&LDS, "*");
    script.connect();
    assert_eq!(script.sent().len(), 1);
    assert!(script.stream.poll_timeout().is_some());
}

//! Buckets and what is taken from them, on a clock that stands still.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::bucket::Bucket;
use super::config::{BucketConfig, BucketScope, DescriptorConfig, HostRules, LocalRateLimitConfig};
use super::limiter::{Limiter, Verdict, Which};
use crate::base::clock::{self, Instant};
use crate::http::rate_limit::Descriptor;

fn bucket(max_tokens: u32, tokens_per_fill: u32, millis: u64) -> BucketConfig {
    let fill_interval = Duration::from_millis(millis);
    BucketConfig { max_tokens, tokens_per_fill, fill_interval }
}

/// How many tokens a bucket gives at once.
fn drain(bucket: &Bucket, now: Instant) -> usize {
    (0..1_000_000).take_while(|_| bucket.take(now)).count()
}

#[test]
fn a_bucket_begins_full_and_fills_up_to_its_size() {
    let begun = clock::now();
    let after = |millis| begun + Duration::from_millis(millis);
    let bucket = Bucket::new(&bucket(10, 2, 1_000), begun);
    assert_eq!(drain(&bucket, begun), 10);
    assert_eq!((bucket.left(begun), bucket.seconds_to_next(begun)), (0, 1));
    assert_eq!(drain(&bucket, after(499)), 0);
    assert_eq!(drain(&bucket, after(500)), 1);
    assert_eq!(bucket.left(after(1_999)), 2);
    assert_eq!(drain(&bucket, after(2_000)), 3);
    assert_eq!(drain(&bucket, after(3_600_000)), 10);
}

#[test]
fn a_bucket_of_any_rate_gives_as_much_as_it_holds_and_not_more() {
    let begun = clock::now();
    for size in [1, 2, 3, 7, 10, 999] {
        for millis in [50, 51, 49_000, 333, 86_400_000] {
            let bucket = Bucket::new(&bucket(size, 1, millis), begun);
            assert_eq!(drain(&bucket, begun), size as usize, "{size} a {millis} ms");
        }
    }
}

#[test]
fn a_bucket_of_no_size_gives_nothing_ever() {
    let begun = clock::now();
    let bucket = Bucket::new(&bucket(0, 5, 50), begun);
    assert_eq!(drain(&bucket, begun + Duration::from_secs(1 << 30)), 0);
}

#[test]
fn a_clock_that_stands_behind_anothers_gets_no_more() {
    let begun = clock::now() + Duration::from_secs(1);
    let bucket = Bucket::new(&bucket(5, 1, 1_000), begun);
    assert_eq!(drain(&bucket, begun + Duration::from_secs(10)), 5);
    assert_eq!(drain(&bucket, begun - Duration::from_secs(1)), 0);
    assert_eq!(bucket.left(begun), 0);
}

#[test]
fn threads_that_race_for_tokens_get_each_once() {
    let begun = clock::now();
    let bucket = Arc::new(Bucket::new(&bucket(40_000, 1, 3_600_000), begun));
    let take = |bucket: Arc<Bucket>| std::thread::spawn(move || drain(&bucket, begun));
    let threads: Vec<_> = (0..4).map(|_| take(Arc::clone(&bucket))).collect();
    let taken: usize = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
    assert_eq!(taken, 40_000);
}

fn config(descriptors: &[(&[(&str, &str)], BucketConfig)]) -> LocalRateLimitConfig {
    let pair = |(key, value): &(&str, &str)| ((*key).into(), (*value).into());
    let one = |(entries, bucket): &(&[(&str, &str)], BucketConfig)| DescriptorConfig {
        entries: entries.iter().map(pair).collect(),
        bucket: bucket.clone(),
    };
    let mut descriptors: Vec<_> = descriptors.iter().map(one).collect();
    descriptors.sort_by(|a, b| a.entries.cmp(&b.entries));
    LocalRateLimitConfig {
        stat_prefix: "p".into(),
        status: http::StatusCode::TOO_MANY_REQUESTS,
        bucket: Some(bucket(100, 1, 3_600_000)),
        enabled: None,
        enforced: None,
        request_headers: Vec::new(),
        response_headers: Vec::new(),
        descriptors,
        stage: 0,
        scope: BucketScope::Process,
        x_headers: false,
        of_host: HostRules::Override,
        always_consume_default: true,
        resource_exhausted: false,
        rules: Vec::new(),
        retry_after: false,
    }
}

fn said<'a>(entries: &[(&'a str, &'a str)]) -> Descriptor<'a> {
    entries.iter().map(|(key, value)| (*key, Cow::Borrowed(value.as_bytes()))).collect()
}

fn left(limiter: &Limiter, which: Which, now: Instant) -> u64 {
    limiter.bucket(which).expect("a bucket").left(now)
}

#[test]
fn a_descriptor_counts_if_it_has_just_the_entries_that_are_configured() {
    let now = clock::now();
    let hour = bucket(1, 1, 3_600_000);
    let known: &[(&str, &str)] = &[("a", "1"), ("b", "2")];
    let config = config(&[(known, hour.clone()), (&[("a", "1")], hour)]);
    let limiter = Limiter::new(&config, now);
    for other in [
        said(&[("b", "2")]),
        said(&[("b", "2"), ("a", "1")]),
        said(&[("a", "1"), ("b", "2"), ("c", "3")]),
        said(&[("a", "2")]),
        said(&[]),
    ] {
        let verdict = limiter.ask(&config, std::slice::from_ref(&other), now);
        assert_eq!(verdict, Verdict { allowed: true, bucket: Some(Which::Default) }, "{other:?}");
    }
    for (entries, at) in [(said(&[("a", "1")]), 0), (said(known), 1)] {
        let bucket = Some(Which::Descriptor(at));
        let ask = || limiter.ask(&config, std::slice::from_ref(&entries), now);
        assert_eq!(ask(), Verdict { allowed: true, bucket });
        assert_eq!(ask(), Verdict { allowed: false, bucket });
    }
}

#[test]
fn the_slowest_bucket_is_asked_first_and_refuses_before_the_others_give() {
    let now = clock::now();
    let config =
        config(&[(&[("k", "fast")], bucket(9, 9, 1_000)), (&[("k", "slow")], bucket(0, 1, 1_000))]);
    let limiter = Limiter::new(&config, now);
    let both = [said(&[("k", "fast")]), said(&[("k", "slow")])];
    let verdict = limiter.ask(&config, &both, now);
    assert_eq!(verdict, Verdict { allowed: false, bucket: Some(Which::Descriptor(1)) });
    assert_eq!(left(&limiter, Which::Descriptor(0), now), 9);
    assert_eq!(left(&limiter, Which::Default, now), 100);
}

#[test]
fn the_default_bucket_is_spared_where_a_descriptor_counts_if_so_configured() {
    let now = clock::now();
    let mut config = config(&[(&[("k", "v")], bucket(9, 1, 3_600_000))]);
    for (always, default_left) in [(true, 98), (false, 99)] {
        config.always_consume_default = always;
        let limiter = Limiter::new(&config, now);
        assert!(limiter.ask(&config, &[said(&[("k", "v")])], now).allowed);
        assert!(limiter.ask(&config, &[said(&[("k", "other")])], now).allowed);
        assert_eq!(left(&limiter, Which::Default, now), default_left, "{always}");
        assert_eq!(left(&limiter, Which::Descriptor(0), now), 8);
    }
}

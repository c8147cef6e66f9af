//! Whether a request passes: the buckets of one configuration, and which of them it takes from.

use std::cmp::Ordering;

use smallvec::SmallVec;

use super::bucket::Bucket;
use super::config::{BucketConfig, LocalRateLimitConfig};
use crate::base::clock::Instant;
use crate::http::rate_limit::Descriptor;

/// The buckets of one configuration.
#[derive(Debug)]
pub(super) struct Limiter {
    default: Option<Bucket>,
    /// In the order of the configuration's descriptors.
    of_descriptors: Box<[Bucket]>,
}

/// A bucket of a limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Default,
    Descriptor(usize),
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    /// The bucket that decided, or would be told of.
    pub(super) bucket: Option<Which>,
}

impl Limiter {
    pub(super) fn new(config: &LocalRateLimitConfig, now: Instant) -> Self {
        let bucket = |config: &BucketConfig| Bucket::new(config, now);
        Self {
            default: config.bucket.as_ref().map(bucket),
            of_descriptors: config.descriptors.iter().map(|d| bucket(&d.bucket)).collect(),
        }
    }

    pub(super) fn bucket(&self, which: Which) -> Option<&Bucket> {
        match which {
            Which::Default => self.default.as_ref(),
            Which::Descriptor(at) => self.of_descriptors.get(at),
        }
    }

    /// Takes a token from the bucket of each descriptor that is known, the slowest first, then
    /// from the default one. What an earlier bucket gave is gone where a later one is empty, as
    /// in Envoy.
    pub(super) fn ask(
        &self,
        config: &LocalRateLimitConfig,
        descriptors: &[Descriptor<'_>],
        now: Instant,
    ) -> Verdict {
        let mut matched: SmallVec<[usize; 8]> =
            descriptors.iter().filter_map(|descriptor| find(config, descriptor)).collect();
        let rate = |at: usize| config.descriptors[at].bucket.rate();
        matched.sort_by(|a, b| rate(*a).total_cmp(&rate(*b)));
        let first = matched.first().map(|at| Which::Descriptor(*at));
        for at in &matched {
            if !self.of_descriptors[*at].take(now) {
                return Verdict { allowed: false, bucket: Some(Which::Descriptor(*at)) };
            }
        }
        let Some(default) = &self.default else { return Verdict { allowed: true, bucket: first } };
        if matched.is_empty() || config.always_consume_default {
            if !default.take(now) {
                // As in Envoy, nobody is told of a default bucket that never holds anything.
                let bucket = Some(Which::Default).filter(|_| default.size() > 0);
                return Verdict { allowed: false, bucket };
            }
            return Verdict { allowed: true, bucket: first.or(Some(Which::Default)) };
        }
        Verdict { allowed: true, bucket: first }
    }
}

/// The configured descriptor that has just the entries of that one.
fn find(config: &LocalRateLimitConfig, descriptor: &Descriptor<'_>) -> Option<usize> {
    config
        .descriptors
        .binary_search_by(|known| {
            let mut pairs = known.entries.iter().zip(descriptor);
            let differs = |((key, value), entry): (&(Box<str>, Box<str>), _)| {
                let (other_key, other): &(&str, std::borrow::Cow<'_, [u8]>) = entry;
                let order = (**key).cmp(other_key).then_with(|| value.as_bytes().cmp(other));
                (order != Ordering::Equal).then_some(order)
            };
            let order = pairs.find_map(differs);
            order.unwrap_or_else(|| known.entries.len().cmp(&descriptor.len()))
        })
        .ok()
}

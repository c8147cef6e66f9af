//! Between Envoy's own `google.protobuf` messages and std's types.
//!
//! `envoy-types` compiles its own `google.protobuf.*`; they are not those of `prost-types`. What
//! does not fit (a negative or too long duration) is `None`, never a clamped value.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::{Message, Name};

use crate::google::protobuf::{
    Any, BoolValue, Duration as PbDuration, StringValue, Timestamp, UInt32Value, UInt64Value,
};

/// Largest `seconds` of a `google.protobuf.Duration` (about 10 000 years).
pub const DURATION_SECONDS_MAX: i64 = 315_576_000_000;

/// What a non-negative `google.protobuf.Duration` says; `None` if it is negative or not valid.
#[must_use]
pub fn duration_from_proto(value: &PbDuration) -> Option<Duration> {
    let seconds = u64::try_from(value.seconds).ok()?;
    let nanos = u32::try_from(value.nanos).ok()?;
    let valid = value.seconds <= DURATION_SECONDS_MAX && nanos < 1_000_000_000;
    valid.then(|| Duration::new(seconds, nanos))
}

/// A `google.protobuf.Duration`; what is longer than the format allows becomes the longest.
#[must_use]
pub fn duration_to_proto(value: Duration) -> PbDuration {
    match i64::try_from(value.as_secs()) {
        Ok(seconds) if seconds <= DURATION_SECONDS_MAX => {
            PbDuration { seconds, nanos: value.subsec_nanos().cast_signed() }
        }
        _ => PbDuration { seconds: DURATION_SECONDS_MAX, nanos: 0 },
    }
}

/// A `google.protobuf.Timestamp` of a point in time.
#[must_use]
pub fn timestamp_to_proto(value: SystemTime) -> Timestamp {
    match value.duration_since(UNIX_EPOCH) {
        Ok(since) => Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
            nanos: since.subsec_nanos().cast_signed(),
        },
        Err(error) => {
            let before = error.duration();
            let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            match before.subsec_nanos().cast_signed() {
                0 => Timestamp { seconds: -seconds, nanos: 0 },
                nanos => Timestamp { seconds: -seconds - 1, nanos: 1_000_000_000 - nanos },
            }
        }
    }
}

/// The point in time that a valid `google.protobuf.Timestamp` names.
#[must_use]
pub fn timestamp_from_proto(value: &Timestamp) -> Option<SystemTime> {
    let nanos = Duration::from_nanos(u64::try_from(value.nanos).ok()?);
    let whole = Duration::from_secs(value.seconds.unsigned_abs());
    let base = if value.seconds >= 0 {
        UNIX_EPOCH.checked_add(whole)?
    } else {
        UNIX_EPOCH.checked_sub(whole)?
    };
    base.checked_add(nanos)
}

/// A message with its type, as it stands in `typed_config` and in discovery responses.
#[must_use]
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// The message in `any` if it is of type `M` and whole.
#[must_use]
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Option<M> {
    (type_name(&any.type_url) == M::full_name())
        .then(|| M::decode(any.value.as_slice()).ok())
        .flatten()
}

/// The message name in a type URL: what follows the last `/`.
#[must_use]
pub fn type_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

/// A `google.protobuf.UInt32Value`.
#[must_use]
pub fn uint32(value: u32) -> UInt32Value {
    UInt32Value { value }
}

/// A `google.protobuf.UInt64Value`.
#[must_use]
pub fn uint64(value: u64) -> UInt64Value {
    UInt64Value { value }
}

/// A `google.protobuf.BoolValue`.
#[must_use]
pub fn boolean(value: bool) -> BoolValue {
    BoolValue { value }
}

/// A `google.protobuf.StringValue`.
#[must_use]
pub fn string(value: impl Into<String>) -> StringValue {
    StringValue { value: value.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_go_both_ways_and_negative_ones_are_refused() {
        let one = Duration::new(3, 5);
        assert_eq!(duration_from_proto(&duration_to_proto(one)), Some(one));
        assert_eq!(duration_from_proto(&PbDuration { seconds: -1, nanos: 0 }), None);
        assert_eq!(duration_from_proto(&PbDuration { seconds: 0, nanos: -1 }), None);
        assert_eq!(duration_from_proto(&PbDuration { seconds: 0, nanos: 1_000_000_000 }), None);
        assert_eq!(duration_to_proto(Duration::MAX).seconds, DURATION_SECONDS_MAX);
    }

    #[test]
    fn timestamps_before_the_epoch_keep_positive_nanos() {
        let early = UNIX_EPOCH - Duration::from_millis(1500);
        let proto = timestamp_to_proto(early);
        assert_eq!((proto.seconds, proto.nanos), (-2, 500_000_000));
        assert_eq!(timestamp_from_proto(&proto), Some(early));
    }

    #[test]
    fn unpack_looks_at_the_type_not_only_at_the_bytes() {
        let any = pack(&string("x"));
        assert_eq!(any.type_url, "type.googleapis.com/google.protobuf.StringValue");
        assert_eq!(unpack::<StringValue>(&any), Some(string("x")));
        assert_eq!(unpack::<UInt32Value>(&any), None);
    }
}

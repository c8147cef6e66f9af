//! What a NACK says, and how often the same one is said (C2, K8).

use std::fmt::Write as _;
use std::time::Duration;

use crate::base::clock::Instant;
use xxhash_rust::xxh64::xxh64;

use super::message::Rejected;

/// Most bytes of `error_detail.message`.
pub const NACK_TEXT_BYTES_MAX: usize = 4096;

/// First and longest delay of the answer to a bad response that was already refused (K8).
const REPEAT_DELAY: Duration = Duration::from_millis(500);
const REPEAT_DELAY_MAX: Duration = Duration::from_secs(5);

/// Names every bad resource with what is wrong, a line each, within [`NACK_TEXT_BYTES_MAX`].
pub(super) fn text(rejected: &[Rejected]) -> String {
    let mut text = String::new();
    for (i, bad) in rejected.iter().enumerate() {
        let line = format!("{}: {}", bad.name, bad.problems);
        let left = rejected.len() - i;
        let separator = usize::from(i > 0);
        if text.len() + separator + line.len() + ROOM_FOR_COUNT <= NACK_TEXT_BYTES_MAX {
            if i > 0 {
                text.push('\n');
            }
            text.push_str(&line);
            continue;
        }
        if i == 0 {
            let end = line.floor_char_boundary(NACK_TEXT_BYTES_MAX - ROOM_FOR_COUNT);
            text.push_str(&line[..end]);
            text.push('…');
            if left == 1 {
                return text;
            }
            write!(text, "\nand {} more", left - 1).expect("a String takes all text");
            return text;
        }
        write!(text, "\nand {left} more").expect("a String takes all text");
        return text;
    }
    text
}

/// Longest `"…\nand N more"`.
const ROOM_FOR_COUNT: usize = 40;

/// Remembers the last refusal, so that a server that sends it in a loop is slowed down.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    last: Option<u64>,
    times: u32,
}

impl Repeats {
    /// When the refusal of `rejected` may be sent: at once, unless the last one was the same.
    pub(super) fn refuse(&mut self, rejected: &[Rejected], now: Instant) -> Option<Instant> {
        let print = fingerprint(rejected);
        if self.last != Some(print) {
            *self = Self { last: Some(print), times: 0 };
            return None;
        }
        let factor = 1_u32.checked_shl(self.times).unwrap_or(u32::MAX);
        self.times = self.times.saturating_add(1);
        Some(now + REPEAT_DELAY.saturating_mul(factor).min(REPEAT_DELAY_MAX))
    }

    /// A good response came.
    pub(super) fn accept(&mut self) {
        *self = Self::default();
    }
}

fn fingerprint(rejected: &[Rejected]) -> u64 {
    rejected.iter().fold(0, |seed, bad| {
        let seed = xxh64(bad.name.as_bytes(), seed);
        let seed = xxh64(&bad.raw, seed);
        xxh64(bad.problems.to_string().as_bytes(), seed)
    })
}

#[cfg(test)]
mod tests {
    use super::super::message::Called;
    use super::*;
    use crate::config::error::Reason;
    use bytes::Bytes;

    fn bad(name: &str, rule: String) -> Rejected {
        let problems = Reason::Rule(rule).into();
        let (name, called) = (name.into(), Called::ByName);
        Rejected { name, called, version: "1".into(), problems, raw: Bytes::new() }
    }

    #[test]
    fn c2_names_each_bad_resource_on_a_line() {
        let all = [bad("a", "no".into()), bad("b", "never".into())];
        assert_eq!(text(&all), "a: no\nb: never");
    }

    #[test]
    fn c2_text_is_bounded_and_counts_what_it_leaves_out() {
        let all: Vec<_> = (0..500).map(|i| bad(&format!("r{i}"), "x".repeat(50))).collect();
        let many = text(&all);
        assert!(many.len() <= NACK_TEXT_BYTES_MAX, "{}", many.len());
        assert!(many.ends_with(" more"), "{many}");

        let one = text(&[bad("a", "é".repeat(4000)), bad("b", "x".into())]);
        assert!(one.len() <= NACK_TEXT_BYTES_MAX, "{}", one.len());
        assert!(one.ends_with("…\nand 1 more"), "{one}");
    }
}

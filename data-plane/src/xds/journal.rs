//! What the log says of events, at most a line a second for each source (K8).

use std::time::Duration;

use super::stream::{Event, Update};
use crate::base::clock::Instant;

const INTERVAL: Duration = Duration::from_secs(1);

/// Longest part of a refusal that is logged, in bytes; all of it is in the NACK and the status.
const TEXT_BYTES_MAX: usize = 1000;

/// Writes what an operator should see.
#[derive(Debug, Default)]
pub(super) struct Journal {
    last: Option<Instant>,
    /// Lines that were not written since.
    kept_back: u64,
}

impl Journal {
    pub(super) fn record<V>(&mut self, event: &Event<V>, now: Instant) {
        match event {
            Event::Update(update) if !update.rejected.is_empty() => self.refused(update, now),
            Event::Ignored { type_url } => {
                if let Some(kept_back) = self.may_write(now) {
                    tracing::warn!(%type_url, kept_back, "response for a type never asked for");
                }
            }
            Event::FetchTimeout { type_url, name } => {
                if let Some(kept_back) = self.may_write(now) {
                    tracing::warn!(%type_url, %name, kept_back, "initial fetch timed out");
                }
            }
            Event::Disconnected { reason, failed } => {
                if let Some(kept_back) = self.may_write(now) {
                    tracing::warn!(%reason, failed, kept_back, "stream to management server ended");
                }
            }
            Event::Absent { .. } | Event::Connect | Event::Update(_) => {}
        }
    }

    fn refused<V>(&mut self, update: &Update<V>, now: Instant) {
        let Some(kept_back) = self.may_write(now) else { return };
        let Some((bad, others)) = update.rejected.split_first() else { return };
        let mut problems = bad.problems.to_string();
        problems.truncate(problems.floor_char_boundary(TEXT_BYTES_MAX));
        let (type_url, name, others) = (&update.type_url, &bad.name, others.len());
        tracing::warn!(%type_url, %name, %problems, others, kept_back, "resource refused");
    }

    /// Whether a line may be written now, and how many were not before it.
    fn may_write(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < INTERVAL) {
            self.kept_back += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock;

    #[test]
    fn k8_one_line_a_second_and_the_others_are_counted() {
        let (mut journal, start) = (Journal::default(), clock::now());
        assert_eq!(journal.may_write(start), Some(0));
        assert_eq!(journal.may_write(start + INTERVAL / 2), None);
        assert_eq!(journal.may_write(start + INTERVAL), Some(1));
    }
}

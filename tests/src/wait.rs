//! Waiting for what another process will say, with a deadline; never for time itself.

use std::thread;
use std::time::Duration;

use crate::clock;

/// How long anything may take that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks until there is an answer.
///
/// # Panics
/// When `PATIENCE` passes without one; `what` names what was missing.
pub fn until<T>(what: &str, question: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, question).unwrap_or_else(|| panic!("waited in vain for: {what}"))
}

/// Asks until there is an answer or `patience` is over.
pub fn within<T>(patience: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = clock::deadline(patience);
    loop {
        if let Some(answer) = question() {
            return Some(answer);
        }
        if clock::now() >= deadline {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

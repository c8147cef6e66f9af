//! Recovery, the outermost layer: a panic costs one request and nothing else.
//!
//! [`guard`] runs one step of a request's work. What a panic says and where it came from is noted
//! by the hook of [`install_hook`] on the thread that panics, so that the line in the log has the
//! backtrace of the panic and not of its catching. Panics outside a guard go to the hook that was
//! there before.

use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};
use std::panic::AssertUnwindSafe;

thread_local! {
    /// How many guards this thread is inside of.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// What the last panic inside a guard said.
    static LAST: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

/// A panic that was caught.
#[derive(Clone, Debug)]
pub struct Caught {
    /// What it said.
    pub message: String,
    /// `file:line:column`, if known.
    pub place: String,
    /// The stack when it happened.
    pub stack: String,
}

/// Runs a step; a panic in it becomes an error.
///
/// # Errors
/// What the panic said.
pub fn guard<T>(step: impl FnOnce() -> T) -> Result<T, Caught> {
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    // Whoever catches drops or replaces all that the step may have left half done.
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(step));
    DEPTH.with(|depth| depth.set(depth.get() - 1));
    outcome.map_err(|payload| {
        LAST.take().unwrap_or_else(|| Caught {
            message: text_of(&*payload),
            place: String::new(),
            stack: String::new(),
        })
    })
}

/// Makes panics inside a guard leave their backtrace. To be called once by a program's `main`; it
/// is, beside the logger, the only process-wide state.
pub fn install_hook() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if DEPTH.with(Cell::get) == 0 {
            return before(info);
        }
        let caught = Caught {
            message: text_of(info.payload()),
            place: info.location().map(ToString::to_string).unwrap_or_default(),
            stack: Backtrace::force_capture().to_string(),
        };
        LAST.with(|last| *last.borrow_mut() = Some(caught));
    }));
}

fn text_of(payload: &(dyn std::any::Any + Send)) -> String {
    payload
        .downcast_ref::<&'static str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(no text)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_says_what_it_said() {
        assert_eq!(guard(|| 5).expect("no panic"), 5);
        let caught = guard(|| panic!("broken {}", 1)).expect_err("it panics");
        assert_eq!(caught.message, "broken 1");
    }

    #[test]
    fn guards_nest() {
        let outer = guard(|| {
            let inner = guard(|| panic!("inner"));
            assert!(inner.is_err());
            7
        });
        assert_eq!(outer.expect("the inner panic was caught"), 7);
    }
}

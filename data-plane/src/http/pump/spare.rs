//! The memory of requests that are over, kept for the next ones of the same worker.
//!
//! A [`RequestTask`] is larger than what the system's allocator keeps at hand for a thread, so
//! that a box of its own cost each request some hundred instructions twice. A few dozen boxes a
//! worker go round instead; an idle connection holds none.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use super::RequestTask;
use crate::codec::RequestHead;
use crate::http::exchange::Exchange;
use crate::http::worker::Worker;

/// Boxes that a worker keeps.
const SPARE: usize = 64;

/// Boxes without a request.
#[derive(Default)]
#[expect(clippy::vec_box, reason = "the boxes are what is kept: they go round")]
pub struct SpareTasks(RefCell<Vec<Box<Option<RequestTask>>>>);

/// A request in one of a worker's boxes; the box goes back when the request is dropped.
pub struct BoxedTask {
    /// `None` only while it is dropped.
    task: Option<Box<Option<RequestTask>>>,
    worker: Rc<Worker>,
}

impl BoxedTask {
    /// Puts a request whose head has arrived into a box.
    #[must_use]
    pub fn new(head: Box<RequestHead>, ex: Exchange) -> Self {
        let worker = Rc::clone(&ex.worker);
        let spare = worker.spare_tasks.0.borrow_mut().pop();
        let mut held = spare.unwrap_or_default();
        // Made in its place: a request is too large to be moved about.
        *held = Some(RequestTask::new(head, ex));
        Self { task: Some(held), worker }
    }
}

impl Deref for BoxedTask {
    type Target = RequestTask;

    fn deref(&self) -> &RequestTask {
        let held = self.task.as_deref().and_then(Option::as_ref);
        held.expect("only the drop takes it out")
    }
}

impl DerefMut for BoxedTask {
    fn deref_mut(&mut self) -> &mut RequestTask {
        let held = self.task.as_deref_mut().and_then(Option::as_mut);
        held.expect("only the drop takes it out")
    }
}

impl Drop for BoxedTask {
    fn drop(&mut self) {
        let Some(mut held) = self.task.take() else { return };
        *held = None;
        let mut spare = self.worker.spare_tasks.0.borrow_mut();
        if spare.len() < SPARE {
            spare.push(held);
        }
    }
}

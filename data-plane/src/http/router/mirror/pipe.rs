//! What goes from a request's task to the task of a mirror: parts of a body, with back-pressure.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::codec::BodyPart;

/// A bounded queue between two tasks of one worker.
#[derive(Debug)]
pub(super) struct Pipe(RefCell<State>);

#[derive(Debug)]
struct State {
    parts: VecDeque<BodyPart>,
    /// Bytes of data in `parts`.
    waiting: usize,
    limit: usize,
    phase: Phase,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// More may come.
    Open,
    /// What is in the queue is the rest.
    Ended,
    /// The request was broken off.
    Abandoned,
    /// Nobody reads any more; what is pushed is dropped.
    Closed,
}

/// What a mirror takes out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The request was broken off.
    Abandoned,
    /// The request is complete.
    End,
    /// A part of it.
    Part(BodyPart),
}

impl Pipe {
    /// A pipe that holds writers back from `limit` bytes on.
    pub(super) fn new(limit: usize, ended: bool) -> Rc<Self> {
        Rc::new(Self(RefCell::new(State {
            parts: VecDeque::new(),
            waiting: 0,
            limit,
            phase: if ended { Phase::Ended } else { Phase::Open },
            reader: None,
            writer: None,
        })))
    }

    /// Ready when a part may be pushed.
    pub(super) fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        if state.phase == Phase::Closed || state.waiting < state.limit {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Hands over a part; trailers are the last.
    pub(super) fn push(&self, part: BodyPart) {
        let mut state = self.0.borrow_mut();
        if state.phase != Phase::Open {
            return;
        }
        match &part {
            BodyPart::Data(data) => state.waiting += data.len(),
            BodyPart::Trailers(_) => state.phase = Phase::Ended,
        }
        state.parts.push_back(part);
        wake(&mut state.reader);
    }

    /// The request is complete.
    pub(super) fn end(&self) {
        self.leave(Phase::Ended);
    }

    /// The request was broken off.
    pub(super) fn abandon(&self) {
        self.leave(Phase::Abandoned);
    }

    fn leave(&self, phase: Phase) {
        let mut state = self.0.borrow_mut();
        if state.phase == Phase::Open {
            state.phase = phase;
            wake(&mut state.reader);
        }
    }

    /// Whether nothing more will be pushed.
    pub(super) fn is_complete(&self) -> bool {
        self.0.borrow().phase == Phase::Ended
    }

    /// Takes what comes next. At once where the request was broken off.
    pub(super) fn poll_take(&self, cx: &Context<'_>) -> Poll<Taken> {
        let mut state = self.0.borrow_mut();
        if state.phase == Phase::Abandoned {
            return Poll::Ready(Taken::Abandoned);
        }
        if let Some(part) = state.parts.pop_front() {
            if let BodyPart::Data(data) = &part {
                state.waiting -= data.len();
            }
            wake(&mut state.writer);
            return Poll::Ready(Taken::Part(part));
        }
        if state.phase == Phase::Open {
            state.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Taken::End)
    }

    /// Ready when the request was broken off, for a reader that takes nothing yet.
    pub(super) fn poll_abandoned(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        if state.phase == Phase::Abandoned {
            return Poll::Ready(());
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Nobody reads any more.
    pub(super) fn close(&self) {
        let mut state = self.0.borrow_mut();
        state.phase = Phase::Closed;
        state.parts.clear();
        wake(&mut state.writer);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::HeaderMap;

    use super::*;

    fn data(text: &'static str) -> BodyPart {
        BodyPart::Data(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_full_pipe_holds_the_writer_back_until_it_is_read_or_closed() {
        let cx = &Context::from_waker(Waker::noop());
        let pipe = Pipe::new(4, false);
        pipe.push(data("abc"));
        assert!(pipe.poll_ready(cx).is_ready());
        pipe.push(data("d"));
        assert!(pipe.poll_ready(cx).is_pending());
        assert_eq!(pipe.poll_take(cx), Poll::Ready(Taken::Part(data("abc"))));
        assert!(pipe.poll_ready(cx).is_ready());
        pipe.push(data("efgh"));
        assert!(pipe.poll_ready(cx).is_pending());
        pipe.close();
        assert!(pipe.poll_ready(cx).is_ready());
    }

    #[test]
    fn a_broken_off_request_is_told_before_what_waits_and_a_whole_one_after() {
        let cx = &Context::from_waker(Waker::noop());
        let broken = Pipe::new(4, false);
        broken.push(data("a"));
        assert!(broken.poll_abandoned(cx).is_pending());
        broken.abandon();
        assert_eq!(broken.poll_take(cx), Poll::Ready(Taken::Abandoned));
        let whole = Pipe::new(4, false);
        whole.push(data("a"));
        whole.push(BodyPart::Trailers(HeaderMap::new()));
        // What is already complete cannot be broken off.
        whole.abandon();
        assert!(whole.is_complete());
        assert_eq!(whole.poll_take(cx), Poll::Ready(Taken::Part(data("a"))));
        let trailers = Taken::Part(BodyPart::Trailers(HeaderMap::new()));
        assert_eq!(whole.poll_take(cx), Poll::Ready(trailers));
        assert_eq!(whole.poll_take(cx), Poll::Ready(Taken::End));
    }
}

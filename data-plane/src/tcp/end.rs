//! What both directions together come to: who ends first, what is still moved then, and which
//! end is told by a reset. No clock, no counters.

use std::io::ErrorKind;
use std::task::{Context, Poll};

use super::pump::{Broken, Half};
use crate::cluster::pool::EndedBy;
use crate::codec::io::{BufferPool, Io};

/// Both directions of a connection.
#[derive(Debug)]
pub(super) struct Pair {
    /// From the client.
    pub(super) up: Half,
    /// To the client.
    pub(super) down: Half,
    /// Who broke off or came to the end last.
    ended: Option<End>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    /// On whose side; the client's end is ours to pass on.
    pub(super) by: EndedBy,
    /// With a reset.
    pub(super) reset: bool,
    /// The client broke off and left bytes that the host still gets.
    pub(super) flushes: bool,
}

impl Pair {
    pub(super) const fn new(up: Half, down: Half) -> Self {
        Self { up, down, ended: None }
    }

    /// Moves bytes both ways; ready when both directions are over.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        (client, host): (&mut impl Io, &mut impl Io),
        buffers: &BufferPool,
    ) -> Poll<End> {
        loop {
            let before = self.ended;
            // The host's bytes first: what it said before its end goes to the client before that.
            if !self.down.has_ended() {
                match self.down.poll(cx, (&mut *host, &mut *client), buffers) {
                    Poll::Ready(Ok(())) => self.half_ended(EndedBy::Host),
                    Poll::Ready(Err(broken)) => self.broken(EndedBy::Host, broken, buffers),
                    Poll::Pending => {}
                }
            }
            if !self.up.has_ended() {
                match self.up.poll(cx, (&mut *client, &mut *host), buffers) {
                    Poll::Ready(Ok(())) => self.half_ended(EndedBy::Us),
                    Poll::Ready(Err(broken)) => self.broken(EndedBy::Us, broken, buffers),
                    Poll::Pending => {}
                }
            }
            let Some(end) = self.ended else { return Poll::Pending };
            if self.up.has_ended() && self.down.has_ended() {
                match end.by {
                    EndedBy::Host if end.reset => client.end_with_reset(),
                    EndedBy::Us if end.reset => host.end_with_reset(),
                    EndedBy::Host | EndedBy::Us => {}
                }
                return Poll::Ready(end);
            }
            if before == self.ended {
                return Poll::Pending;
            }
            // What broke now may have left the other direction with something to do.
        }
    }

    /// Bytes that were read and written, both ways.
    pub(super) const fn progress(&self) -> u64 {
        self.up.read + self.up.written + self.down.read + self.down.written
    }

    fn half_ended(&mut self, by: EndedBy) {
        if self.up.has_ended() && self.down.has_ended() && self.ended.is_none() {
            self.ended = Some(End { by, reset: false, flushes: false });
        }
    }

    /// A side broke while `reading` from one. What it sent before still goes to the other side.
    fn broken(&mut self, reading: EndedBy, broken: Broken, buffers: &BufferPool) {
        let (side, error, readable) = match (broken, reading) {
            (Broken::Source(error), side) => (side, error, false),
            // Who takes nothing more may have left something to read, and its own end.
            (Broken::Sink(error), EndedBy::Host) => (EndedBy::Us, error, true),
            (Broken::Sink(error), EndedBy::Us) => (EndedBy::Host, error, true),
        };
        let reset = error.kind() == ErrorKind::ConnectionReset;
        let (from, to) = match side {
            EndedBy::Us => (&mut self.up, &mut self.down),
            EndedBy::Host => (&mut self.down, &mut self.up),
        };
        to.stop(buffers);
        if reset || self.ended.is_some() {
            from.stop(buffers);
        } else if !readable {
            from.cut();
        }
        let flushes = side == EndedBy::Us && from.holds_bytes();
        self.ended.get_or_insert(End { by: side, reset, flushes });
    }
}

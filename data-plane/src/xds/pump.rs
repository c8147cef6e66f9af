//! What drives an [`AdsStream`]: commands in, events out, time; the same for a server and a file.
//!
//! Commands are always taken, even while the reader of events is slow, so that a program that waits
//! for the one while it is waited for by the other can't lock up. Input from the source waits
//! instead: that is the back-pressure.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::counters::Counters;
use super::journal::Journal;
use super::status::Status;
use super::stream::{AdsStream, Event, Input};
use crate::base::clock;

/// Most events that wait before no further input is read.
const OUTBOX_MAX: usize = 8;

/// Where a source's events go.
pub(super) struct Reporter<V> {
    pub(super) events: mpsc::Sender<Event<V>>,
    pub(super) status: Arc<Status>,
    pub(super) counters: Arc<Counters>,
}

/// A stream, its commands and its events.
pub(super) struct Pump<V> {
    pub(super) stream: AdsStream<V>,
    commands: mpsc::Receiver<Input>,
    pub(super) reporter: Reporter<V>,
    outbox: VecDeque<Event<V>>,
    journal: Journal,
}

/// Why a wait ended.
pub(super) enum Woken<I> {
    /// Something changed inside; look at the stream again.
    Again,
    /// The source has something.
    Input(I),
    /// Nobody commands or listens any more.
    Stop,
}

impl<V: Clone> Pump<V> {
    pub(super) fn new(
        stream: AdsStream<V>,
        commands: mpsc::Receiver<Input>,
        reporter: Reporter<V>,
    ) -> Self {
        Self { stream, commands, reporter, outbox: VecDeque::new(), journal: Journal::default() }
    }

    /// Does what is due, records events and says whether a transport is asked for.
    pub(super) fn turn(&mut self) -> bool {
        self.stream.handle_timeout(clock::now());
        let mut connect = false;
        while let Some(event) = self.stream.poll_event() {
            if matches!(event, Event::Connect) {
                connect = true;
                continue;
            }
            self.journal.record(&event, clock::now());
            let now = clock::system_now();
            self.reporter.status.record(&event, now);
            self.reporter.counters.record(&event, now);
            self.outbox.push_back(event);
        }
        connect
    }

    /// Waits for a command, room for an event, a deadline or `input`, whichever comes first.
    ///
    /// All branches are cancel safe as long as `input` is: what was not taken stays in its channel.
    pub(super) async fn wait<I>(&mut self, input: impl Future<Output = I>) -> Woken<I> {
        let deadline = self.stream.poll_timeout();
        let reads = self.outbox.len() < OUTBOX_MAX && self.stream.wants_response();
        let command = tokio::select! {
            command = self.commands.recv() => command,
            permit = self.reporter.events.reserve(), if !self.outbox.is_empty() => {
                let Ok(permit) = permit else { return Woken::Stop };
                if let Some(event) = self.outbox.pop_front() {
                    permit.send(event);
                }
                return Woken::Again;
            }
            () = until(deadline) => return Woken::Again,
            input = input, if reads => return Woken::Input(input),
        };
        let Some(command) = command else { return Woken::Stop };
        self.handle(command);
        // All that was asked for in one go travels in one request.
        while let Ok(command) = self.commands.try_recv() {
            self.handle(command);
        }
        Woken::Again
    }

    pub(super) fn handle(&mut self, input: Input) {
        self.stream.handle(input, clock::now());
    }
}

async fn until(deadline: Option<clock::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

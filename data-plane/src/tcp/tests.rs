//! Both directions of a connection over pipes in memory.

use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;

use super::end::{End, Pair};
use super::pump::Half;
use crate::cluster::pool::EndedBy;
use crate::codec::io::BufferPool;
use crate::codec::io::mem::{MemIo, pair};

/// A proxy between two pipes.
struct Rig {
    pair: Pair,
    buffers: Rc<BufferPool>,
    /// The proxy's ends.
    ends: (MemIo, MemIo),
}

impl Rig {
    /// The proxy, the client and the host; a pipe holds at most `capacity` bytes.
    fn new(capacity: usize, early: &[u8]) -> (Self, MemIo, MemIo) {
        let ((client, towards_client), (host, towards_host)) = (pair(capacity), pair(capacity));
        let halves = Pair::new(Half::new(BytesMut::from(early)), Half::new(BytesMut::new()));
        let rig = Self {
            pair: halves,
            buffers: BufferPool::new(4),
            ends: (towards_client, towards_host),
        };
        (rig, client, host)
    }

    fn poll(&mut self) -> Poll<End> {
        let mut cx = Context::from_waker(Waker::noop());
        self.pair.poll(&mut cx, (&mut self.ends.0, &mut self.ends.1), &self.buffers)
    }
}

const fn ended(by: EndedBy) -> Poll<End> {
    Poll::Ready(End { by, reset: false, flushes: false })
}

#[test]
fn who_ends_last_ends_the_connection() {
    for last in [EndedBy::Host, EndedBy::Us] {
        let (mut rig, client, host) = Rig::new(64, b"");
        let (one, two) = match last {
            EndedBy::Host => (&client, &host),
            EndedBy::Us => (&host, &client),
        };
        one.feed(b"bytes");
        one.finish();
        assert_eq!(rig.poll(), Poll::Pending);
        assert_eq!((two.drain(), two.peer_finished()), (b"bytes".to_vec(), true));
        assert!(!one.peer_finished(), "the other direction goes on");
        two.feed(b"more");
        assert_eq!(rig.poll(), Poll::Pending);
        two.finish();
        assert_eq!(rig.poll(), ended(last));
        assert_eq!((one.drain(), one.peer_finished()), (b"more".to_vec(), true));
    }
}

#[test]
fn nothing_more_is_read_while_something_cannot_be_written() {
    let (mut rig, client, host) = Rig::new(4, b"");
    client.feed(b"0123456789");
    assert_eq!(rig.poll(), Poll::Pending);
    client.feed(b"abc");
    assert_eq!(rig.poll(), Poll::Pending);
    assert_eq!((rig.pair.up.read, rig.pair.up.written, rig.pair.up.pauses), (10, 4, 1));
    let mut heard = Vec::new();
    while heard.len() < 13 {
        heard.extend(host.drain());
        assert_eq!(rig.poll(), Poll::Pending);
    }
    assert_eq!(heard, b"0123456789abc");
    assert_eq!(rig.buffers.lent(), 0, "who is idle holds no buffer");
}

#[test]
fn bytes_that_were_read_before_go_first() {
    let (mut rig, client, host) = Rig::new(64, b"hello ");
    client.feed(b"world");
    assert_eq!(rig.poll(), Poll::Pending);
    assert_eq!(host.drain(), b"hello world");
}

#[test]
fn a_host_that_is_gone_ends_a_client_that_still_sends() {
    let (mut rig, client, host) = Rig::new(64, b"");
    host.feed(b"last words");
    drop(host);
    client.feed(b"for nobody");
    assert_eq!(rig.poll(), ended(EndedBy::Host));
    assert_eq!((client.drain(), client.peer_finished()), (b"last words".to_vec(), true));
}

#[test]
fn a_client_that_is_gone_ends_a_host_that_still_sends() {
    let (mut rig, client, host) = Rig::new(64, b"");
    client.feed(b"last words");
    drop(client);
    host.feed(b"for nobody");
    assert_eq!(rig.poll(), ended(EndedBy::Us));
    assert_eq!((host.drain(), host.peer_finished()), (b"last words".to_vec(), true));
}

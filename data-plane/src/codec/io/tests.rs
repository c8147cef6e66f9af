//! Buffers come back and idle sockets tell that they closed.

use std::future::poll_fn;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;

#[test]
fn pool_reuses_a_buffer_once_nobody_reads_it() {
    let pool = BufferPool::new(4);
    let mut buffer = pool.take();
    buffer.extend_from_slice(&[1; 100]);
    let slice = buffer.split_to(50).freeze();
    drop(slice);
    pool.give(buffer);
    assert_eq!((pool.spare(), pool.lent()), (1, 0));
    assert!(pool.take().capacity() >= HEAD_READ);
}

#[test]
fn pool_drops_a_buffer_that_is_still_read() {
    let pool = BufferPool::new(4);
    let mut buffer = pool.take();
    buffer.extend_from_slice(&[7; 100]);
    let slice = buffer.split_to(50).freeze();
    pool.give(buffer);
    assert_eq!(pool.spare(), 0);
    assert_eq!(slice[0], 7);
}

#[test]
fn pool_waits_for_a_few_buffers_that_are_still_read() {
    let pool = BufferPool::new(4);
    let slices: Vec<_> = (0..READ_MOST + 2)
        .map(|_| {
            let mut buffer = pool.take();
            buffer.extend_from_slice(&[7; 100]);
            let slice = buffer.split_to(50).freeze();
            pool.give(buffer);
            slice
        })
        .collect();
    assert_eq!((pool.spare(), pool.read.borrow().len()), (0, READ_MOST));
    let places: Vec<_> = slices.iter().map(|slice| slice.as_ptr()).collect();
    assert!(!places.contains(&pool.take().as_ptr()));
    drop(slices);
    let again = pool.take();
    assert!(again.is_empty() && again.capacity() >= HEAD_READ);
    assert!(places.contains(&again.as_ptr()));
}

#[test]
fn pool_keeps_no_more_than_it_may() {
    let pool = BufferPool::new(1);
    let (one, two) = (pool.take(), pool.take());
    pool.give(one);
    pool.give(two);
    assert_eq!(pool.spare(), 1);
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

#[tokio::test]
async fn an_idle_socket_tells_that_the_peer_closed() {
    let (mut client, server) = sockets().await;
    assert!(!client.try_closed());
    drop(server);
    poll_fn(|cx| client.poll_readable(cx)).await.unwrap();
    assert!(client.try_closed());
}

#[tokio::test]
async fn a_byte_out_of_turn_counts_as_closed() {
    let (mut client, mut server) = sockets().await;
    server.write_all(b"x").await.unwrap();
    poll_fn(|cx| client.poll_readable(cx)).await.unwrap();
    assert!(client.try_closed());
}

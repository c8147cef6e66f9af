//! What a connection and a request weigh (architecture: sizes of futures are held by tests).

use super::*;
use crate::http::pump::RequestTask;

#[tokio::test(flavor = "local")]
async fn an_idle_connection_is_small() {
    let rig = Rig::new("", "", NOWHERE);
    let (io, _peer) = tokio::net::UnixStream::pair().unwrap();
    let size = std::mem::size_of_val(&serve(io, bytes::BytesMut::new(), rig.cx()));
    assert!(size <= 1600, "{size} bytes a connection");
}

#[test]
fn a_request_is_one_allocation_of_bounded_size() {
    let size = std::mem::size_of::<RequestTask>();
    assert!(size <= 2048, "{size} bytes a request");
}

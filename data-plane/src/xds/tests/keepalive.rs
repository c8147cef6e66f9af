//! HTTP/2 PINGs against servers that are played frame by frame (K4).

use tokio::net::TcpListener;

use super::*;
use crate::config::source::Backoff;
use crate::xds::client::Keepalive;

const SHORT: Duration = Duration::from_millis(50);

fn quick() -> GrpcServiceConfig {
    let backoff = Some(Backoff { base: SHORT, max: SHORT });
    GrpcServiceConfig { backoff, ..service() }
}

async fn listen() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint::Tcp(listener.local_addr().unwrap());
    (listener, endpoint)
}

/// A connection on which the server shakes hands and then never reads again.
#[tokio::test]
async fn k4_xd05_black_holed_connection_is_given_up() {
    let (listener, endpoint) = listen().await;
    let keepalive = Keepalive { interval: SHORT, timeout: SHORT };
    let ads = api(Variant::Sotw, quick());
    let mut client = Client::with_keepalive(Some(ads), &endpoint, Some(keepalive));
    client.watch(&TypeUrl::CLUSTER, "*").await;
    let (silent, _) = listener.accept().await.unwrap();
    assert_eq!(client.next().await, "failed", "no PING is answered");
    drop(silent);
}

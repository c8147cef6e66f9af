//! Pools over real sockets: connections are reused, replaced and let go.

use std::future::poll_fn;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::base::task;
use crate::cluster::testing::{cluster, endpoints, locality};
use crate::codec::{RequestHead, ResponseEvent, Sink, Source, Upstream as _};
use crate::config::cluster::ClusterConfig;
use crate::telemetry::stats::Registry;

fn lease_cx(downstream: Version) -> LeaseCx {
    LeaseCx { priority: RoutingPriority::Default, downstream, payload: Payload::Http }
}

struct Rig {
    pools: Rc<Pools>,
    cluster: Arc<Cluster>,
}

impl Rig {
    fn new(ports: &[u16], change: impl FnOnce(&mut ClusterConfig)) -> Self {
        let mut config = cluster(endpoints(vec![locality("", 0, ports)]));
        change(&mut config);
        let cluster = Arc::new(Cluster::new(Arc::new(config), &Registry::new(1)));
        Self { pools: Pools::new(WorkerId::worker(0), BufferPool::new(8), 1), cluster }
    }

    async fn lease(&self) -> Result<H1Lease, LeaseError> {
        let host = self.pools.upstream(&self.cluster).pick(None).unwrap();
        let cx = lease_cx(Version::Http11);
        match host.lease(cx).await? {
            Lease::H1(lease) => Ok(lease),
            Lease::H2(_) => panic!("HTTP/1 was asked for"),
        }
    }

    fn stat(&self, stat: ClusterStat) -> u64 {
        self.cluster.stats().value(stat)
    }
}

/// One GET on a lease.
async fn get(lease: &mut H1Lease) {
    let conn = lease.conn();
    conn.push_request(&RequestHead {
        method: Method::GET,
        scheme: None,
        authority: Some(HeaderValue::from_static("a.test")),
        path: HeaderValue::from_static("/"),
        version: Version::Http11,
        headers: HeaderMap::new(),
        ends: true,
        upgrade: None,
    });
    poll_fn(|cx| conn.poll_flush(cx)).await.unwrap();
    let event = poll_fn(|cx| conn.poll_head(cx)).await.unwrap();
    assert!(matches!(event, ResponseEvent::Head(head) if head.status == 200));
    while poll_fn(|cx| conn.poll_part(cx, 1024)).await.unwrap().is_some() {}
}

/// Answers every request on a connection, `close` after the `last`th.
async fn serve(mut stream: TcpStream, last: usize) {
    let mut buffer = [0; 1024];
    for request in 1..=last {
        let mut read = 0;
        while !buffer[..read].ends_with(b"\r\n\r\n") {
            match stream.read(&mut buffer[read..]).await {
                Ok(0) | Err(_) => return,
                Ok(n) => read += n,
            }
        }
        let close = if request == last { "connection: close\r\n" } else { "" };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{close}\r\nok");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

async fn server(last: usize) -> (u16, task::Task) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = task::spawn_local("server", async move {
        while let Ok((stream, _)) = listener.accept().await {
            task::spawn_local("connection", serve(stream, last)).detach();
        }
    });
    (port, task)
}

#[tokio::test(flavor = "local")]
async fn a_connection_serves_request_after_request() {
    let (port, _server) = server(1000).await;
    let rig = Rig::new(&[port], |_| {});
    for _ in 0..5 {
        let mut lease = rig.lease().await.unwrap();
        get(&mut lease).await;
        lease.finish(Reuse::Keep);
    }
    assert_eq!(rig.stat(ClusterStat::UpstreamCxTotal), 1);
    assert_eq!(rig.stat(ClusterStat::UpstreamRqTotal), 5);
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".len() as u64;
    assert_eq!(rig.stat(ClusterStat::UpstreamCxRxBytesTotal), 5 * answer);
    let request = "GET / HTTP/1.1\r\nhost: a.test\r\n\r\n".len() as u64;
    assert_eq!(rig.stat(ClusterStat::UpstreamCxTxBytesTotal), 5 * request);
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_the_server_closes_is_replaced() {
    let (port, _server) = server(2).await;
    let rig = Rig::new(&[port], |_| {});
    for _ in 0..6 {
        let mut lease = rig.lease().await.unwrap();
        get(&mut lease).await;
        lease.finish(Reuse::Keep);
    }
    assert_eq!(rig.stat(ClusterStat::UpstreamCxTotal), 3);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxActive), 0);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxDestroy), 3);
}

#[tokio::test(flavor = "local")]
async fn a_dead_host_is_a_typed_failure() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let rig = Rig::new(&[port], |_| {});
    let error = rig.lease().await.unwrap_err();
    assert_eq!(error.to_string(), "remote connection failure");
    let host = Arc::clone(&rig.cluster.hosts().hosts()[0]);
    assert!(host.stats.values().contains(&("cx_connect_fail", 1)));
}

#[tokio::test(flavor = "local")]
async fn hosts_that_leave_lose_their_idle_connections() {
    let (one, _server) = server(1000).await;
    let (two, _other) = server(1000).await;
    let rig = Rig::new(&[one, two], |_| {});
    for _ in 0..2 {
        let mut lease = rig.lease().await.unwrap();
        get(&mut lease).await;
        lease.finish(Reuse::Keep);
    }
    assert_eq!(rig.stat(ClusterStat::UpstreamCxActive), 2);
    let left = endpoints(vec![locality("", 0, &[two])]);
    rig.cluster.set_endpoints(Arc::new(left), &crate::cluster::build::no_names);
    rig.pools.sweep(clock::now());
    assert_eq!(rig.stat(ClusterStat::UpstreamCxActive), 1);
    rig.cluster.set_removed();
    rig.pools.sweep(clock::now());
    assert_eq!(rig.stat(ClusterStat::UpstreamCxActive), 0);
    assert!(rig.pools.upstreams.borrow().is_empty());
}

#[tokio::test(flavor = "local")]
async fn a_change_of_hosts_closes_all_connections_if_asked_to() {
    let (one, _server) = server(1000).await;
    let rig = Rig::new(&[one], |config| {
        config.lb_common.close_connections_on_host_set_change = true;
    });
    let mut lease = rig.lease().await.unwrap();
    get(&mut lease).await;
    lease.finish(Reuse::Keep);
    let more = endpoints(vec![locality("", 0, &[one, 1])]);
    rig.cluster.set_endpoints(Arc::new(more), &crate::cluster::build::no_names);
    rig.pools.sweep(clock::now());
    assert_eq!(rig.stat(ClusterStat::UpstreamCxActive), 0);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn the_sweeper_closes_idle_connections_in_time() {
    let (port, _server) = server(1000).await;
    let idle = Duration::from_millis(200);
    let rig = Rig::new(&[port], |config| config.http.common.idle_timeout = Some(idle));
    let _sweeper = task::spawn_local("sweeper", rig.pools.sweeping());
    let mut lease = rig.lease().await.unwrap();
    get(&mut lease).await;
    let since = clock::now();
    lease.finish(Reuse::Keep);
    while rig.stat(ClusterStat::UpstreamCxActive) > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(rig.stat(ClusterStat::UpstreamCxIdleTimeout), 1);
    let late = clock::now() - since - idle;
    assert!(late < Duration::from_millis(10), "{late:?}");
}

#[tokio::test(flavor = "local")]
async fn no_host_is_counted() {
    let rig = Rig::new(&[], |_| {});
    assert!(rig.pools.upstream(&rig.cluster).pick(None).is_none());
    assert_eq!(rig.stat(ClusterStat::UpstreamCxNoneHealthy), 1);
}

/// An HTTP/2 server that answers every request with 200 and ends a connection with GOAWAY after
/// `last` of them.
async fn h2_server(last: usize) -> (u16, task::Task) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = task::spawn_local("server", async move {
        while let Ok((stream, _)) = listener.accept().await {
            task::spawn_local("connection", serve_h2(stream, last)).detach();
        }
    });
    (port, task)
}

async fn serve_h2(stream: TcpStream, last: usize) {
    let mut server = ::h2::server::handshake(stream).await.unwrap();
    let mut served = 0;
    while let Some(Ok((_, mut respond))) = server.accept().await {
        respond.send_response(http::Response::new(()), true).unwrap();
        served += 1;
        if served == last {
            server.graceful_shutdown();
        }
    }
}

impl Rig {
    fn http2(port: u16) -> Self {
        Self::new(&[port], |config| {
            config.http.protocol = UpstreamProtocol::UseDownstream {
                http1: Http1Options::default(),
                http2: Http2Options::default(),
            };
        })
    }

    async fn h2_get(&self) {
        let host = self.pools.upstream(&self.cluster).pick(None).unwrap();
        let cx = lease_cx(Version::Http2);
        let Lease::H2(mut lease) = host.lease(cx).await.unwrap() else {
            panic!("HTTP/2 was asked for")
        };
        let head = RequestHead {
            method: Method::GET,
            scheme: Some(HeaderValue::from_static("http")),
            authority: Some(HeaderValue::from_static("a.test")),
            path: HeaderValue::from_static("/"),
            version: Version::Http2,
            headers: HeaderMap::new(),
            ends: true,
            upgrade: None,
        };
        poll_fn(|cx| lease.conn().poll_ready(cx)).await.unwrap();
        let mut stream = lease.conn().send(&head).unwrap();
        let event = poll_fn(|cx| stream.poll_head(cx)).await.unwrap();
        assert!(matches!(event, ResponseEvent::Head(head) if head.status == 200));
        drop(stream);
        lease.finish(Reuse::Keep);
    }
}

#[tokio::test(flavor = "local")]
async fn http2_requests_share_a_connection() {
    let (port, _server) = h2_server(1000).await;
    let rig = Rig::http2(port);
    tokio::join!(rig.h2_get(), rig.h2_get(), rig.h2_get());
    rig.h2_get().await;
    assert_eq!(rig.stat(ClusterStat::UpstreamCxHttp2Total), 1);
    assert_eq!(rig.stat(ClusterStat::UpstreamRqTotal), 4);
    rig.cluster.set_removed();
    rig.pools.sweep(clock::now());
    assert_eq!(rig.stat(ClusterStat::UpstreamCxActive), 0);
}

#[tokio::test(flavor = "local")]
async fn a_connection_that_goes_away_is_replaced() {
    let (port, _server) = h2_server(2).await;
    let rig = Rig::http2(port);
    for round in 1..=3 {
        rig.h2_get().await;
        rig.h2_get().await;
        while rig.stat(ClusterStat::UpstreamCxActive) > 0 {
            tokio::task::yield_now().await;
            rig.pools.sweep(clock::now());
        }
        assert_eq!(rig.stat(ClusterStat::UpstreamCxHttp2Total), round);
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_idle_http2_connection_closes_in_time() {
    let (port, _server) = h2_server(1000).await;
    let rig = Rig::http2(port);
    rig.h2_get().await;
    let hour = Duration::from_secs(3600);
    assert!(rig.pools.sweep(clock::now() + hour - Duration::from_secs(1)) > clock::now());
    assert_eq!(rig.stat(ClusterStat::UpstreamCxActive), 1);
    rig.pools.sweep(clock::now() + hour);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxIdleTimeout), 1);
    assert_eq!(rig.stat(ClusterStat::UpstreamCxActive), 0);
}

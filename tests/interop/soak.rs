//! Updates of every kind at 50 a second while HTTP/1 and HTTP/2 clients ask: no request is lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use tests::backend::{Backend, Reply};
use tests::client::{self, Connection};
use tests::h2_client;
use tests::proxy::{Kind, Proxy};
use tests::servers::GoControlPlane;
use tests::{clock, setup, wait};

const PACE: Duration = Duration::from_millis(20);
const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn updates_under_load_lose_no_request() {
    follow(250, false);
    follow(250, true);
}

#[test]
#[ignore = "the long form: 10,000 updates in 200 s"]
fn ten_thousand_updates_under_load_lose_no_request() {
    let sent = follow(10_000, true);
    assert!(sent >= 400_000, "{sent} requests are too few to say much");
}

/// Drives the data plane through that many updates; returns how many requests were answered.
fn follow(updates: usize, delta: bool) -> u64 {
    let backends = [Backend::start(), Backend::start()];
    for (backend, name) in backends.iter().zip(["0", "1"]) {
        backend.always(Reply::ok(name));
    }
    let mut plane = GoControlPlane::start();
    let mut mesh = Mesh { at: backends.each_ref().map(Backend::address), state: [0; 4] };
    plane.set("0", &mesh.resources());
    let proxy = Proxy::start(Kind::Ours, &setup::ads_bootstrap(plane.xds, delta));
    let listener = proxy.listener("main");
    let over = Arc::new(AtomicBool::new(false));
    let clients = [kept(listener, &over), kept(listener, &over), new(listener, &over)];
    let h2 = http2(listener, &over);

    let begun = clock::now();
    for update in 1..=updates {
        mesh.change(update);
        plane.set(&update.to_string(), &mesh.resources());
        for backend in &backends {
            drop(backend.take_seen());
        }
        let due = begun + PACE * u32::try_from(update).expect("few updates");
        thread::sleep(due.saturating_duration_since(clock::now()));
    }
    let taken = clock::now() - begun;
    mesh.wait_until_in_force(&proxy, listener);
    over.store(true, Ordering::Relaxed);
    let by_client = clients.map(|one| one.join().expect("no request of HTTP/1 is lost"));
    let by_h2 = h2.join().expect("no request of HTTP/2 is lost");
    assert!(!plane.said().contains("nack "), "{}", plane.said());
    assert!(by_client.iter().all(|sent| *sent > 0) && by_h2 > 0, "{by_client:?} {by_h2}");
    assert!(taken < 2 * PACE * u32::try_from(updates).expect("few"), "{taken:?}: not at that pace");
    mesh.check_that_most_arrived(&proxy);
    let sent = by_client.iter().sum::<u64>() + by_h2;
    println!("NOTE {updates} updates in {taken:?} (delta: {delta}): 0 of {sent} requests lost");
    sent
}

/// What is served: how often routes, endpoints, the cluster and the listener were changed.
struct Mesh {
    at: [SocketAddr; 2],
    state: [usize; 4],
}

impl Mesh {
    /// Four of ten updates change routes, four endpoints, one the cluster, one the listener.
    fn change(&mut self, update: usize) {
        let kind = match update % 10 {
            0 | 2 | 5 | 8 => 0,
            1 | 3 | 6 | 9 => 1,
            4 => 2,
            _ => 3,
        };
        self.state[kind] += 1;
    }

    fn resources(&self) -> Vec<Value> {
        let [routes, endpoints, cluster, listener] = self.state;
        let mut resources = setup::resources(self.at[endpoints % 2], "/");
        resources[0]["per_connection_buffer_limit_bytes"] = json!(65_536 + listener % 2);
        resources[1]["response_headers_to_add"] =
            json!([{"header": {"key": "x-routes", "value": routes.to_string()}}]);
        resources[2]["connect_timeout"] = json!(format!("{}s", 2 + cluster % 2));
        resources
    }
}

impl Mesh {
    /// Waits until requests and the admin interface show the last state of each kind.
    fn wait_until_in_force(&self, proxy: &Proxy, listener: SocketAddr) {
        let [routes, endpoints, cluster, listeners] = self.state;
        let (routes, endpoint) = (routes.to_string(), (endpoints % 2).to_string());
        wait::until("the last routes and endpoints", || {
            let answer = client::get(listener, "/").ok()?;
            let last = answer.header("x-routes") == Some(&routes) && answer.text() == endpoint;
            last.then_some(())
        });
        let limit = format!("\"per_connection_buffer_limit_bytes\": {}", 65_536 + listeners % 2);
        let timeout = format!("\"connect_timeout\": \"{}s\"", 2 + cluster % 2);
        wait::until("the last listener and cluster", || {
            let page = proxy.admin("/config_dump?resource=dynamic_listeners")?.text();
            let clusters = proxy.admin("/config_dump?resource=dynamic_active_clusters")?.text();
            (page.contains(&limit) && clusters.contains(&timeout)).then_some(())
        });
    }

    /// A state that is replaced before it was fetched may be passed over, but not most of them.
    fn check_that_most_arrived(&self, proxy: &Proxy) {
        let names = [
            "http.in.rds.routes.update_success",
            "cluster.service.update_success",
            "cluster_manager.cds.update_success",
            "listener_manager.lds.update_success",
        ];
        for (name, sent) in names.into_iter().zip(self.state) {
            let arrived = tests::stats::one(proxy.admin_address(), name);
            assert!(2 * arrived >= sent as u64, "{name}: {arrived} of {sent}");
        }
    }
}

/// A client that keeps its connection for as long as it may.
fn kept(listener: SocketAddr, over: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let over = Arc::clone(over);
    thread::spawn(move || {
        let mut connection = Connection::open(listener).expect("connect");
        let mut sent = 0;
        while !over.load(Ordering::Relaxed) {
            let answer = connection.exchange(GET).expect("a response");
            assert_eq!((answer.status(), answer.body.complete), (200, true));
            sent += 1;
            if answer.header("connection") == Some("close") {
                connection = Connection::open(listener).expect("connect");
            }
        }
        sent
    })
}

/// A client with a connection for each request; few enough that ports do not run out.
fn new(listener: SocketAddr, over: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let over = Arc::clone(over);
    thread::spawn(move || {
        let mut sent = 0;
        while !over.load(Ordering::Relaxed) {
            let answer = client::get(listener, "/").expect("a response");
            assert_eq!((answer.status(), answer.body.complete), (200, true));
            sent += 1;
            thread::sleep(PACE / 4);
        }
        sent
    })
}

/// A client over HTTP/2. What a GOAWAY says was not processed goes to a new connection.
fn http2(listener: SocketAddr, over: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let over = Arc::clone(over);
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let open = || h2_client::Connection::open(listener);
            let mut connection = open().await.expect("connect");
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                let request = http::Request::get("http://h/").body(()).expect("a request");
                match connection.ask(request).await {
                    Ok(answer) => {
                        assert_eq!((answer.head.status().as_u16(), answer.body.len()), (200, 1));
                        sent += 1;
                    }
                    Err(error) if unprocessed(&error) => {
                        connection = open().await.expect("connect");
                    }
                    Err(error) => panic!("a request is lost: {error:#}"),
                }
            }
            sent
        })
    })
}

/// RFC 9113 section 6.8: streams above the last one of a GOAWAY were not processed.
fn unprocessed(error: &anyhow::Error) -> bool {
    let h2 = error.chain().find_map(|cause| cause.downcast_ref::<h2::Error>());
    h2.is_some_and(|error| error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR))
}

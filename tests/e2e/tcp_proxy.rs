//! The TCP proxy: bytes both ways, ends both ways, spread, TLS on either side, changes under load.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::Result;
use rustix::process::Signal;
use serde_json::{Value, json};
use tests::backend;
use tests::client::Connection;
use tests::proxy::{Kind, Proxy};
use tests::tcp_backend::{Manner, TcpBackend};
use tests::tls::{self, Authority, Client, Identity};
use tests::{setup, stats, wait};

const LISTENER: &str = "type.googleapis.com/envoy.config.listener.v3.Listener";
const CLUSTER: &str = "type.googleapis.com/envoy.config.cluster.v3.Cluster";

/// A proxy that writes its logs at once.
fn start(listeners: &[Value], clusters: &[Value]) -> Proxy {
    let options = ["--file-flush-interval-msec", "5"];
    Proxy::start_with(Kind::Ours, &setup::of(listeners, clusters), &options)
}

fn cluster(name: &str, at: SocketAddr) -> Value {
    setup::cluster(name, at, false)
}

/// A listener `main` whose TCP proxy leads to this cluster.
fn to(name: &str) -> Value {
    let log = setup::file_log("%RESPONSE_FLAGS% rx=%BYTES_RECEIVED% tx=%BYTES_SENT%\n");
    setup::tcp_listener("main", &json!({"cluster": name, "access_log": [log]}))
}

fn connect(proxy: &Proxy) -> Connection {
    Connection::open(proxy.listener("main")).expect("the proxy takes connections")
}

fn log(proxy: &Proxy) -> String {
    let file = proxy.folder().join("access.log");
    wait::until("a line of the log", || {
        fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n'))
    })
}

#[test]
fn bytes_go_both_ways_and_the_client_may_end_first() -> Result<()> {
    let echo = TcpBackend::start(Manner::Echo);
    let proxy = start(&[to("echo")], &[cluster("echo", echo.address())]);
    let mut client = connect(&proxy);
    let text = "0123456789abcdef".repeat(64 * 1024);
    let mut sending = client.clone_for_reading()?;
    let said = text.clone();
    let sent = thread::spawn(move || {
        sending.send(said.as_bytes()).expect("all is taken");
        sending.finish().expect("the client's side ends");
    });
    assert!(client.rest()? == text.as_bytes(), "what went comes back");
    sent.join().expect("the client sent all");
    let length = text.len();
    assert_eq!(log(&proxy), format!("- rx={length} tx={length}\n"));
    assert_eq!(stats::one(proxy.admin_address(), "tcp.main.downstream_cx_total"), 1);
    let received = stats::one(proxy.admin_address(), "tcp.main.downstream_cx_rx_bytes_total");
    assert_eq!(received, length as u64);
    Ok(())
}

#[test]
fn the_server_may_end_first_and_still_hears_the_client() -> Result<()> {
    let bye = TcpBackend::start(Manner::Bye);
    let proxy = start(&[to("bye")], &[cluster("bye", bye.address())]);
    let mut client = connect(&proxy);
    client.send(b"x")?;
    assert_eq!(client.rest()?, b"bye");
    client.send(b" and more")?;
    client.finish()?;
    let seen =
        wait::until("the server's record", || Some(bye.take_seen()).filter(|s| !s.is_empty()));
    assert_eq!(seen, ["heard \"x and more\", then the end"]);
    assert_eq!(log(&proxy), "- rx=10 tx=3\n");
    Ok(())
}

#[test]
fn a_client_is_closed_and_the_reason_logged_where_there_is_no_upstream() -> Result<()> {
    let dead = cluster("dead", backend::dead_address());
    let proxy = start(&[to("dead")], &[dead]);
    assert_eq!(connect(&proxy).rest()?, b"");
    assert_eq!(log(&proxy), "UF,URX rx=0 tx=0\n");
    let failed = stats::one(proxy.admin_address(), "cluster.dead.upstream_cx_connect_fail");
    assert_eq!(failed, 1);
    assert_eq!(stats::one(proxy.admin_address(), "cluster.dead.upstream_cx_active"), 0);
    Ok(())
}

#[test]
fn connections_are_spread_by_weight() -> Result<()> {
    let (one, two) = (TcpBackend::start(Manner::Echo), TcpBackend::start(Manner::Echo));
    let weighted = json!({"weighted_clusters": {"clusters": [
        {"name": "one", "weight": 1}, {"name": "two", "weight": 3},
    ]}});
    let clusters = [cluster("one", one.address()), cluster("two", two.address())];
    let proxy = start(&[setup::tcp_listener("main", &weighted)], &clusters);
    let at = proxy.listener("main");
    for _ in 0..400 {
        let mut client = Connection::open(at)?;
        client.send(b"x")?;
        assert_eq!(client.exactly(1)?, b"x");
    }
    let total = |name: &str| {
        stats::one(proxy.admin_address(), &format!("cluster.{name}.upstream_cx_total"))
    };
    assert_eq!(total("one") + total("two"), 400);
    // Eight standard deviations around 100.
    assert!((30..=170).contains(&total("one")), "{}", total("one"));
    Ok(())
}

#[test]
fn a_server_that_does_not_read_stops_its_client() -> Result<()> {
    let deaf = TcpBackend::start(Manner::Deaf);
    let proxy = start(&[to("deaf")], &[cluster("deaf", deaf.address())]);
    let mut client = connect(&proxy);
    client.patience(std::time::Duration::from_millis(500))?;
    let before = proxy.memory();
    let part = vec![b'x'; 1 << 20];
    let taken = (0..64).take_while(|_| client.send(&part).is_ok()).count();
    assert!(taken < 64, "the proxy took 64 MiB for a server that reads nothing");
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 4096, "{grown} KiB more for one connection");
    Ok(())
}

fn context(own: &Identity) -> Value {
    tls::downstream(json!({"common_tls_context": {"tls_certificates": [own.config()]}}))
}

/// A chain for clients in TLS that ask for this name.
fn chain(name: &str, cluster: &str, own: Option<&Identity>) -> Value {
    let mut chain =
        setup::tcp_listener(cluster, &json!({"cluster": cluster}))["filter_chains"][0].clone();
    chain["filter_chain_match"] = json!({"server_names": [name]});
    if let Some(own) = own {
        chain["transport_socket"] = context(own);
    }
    chain
}

#[test]
fn the_name_in_a_client_hello_chooses_whether_tls_ends_here() -> Result<()> {
    let authority = Authority::new("root");
    let (edge, server) = (
        authority.issue("edge", &["here.example"], &[]),
        authority.issue("server", &["there.example"], &[]),
    );
    let secure = tls::Backend::start(&server, None);
    let echo = TcpBackend::start(Manner::Echo);
    let mut listener = to("echo");
    listener["filter_chains"] =
        json!(
            [chain("here.example", "echo", Some(&edge)), chain("there.example", "secure", None),]
        );
    let clusters = [cluster("echo", echo.address()), cluster("secure", secure.address())];
    let proxy = start(&[listener], &clusters);
    let at = proxy.listener("main");
    let mut here = Client::new(&authority, "here.example").open(at)?;
    assert_eq!(here.certificate().as_ref(), Some(edge.der()));
    here.raw().write_all(b"hello")?;
    let mut heard = [0; 5];
    here.raw().read_exact(&mut heard)?;
    assert_eq!(&heard, b"hello");
    let mut there = Client::new(&authority, "there.example").open(at)?;
    assert_eq!(there.certificate().as_ref(), Some(server.der()));
    let answer = there.exchange(b"GET / HTTP/1.1\r\nhost: there.example\r\n\r\n")?;
    assert_eq!((answer.status(), answer.text()), (200, "secret".to_owned()));
    assert_eq!(secure.seen()[0].name.as_deref(), Some("there.example"));
    // Of no chain, and so of nobody.
    let mut plain = Connection::open(at)?;
    plain.send(b"GET / HTTP/1.1\r\n\r\n")?;
    assert_eq!(plain.rest().unwrap_or_default(), b"");
    let found = stats::read(proxy.admin_address(), "tls_inspector");
    let count = |name: &str| found.get(&format!("tls_inspector.{name}")).copied();
    assert_eq!((count("tls_found"), count("tls_not_found")), (Some(2), Some(1)));
    assert_eq!((count("sni_found"), count("sni_not_found")), (Some(2), Some(0)));
    assert_eq!((count("alpn_found"), count("alpn_not_found")), (Some(0), Some(2)));
    Ok(())
}

#[test]
fn bytes_of_clients_in_the_clear_go_out_in_tls_without_a_protocol() -> Result<()> {
    let authority = Authority::new("root");
    let own = authority.issue("server", &["server.example"], &[]);
    let secure = tls::Backend::start(&own, None);
    let mut secured = cluster("secure", secure.address());
    secured["transport_socket"] = tls::upstream(json!({
        "sni": "server.example",
        "common_tls_context": {"validation_context": {
            "trusted_ca": {"inline_string": authority.pem},
        }},
    }));
    let proxy = start(&[to("secure")], &[secured]);
    let answer = connect(&proxy).exchange(b"GET / HTTP/1.1\r\nhost: server.example\r\n\r\n")?;
    assert_eq!((answer.status(), answer.text()), (200, "secret".to_owned()));
    let seen = secure.seen();
    assert_eq!(seen[0].name.as_deref(), Some("server.example"));
    assert_eq!(seen[0].alpn, None, "nothing is offered where nothing is configured");
    assert_eq!(stats::one(proxy.admin_address(), "cluster.secure.ssl.handshake"), 1);
    Ok(())
}

#[test]
fn changes_of_listener_and_cluster_under_load_lose_no_connection() {
    let (one, two) = (TcpBackend::start(Manner::Echo), TcpBackend::start(Manner::Greet("two")));
    let folder = tempfile::tempdir().expect("a folder");
    let put = |round: usize| {
        let mut listener = setup::tcp_listener("main", &json!({"cluster": "service"}));
        listener["@type"] = json!(LISTENER);
        listener["metadata"] = json!({"filter_metadata": {"round": {"is": round}}});
        let at = if round.is_multiple_of(2) { one.address() } else { two.address() };
        let mut cluster = cluster("service", at);
        cluster["@type"] = json!(CLUSTER);
        replace(folder.path(), "cds.yaml", &json!({"resources": [cluster]}));
        replace(folder.path(), "lds.yaml", &json!({"resources": [listener]}));
    };
    put(0);
    let source = |file: &str| json!({"path_config_source": {"path": folder.path().join(file)}});
    let mut bootstrap: Value = serde_json::from_str(&setup::of(&[], &[])).expect("JSON");
    bootstrap["node"] = json!({"id": "n", "cluster": "c"});
    bootstrap["dynamic_resources"] =
        json!({"cds_config": source("cds.yaml"), "lds_config": source("lds.yaml")});
    let proxy = Proxy::start(Kind::Ours, &bootstrap.to_string());
    let at = proxy.listener("main");
    let mut kept = Connection::open(at).expect("a connection");
    kept.send(b"a").expect("it is open");
    assert_eq!(kept.exactly(1).expect("an echo"), b"a");
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3).map(|_| load(at, Arc::clone(&over))).collect();
    for round in 1..=10 {
        put(round);
        let wanted = if round.is_multiple_of(2) { "x" } else { "two" };
        wait::until("the change", || {
            let heard = exchange(at);
            heard.starts_with(wanted.as_bytes()).then_some(())
        });
    }
    over.store(true, Ordering::Relaxed);
    let made: u64 = clients.into_iter().map(|one| one.join().expect("none is lost")).sum();
    assert!(made > 50, "{made}");
    kept.send(b"b").expect("it is still open");
    assert_eq!(kept.exactly(1).expect("an echo"), b"b");
}

/// Says `x` and hears all that comes until the end.
fn exchange(at: SocketAddr) -> Vec<u8> {
    let mut client = Connection::open(at).expect("a connection is taken");
    client.send(b"x").expect("it takes bytes");
    client.finish().expect("it is open");
    client.rest().expect("it ends in order")
}

fn load(at: SocketAddr, over: Arc<AtomicBool>) -> thread::JoinHandle<u64> {
    thread::spawn(move || {
        let mut made = 0;
        while !over.load(Ordering::Relaxed) {
            let heard = exchange(at);
            assert!(heard.ends_with(b"x"), "{heard:?}");
            made += 1;
        }
        made
    })
}

fn replace(folder: &Path, name: &str, value: &Value) {
    let new = folder.join("new");
    fs::write(&new, value.to_string()).expect("the new file");
    fs::rename(&new, folder.join(name)).expect("a rename");
}

#[test]
fn at_the_end_connections_have_the_grace_and_leave_their_line() -> Result<()> {
    let echo = TcpBackend::start(Manner::Echo);
    let options = ["--shutdown-grace-s", "1"];
    let text = setup::of(&[to("echo")], &[cluster("echo", echo.address())]);
    let mut proxy = Proxy::start_with(Kind::Ours, &text, &options);
    let mut client = connect(&proxy);
    client.send(b"one")?;
    assert_eq!(client.exactly(3)?, b"one");
    let at = proxy.listener("main");
    proxy.signal(Signal::TERM);
    wait::until("the end of listening", || Connection::open(at).is_err().then_some(()));
    client.send(b"two")?;
    assert_eq!(client.exactly(3)?, b"two", "what is in flight goes on");
    assert_eq!(client.rest().unwrap_or_default(), b"");
    assert!(proxy.wait().success());
    // Those who knocked until the door was shut have lines of their own.
    let lines = log(&proxy);
    assert!(lines.lines().any(|line| line == "- rx=6 tx=6"), "{lines}");
    Ok(())
}

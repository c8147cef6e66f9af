//! Tunnels: WebSocket and CONNECT, raw bytes both ways once both sides agreed.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::Request;
use rustix::process::Signal;
use serde_json::json;
use tests::backend::{Backend, Reply, Then};
use tests::client::Connection;
use tests::h2_backend::H2Backend;
use tests::proxy::{Kind, Proxy};
use tests::{backend, h2_client, setup, stats, wait};

const ASK: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const AGREE: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
const ACTIVE: &str = "http.in.downstream_cx_upgrades_active";

fn start(backend: SocketAddr) -> Proxy {
    start_with(backend, backend::dead_address())
}

fn start_with(backend: SocketAddr, h2: SocketAddr) -> Proxy {
    let text = setup::bootstrap(Vec::new(), backend, h2);
    let fields = json!({
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "http2_protocol_options": {"allow_connect": true},
    });
    Proxy::start(Kind::Ours, &setup::with_manager(&text, &fields))
}

/// A backend whose tunnels echo, and a client with one.
fn echo() -> (Backend, Proxy, Connection) {
    let backend = Backend::start();
    backend.always(Reply { then: Then::Echo, ..Reply::bytes(AGREE) });
    let proxy = start(backend.address());
    let client = open(&proxy);
    (backend, proxy, client)
}

fn open(proxy: &Proxy) -> Connection {
    let mut client = Connection::open(proxy.listener("main")).expect("connect");
    client.send(ASK).expect("a request");
    let head = client.receive_head().expect("an answer");
    assert_eq!((head.status(), head.field("upgrade")), (101, Some("websocket")));
    client
}

/// A backend of one connection that is not scripted; `serve` gets it after the request's head.
fn raw(serve: impl FnOnce(TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("a bound socket has an address");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            head.extend_from_slice(&byte);
        }
        serve(stream);
    });
    address
}

/// More than all buffers on the way hold, both ways at once: a side that waits for the other would
/// stop both.
#[test]
fn a_tunnel_carries_much_both_ways_at_once() {
    const PART: usize = 64 * 1024;
    const PARTS: usize = 256;
    let (_backend, _proxy, mut client) = echo();
    thread::scope(|scope| {
        let mut reading = client.clone_for_reading().expect("a second handle");
        scope.spawn(move || {
            for part in 0..PARTS {
                let bytes = reading.exactly(PART).expect("what was sent");
                assert!(bytes.iter().all(|byte| usize::from(*byte) == part % 251), "part {part}");
            }
        });
        for part in 0..PARTS {
            let byte = u8::try_from(part % 251).expect("a byte");
            client.send(&vec![byte; PART]).expect("a part");
        }
    });
    client.finish().expect("the end of our side");
    assert_eq!(client.rest().expect("the backend's end"), b"");
}

#[test]
fn many_tunnels_at_once_stay_apart() {
    let (_backend, proxy, first) = echo();
    let mut clients: Vec<Connection> = (0..49).map(|_| open(&proxy)).collect();
    clients.push(first);
    assert_eq!(stats::one(proxy.admin_address(), ACTIVE), 50);
    for round in 0..20 {
        for (at, client) in clients.iter_mut().enumerate() {
            client.send(format!("{at:04}{round:04}").as_bytes()).expect("a message");
        }
        for (at, client) in clients.iter_mut().enumerate() {
            let heard = client.exactly(8).expect("its echo");
            assert_eq!(heard, format!("{at:04}{round:04}").as_bytes());
        }
    }
    drop(clients);
    let ended = || (stats::one(proxy.admin_address(), ACTIVE) == 0).then_some(());
    wait::until("the end of all tunnels", ended);
    let active = "cluster.backend.upstream_cx_active";
    let closed = || (stats::one(proxy.admin_address(), active) == 0).then_some(());
    wait::until("the end of their connections", closed);
}

#[test]
fn a_client_that_said_all_hears_the_rest() {
    let address = raw(|mut stream| {
        stream.write_all(AGREE).expect("an answer");
        let mut said = Vec::new();
        stream.read_to_end(&mut said).expect("all that the client says");
        stream.write_all(&[b"heard ", &said[..]].concat()).expect("an answer after its end");
    });
    let proxy = start(address);
    let mut client = open(&proxy);
    client.send(b"all").expect("a message");
    client.finish().expect("the end of our side");
    assert_eq!(client.rest().expect("the backend's end"), b"heard all");
}

#[test]
fn a_backend_that_said_all_hears_the_rest() {
    let (tell, heard) = std::sync::mpsc::channel();
    let address = raw(move |mut stream| {
        stream.write_all(&[AGREE, b"bye"].concat()).expect("an answer");
        stream.shutdown(Shutdown::Write).expect("the end of its side");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("what the client says");
        tell.send(rest).expect("a listener");
    });
    let proxy = start(address);
    let mut client = open(&proxy);
    assert_eq!(client.rest().expect("the backend's end"), b"bye");
    client.send(b"and more").expect("a message");
    client.finish().expect("the end of our side");
    assert_eq!(heard.recv().expect("what it heard"), b"and more");
    let ended = || (stats::one(proxy.admin_address(), ACTIVE) == 0).then_some(());
    wait::until("the end of the tunnel", ended);
}

/// H1.35: what comes before the answer is no request and goes nowhere before it.
#[test]
fn h1_35_early_bytes_wait_for_the_answer() {
    let (ask, asked) = std::sync::mpsc::channel::<()>();
    let (tell, heard) = std::sync::mpsc::channel();
    let address = raw(move |mut stream| {
        asked.recv().expect("a word of the test");
        stream.set_nonblocking(true).expect("a mode");
        let early = stream.read(&mut [0; 64]).map_err(|error| error.kind());
        stream.set_nonblocking(false).expect("a mode");
        stream.write_all(AGREE).expect("an answer");
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("what the client says");
        tell.send((early, rest)).expect("a listener");
    });
    let proxy = start(address);
    let mut client = Connection::open(proxy.listener("main")).expect("connect");
    // More than is read ahead, so that the rest stays with the client's system.
    let early = [b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n".repeat(2000), b"x".to_vec()].concat();
    client.send(&[ASK, &early].concat()).expect("a request and more");
    let received = "http.in.downstream_rq_active";
    let active = || (stats::one(proxy.admin_address(), received) == 1).then_some(());
    wait::until("the request", active);
    ask.send(()).expect("the backend");
    assert_eq!(client.receive_head().expect("an answer").status(), 101);
    client.finish().expect("the end of our side");
    let (before, after) = heard.recv().expect("what it heard");
    assert_eq!(before, Err(std::io::ErrorKind::WouldBlock), "nothing before its answer");
    assert!(after == early, "all of it, once, after the answer");
    assert_eq!(stats::one(proxy.admin_address(), "http.in.downstream_rq_total"), 1);
}

#[test]
fn an_order_to_end_leaves_a_tunnel_its_time() {
    let (_backend, mut proxy, mut client) = echo();
    proxy.signal(Signal::TERM);
    wait::until("the listener's end", || {
        TcpStream::connect(proxy.listener("main")).is_err().then_some(())
    });
    client.send(b"still here").expect("a message");
    assert_eq!(client.exactly(10).expect("its echo"), b"still here");
    client.finish().expect("the end of our side");
    assert_eq!(client.rest().expect("the backend's end"), b"");
    assert_eq!(proxy.wait().code(), Some(0));
}

/// RFC 8441: an upgrade of HTTP/1 becomes extended CONNECT to an HTTP/2 backend.
#[test]
fn a_websocket_of_an_http1_client_reaches_an_http2_backend() {
    let backend = H2Backend::start();
    let proxy = start_with(backend::dead_address(), backend.address());
    let mut client = Connection::open(proxy.listener("main")).expect("connect");
    let request = [&ASK[..ASK.len() - 2], b"x-to: h2\r\n\r\n"].concat();
    client.send(&request).expect("a request");
    let head = client.receive_head().expect("an answer");
    assert_eq!(head.status(), 101);
    let said = ["connection", "upgrade", "x-seen-protocol", "x-seen-path", "x-seen-upgrade"];
    let wanted = [Some("upgrade"), Some("websocket"), Some("websocket"), Some("/ws"), None];
    assert_eq!(said.map(|name| head.field(name)), wanted);
    for message in [b"first", b"later"] {
        client.send(message).expect("a message");
        assert_eq!(client.exactly(5).expect("its echo"), message);
    }
    client.finish().expect("the end of our side");
    assert_eq!(client.rest().expect("the backend's end"), b"");
    let ended = || (stats::one(proxy.admin_address(), ACTIVE) == 0).then_some(());
    wait::until("the end of the tunnel", ended);
}

/// RFC 8441: extended CONNECT of an HTTP/2 client becomes an upgrade of HTTP/1.
#[tokio::test]
async fn a_websocket_of_an_http2_client_reaches_an_http1_backend() -> Result<()> {
    let backend = Backend::start();
    backend.always(Reply { then: Then::Echo, ..Reply::bytes(AGREE) });
    let proxy = start(backend.address());
    let mut connection = h2_client::Connection::open(proxy.listener("main")).await?;
    let mut request = Request::builder().method("CONNECT").uri("http://example.com/ws").body(())?;
    request.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
    let (response, mut send) = connection.begin(request).await?;
    let response = response.await.context("an answer")?;
    assert_eq!(response.status(), 200);
    let mut stream = response.into_body();
    send.send_data(Bytes::from_static(b"hello"), false)?;
    assert_eq!(h2_client::data(&mut stream).await?.context("its echo")?, "hello");
    send.send_data(Bytes::new(), true)?;
    while let Some(rest) = h2_client::data(&mut stream).await? {
        assert_eq!(rest, "", "nothing but the end");
    }
    let seen = backend.take_seen();
    assert_eq!(seen[0].head.line.trim_end(), "GET /ws HTTP/1.1");
    let fields = ["connection", "upgrade"].map(|name| seen[0].head.field(name));
    assert_eq!(fields, [Some("upgrade"), Some("websocket")]);
    Ok(())
}

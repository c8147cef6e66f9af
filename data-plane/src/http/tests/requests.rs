//! Odd clients and odd moments: nothing hangs, nothing is lost, everything is recorded once.

use super::*;
use crate::http::drain::DrainLevel;
use crate::telemetry::stats::ClusterStat;

const GET: &str = "GET /direct HTTP/1.1\r\nhost: a.test\r\n\r\n";

#[tokio::test(flavor = "local")]
async fn a_malformed_head_is_answered_counted_and_logged() {
    let rig = Rig::new("", "", NOWHERE);
    let mut client = rig.connect();
    client.say("GET / HTTP/1.1\r\nbad header: x\r\n\r\n").await;
    let answer = client.read_all().await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    client.leave().await;
    rig.assert_settled(1);
    assert!(rig.lines("requests")[1].contains("\"DPE\""), "{:?}", rig.lines("requests"));
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_head_that_is_late_gets_408_on_a_new_and_on_a_kept_connection() {
    for before in [0, 1] {
        let rig = Rig::new("request_headers_timeout: 3s,", "", NOWHERE);
        let mut client = rig.connect();
        for _ in 0..before {
            client.say(GET).await;
            client.read_to("\r\n\r\ndirect").await;
        }
        client.say("GET /direct HTTP/1.1\r\nhost: a").await;
        let answer = client.read_all().await;
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{before}: {answer:?}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        client.leave().await;
        rig.assert_settled(before + 1);
        assert_eq!(rig.stat(HttpStat::DownstreamRqHeaderTimeout), 1);
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn an_idle_connection_closes_after_its_time() {
    let rig = Rig::new("common_http_protocol_options: {idle_timeout: 2s},", "", NOWHERE);
    let mut client = rig.connect();
    client.say(GET).await;
    client.read_to("\r\n\r\ndirect").await;
    assert_eq!(client.read_all().await, "");
    assert_eq!(rig.stat(HttpStat::DownstreamCxIdleTimeout), 1);
    rig.assert_settled(1);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_body_that_stands_still_ends_with_408() {
    for options in ["stream_idle_timeout: 2s,", "request_timeout: 1s, stream_idle_timeout: 0s,"] {
        let (port, _silent) = upstream(silent).await;
        let rig = Rig::new(options, "", port);
        let mut client = rig.connect();
        client.say("POST / HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nab").await;
        let answer = client.read_all().await;
        assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{options} {answer:?}");
        client.leave().await;
        rig.assert_settled(1);
    }
}

/// Takes everything and says nothing.
async fn silent(mut stream: TcpStream) {
    while read_head(&mut stream).await.is_some() {}
}

#[tokio::test(flavor = "local")]
async fn an_upstream_that_never_answers_ends_with_504() {
    let (port, _silent) = upstream(silent).await;
    let route = "{match: {prefix: /slow}, route: {cluster: up, timeout: 0.05s}},";
    let rig = Rig::new("", route, port);
    let mut client = rig.connect();
    client.say("GET /slow HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    client.read_to("\r\n\r\nupstream request timeout").await;
    // The connection goes on.
    client.say(GET).await;
    client.read_to("\r\n\r\ndirect").await;
    client.leave().await;
    rig.assert_settled(2);
    assert!(rig.lines("requests")[1].contains("\"UT\""), "{:?}", rig.lines("requests"));
}

#[tokio::test(flavor = "local")]
async fn a_client_that_waits_for_100_is_told_to_go_on() {
    let (port, _upstream) = upstream(mirror).await;
    let rig = Rig::new("", "", port);
    let mut client = rig.connect();
    client
        .say("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
        .await;
    assert_eq!(client.read_to("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.say("ab").await;
    let head = client.read_to("\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    client.leave().await;
    rig.assert_settled(1);
}

#[tokio::test(flavor = "local")]
async fn an_answer_before_the_upload_ends_closes_the_connection() {
    let rig = Rig::new("", "", NOWHERE);
    let mut client = rig.connect();
    client.say("POST /direct HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nabc").await;
    let answer = client.read_all().await;
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\ndirect"), "{answer}");
    client.leave().await;
    rig.assert_settled(1);
    assert_eq!(rig.stat(HttpStat::DownstreamRqResponseBeforeRqComplete), 1);
}

#[tokio::test(flavor = "local")]
async fn a_drain_closes_idle_connections_and_says_so_on_the_answer_at_hand() {
    let (go, gate) = tokio::sync::watch::channel(());
    let (port, _upstream) = upstream(move |mut stream| {
        let mut gate = gate.clone();
        async move {
            let Some(_) = read_head(&mut stream).await else { return };
            let _opened = gate.changed().await;
            let _sent = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            let _open = read_head(&mut stream).await;
        }
    })
    .await;
    let rig = Rig::new("", "", port);
    let mut idle = rig.connect();
    idle.say(GET).await;
    idle.read_to("\r\n\r\ndirect").await;
    let mut busy = rig.connect();
    busy.say("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    while rig.stat(HttpStat::DownstreamRqActive) == 0 {
        tokio::task::yield_now().await;
    }
    rig.drain.raise(DrainLevel::Close);
    assert_eq!(idle.read_all().await, "");
    go.send(()).unwrap();
    let answer = busy.read_all().await;
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    rig.assert_settled(2);
    idle.leave().await;
    busy.leave().await;
    assert_eq!(rig.drain.active(), 0);
}

#[tokio::test(flavor = "local")]
async fn a_client_that_leaves_is_recorded_and_its_upstream_let_go() {
    let (port, _silent) = upstream(silent).await;
    let rig = Rig::new("", "", port);
    let mut client = rig.connect();
    client.say("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    let view = rig.manager.views.current();
    let stats = view.clusters.get("up").unwrap().stats();
    while stats.value(ClusterStat::UpstreamRqActive) == 0 {
        tokio::task::yield_now().await;
    }
    client.leave().await;
    assert_eq!(stats.value(ClusterStat::UpstreamRqActive), 0);
    assert_eq!(stats.value(ClusterStat::UpstreamCxActive), 0);
    rig.assert_settled(1);
    assert!(rig.lines("requests")[1].contains("\"DC\""), "{:?}", rig.lines("requests"));
}

#[tokio::test(flavor = "local")]
async fn large_bodies_flow_both_ways_at_once_through_small_buffers() {
    const BYTES: usize = 3 << 20;
    let (port, _echo) = upstream(|mut stream| async move {
        let Some((_, body)) = read_head(&mut stream).await else { return };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BYTES}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        let (mut read, mut write) = stream.split();
        let left = (BYTES - body.len()) as u64;
        tokio::io::copy(&mut (&mut read).take(left), &mut write).await.unwrap();
    })
    .await;
    let rig = Rig::new("", "", port);
    let client = rig.connect_with(16 * 1024);
    let (mut read, mut write) = tokio::io::split(client.io);
    let sending = async {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {BYTES}\r\n\r\n");
        write.write_all(head.as_bytes()).await.unwrap();
        for chunk in 0..BYTES / 4096 {
            write.write_all(&[u8::try_from(chunk % 251).unwrap(); 4096]).await.unwrap();
        }
    };
    let receiving = async {
        let mut all = Vec::new();
        while !all.windows(4).any(|four| four == b"\r\n\r\n") {
            read.read_buf(&mut all).await.unwrap();
        }
        let head = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        while all.len() < head + BYTES {
            assert!(read.read_buf(&mut all).await.unwrap() > 0, "cut off at {}", all.len());
        }
        all.split_off(head)
    };
    let both = async { tokio::join!(sending, receiving).1 };
    let body = tokio::time::timeout(PATIENCE, both).await.expect("both ways move");
    for (chunk, bytes) in body.chunks(4096).enumerate() {
        assert!(bytes.iter().all(|b| usize::from(*b) == chunk % 251), "chunk {chunk}");
    }
    drop((read, write));
    client.task.join().await;
    rig.assert_settled(1);
}

#[tokio::test(flavor = "local")]
async fn an_upstream_that_is_not_there_ends_with_503() {
    let rig = Rig::new("", "", NOWHERE);
    let mut client = rig.connect();
    client.say("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    let answer = client.read_to("reset reason: remote connection failure").await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    client.leave().await;
    rig.assert_settled(1);
    assert!(rig.lines("requests")[1].contains("\"UF\""), "{:?}", rig.lines("requests"));
}

#[tokio::test(flavor = "local")]
async fn an_upstream_that_streams_for_too_long_is_let_go_though_nobody_reads() {
    let (port, _endless) = upstream(|mut stream| async move {
        let _head = read_head(&mut stream).await;
        let mut written = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while written.is_ok() {
            written = stream.write_all(&[b'x'; 4096]).await;
        }
    })
    .await;
    let limit = "name: up\n    common_http_protocol_options: {max_stream_duration: 0.05s}";
    let rig = Rig::of(&bootstrap("", "", "", port).replacen("name: up", limit, 1));
    let mut client = rig.connect_with(4096);
    client.say("GET / HTTP/1.1\r\nhost: a.test\r\n\r\n").await;
    let view = rig.manager.views.current();
    let stats = view.clusters.get("up").unwrap().stats();
    let over = async {
        while stats.value(ClusterStat::UpstreamRqMaxDurationReached) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, over).await.expect("the stream's age is looked at");
    assert_eq!(stats.value(ClusterStat::UpstreamRqActive), 0);
    client.leave().await;
    rig.assert_settled(1);
    assert!(rig.lines("requests")[1].contains("\"UMSDR\""), "{:?}", rig.lines("requests"));
}

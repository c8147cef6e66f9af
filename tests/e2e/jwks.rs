//! Keys of another server (`remote_jwks`) that change, and whose server goes away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};
use tests::backend::{self, Backend, Reply, Then, When};
use tests::client::Connection;
use tests::proxy::{Kind, Proxy};
use tests::{clock, setup, wait};

use crate::rig::Rig;

/// Two keys, and a token of each that is good until the year 2100; made for these tests.
const KEYS: [&str; 2] = [
    r#"{"kty":"oct","kid":"one","k":"dGhlIGZpcnN0IHNlY3JldCBvZiB0aGVzZSBjYXNlcw"}"#,
    r#"{"kty":"oct","kid":"two","k":"dGhlIHNlY29uZCBzZWNyZXQgb2YgdGhlc2UgY2FzZXM"}"#,
];
const TOKENS: [&str; 2] = [
    concat!(
        "eyJhbGciOiJIUzI1NiIsImtpZCI6Im9uZSJ9.",
        "eyJpc3MiOiJhIiwic3ViIjoibWUiLCJleHAiOjQxMDI0NDQ4MDB9.",
        "OnMCJVRajKsjDMsmChjYxI_SqA-aH-XcaAjJLi2w4p0",
    ),
    concat!(
        "eyJhbGciOiJIUzI1NiIsImtpZCI6InR3byJ9.",
        "eyJpc3MiOiJhIiwic3ViIjoibWUiLCJleHAiOjQxMDI0NDQ4MDB9.",
        "W2qKIi6QvbXk_hb5yL--fLcPh7Xhw0CuG6rr5uYgLU4",
    ),
];

/// A proxy that wants a token with every request; its keys are good for that long.
fn start(keys: &Backend, cache: &str) -> Rig {
    start_with(keys, &json!({"cache_duration": cache}), "5s")
}

/// The same with these fields of `remote_jwks`, and so much time for a fetch.
fn start_with(keys: &Backend, fields: &Value, timeout: &str) -> Rig {
    let uri = json!({"uri": "http://keys.test/jwks", "cluster": "keys", "timeout": timeout});
    let mut remote = fields.clone();
    remote["http_uri"] = uri;
    let jwt = "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication";
    let filter = json!({"name": "jwt", "typed_config": {
        "@type": jwt, "providers": {"p": {"issuer": "a", "remote_jwks": remote}},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "p"}}],
    }});
    let backend = Backend::start();
    backend.always(Reply::ok("hello"));
    let text = setup::bootstrap(vec![filter], backend.address(), backend::dead_address());
    let mut bootstrap: Value = serde_json::from_str(&text).expect("JSON");
    let clusters = bootstrap["static_resources"]["clusters"].as_array_mut().expect("clusters");
    clusters.push(setup::cluster("keys", keys.address(), false));
    let proxy = Proxy::start(Kind::Ours, &bootstrap.to_string());
    Rig { listener: proxy.listener("main"), backend, proxy }
}

fn publish(keys: &Backend, which: &[usize]) {
    let list: Vec<&str> = which.iter().map(|at| KEYS[*at]).collect();
    keys.always(Reply::ok(&format!("{{\"keys\":[{}]}}", list.join(","))));
}

fn ask(client: &mut Connection, token: usize) -> (u16, String) {
    let token = TOKENS[token];
    let request = format!("GET /a HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n\r\n");
    let answer = client.exchange(request.as_bytes()).expect("an answer");
    (answer.status(), answer.text())
}

/// Asks with one token after another from several connections while `then` runs; how many answers
/// were not 200.
fn under_load(rig: &Rig, token: usize, then: impl FnOnce()) -> usize {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = || {
            let (mut client, mut bad) = (rig.connect(), 0);
            while !over.load(Ordering::Relaxed) {
                bad += usize::from(ask(&mut client, token).0 != 200);
            }
            bad
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        then();
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("a client")).sum()
    })
}

/// 1. Tokens of the first key are good, those of the second are not.
/// 2. The server says both keys, then the second alone, as issuers do that change their key.
/// 3. No request with the token of the day is refused; the old token falls within a second or two.
/// 4. Whoever needs keys at the same time shares one fetch: no more of them than seconds.
#[test]
fn a_key_changes_by_its_id_and_no_request_falls() {
    let keys = Backend::start();
    publish(&keys, &[0]);
    let rig = start(&keys, "1s");
    let begun = clock::now();
    let refused = under_load(&rig, 0, || {
        let mut client = rig.connect();
        assert_eq!(ask(&mut client, 1).0, 401);
        publish(&keys, &[0, 1]);
        wait::until("the new key", || (ask(&mut client, 1).0 == 200).then_some(()));
    });
    assert_eq!(refused, 0, "with the first key");
    let refused = under_load(&rig, 1, || {
        publish(&keys, &[1]);
        let mut client = rig.connect();
        wait::until("the end of the old key", || (ask(&mut client, 0).0 == 401).then_some(()));
    });
    assert_eq!(refused, 0, "with the second key");
    let most = begun.elapsed().as_secs() + 1;
    let fetched = rig.stat("http.in.jwt_authn.jwks_fetch_success");
    assert!((3..=most).contains(&fetched), "{fetched} in {most} s");
    assert_eq!(rig.stat("http.in.jwt_authn.jwks_fetch_failed"), 0);
}

/// 1. The server of keys goes away. What was fetched serves for its time, and no longer.
/// 2. Then nobody passes, and each answer says why.
/// 3. It comes back, and so do the clients.
#[test]
fn keys_outlive_their_server_for_their_time_alone() {
    let keys = Backend::start();
    publish(&keys, &[0]);
    let rig = start(&keys, "1s");
    let mut client = rig.connect();
    assert_eq!(ask(&mut client, 0), (200, "hello".to_owned()));
    keys.always(Reply { when: When::Head, then: Then::Reset, bytes: Vec::new() });
    assert_eq!(ask(&mut client, 0).0, 200, "the keys are a moment old");
    let answer = wait::until("the end of their time", || {
        let answer = ask(&mut client, 0);
        (answer.0 != 200).then_some(answer)
    });
    assert_eq!(answer, (401, "Jwks remote fetch is failed".to_owned()));
    assert!(rig.stat("http.in.jwt_authn.jwks_fetch_failed") > 0);
    publish(&keys, &[0]);
    assert_eq!(ask(&mut client, 0).0, 200, "asked anew at once");
}

/// However many need keys at the same moment, on whatever worker: their server is asked once.
#[test]
fn who_waits_for_keys_shares_one_fetch() {
    let keys = Backend::start();
    publish(&keys, &[0]);
    let rig = start(&keys, "600s");
    let mut clients: Vec<_> = (0..20).map(|_| rig.connect()).collect();
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| assert_eq!(ask(client, 0).0, 200));
        }
    });
    assert_eq!(keys.take_seen().len(), 1);
    assert_eq!(rig.stat("http.async-client.rq_total"), 1);
    assert_eq!(rig.stat("cluster.keys.upstream_rq_total"), 1);
}

/// 1. Keys are here before the first request.
/// 2. Their server goes away for longer than they are good for by themselves; they go on serving.
/// 3. It comes back with another key, which is here without anybody's asking.
#[test]
fn keys_that_are_fetched_ahead_serve_until_there_are_others() {
    let keys = Backend::start();
    publish(&keys, &[0]);
    let rig = start_with(&keys, &json!({"cache_duration": "1s", "async_fetch": {}}), "5s");
    assert_eq!(rig.stat("http.in.jwt_authn.jwks_fetch_success"), 1);
    let mut client = rig.connect();
    assert_eq!(ask(&mut client, 0), (200, "hello".to_owned()));
    keys.always(Reply { when: When::Head, then: Then::Reset, bytes: Vec::new() });
    wait::until("two fetches that fail", || {
        (rig.stat("http.in.jwt_authn.jwks_fetch_failed") >= 2).then_some(())
    });
    assert_eq!(ask(&mut client, 0).0, 200, "the last good ones");
    publish(&keys, &[1]);
    wait::until("the other key", || (ask(&mut client, 1).0 == 200).then_some(()));
    assert_eq!(ask(&mut client, 0).0, 401);
}

/// The server of keys takes the request and says nothing.
#[test]
fn a_listener_waits_for_its_first_fetch_and_a_fast_one_does_not() {
    let keys = Backend::start();
    keys.always(Reply { when: When::Head, then: Then::Hang, bytes: Vec::new() });
    let rig = start_with(&keys, &json!({"async_fetch": {}}), "0.3s");
    assert!(rig.stat("http.in.jwt_authn.jwks_fetch_failed") >= 1, "the first fetch is over");
    let fast = json!({"async_fetch": {"fast_listener": true}});
    let rig = start_with(&keys, &fast, "600s");
    assert_eq!(rig.stat("http.in.jwt_authn.jwks_fetch_failed"), 0);
    assert!(keys.seen_count() >= 1);
}

//! TLS with clients: who is served, who is refused, what is told upstream.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tests::backend::{self, Backend, Reply};
use tests::client::Connection;
use tests::proxy::{Kind, Proxy};
use tests::tls::{Authority, Client, Identity, downstream};
use tests::{proxy, setup, stats, wait};

const SPIFFE: &str = "spiffe://mesh.local/service/reviews";

/// Statistics bear the address that was written, port 0.
const LISTENER: &str = "listener.127.0.0.1_0.";

/// A bootstrap whose chains have these matches and contexts, and these more fields of the manager.
fn bootstrap(chains: &[(Value, Value)], manager: &Value, backend: SocketAddr) -> String {
    let text = setup::bootstrap(Vec::new(), backend, backend::dead_address());
    let mut all: Value = serde_json::from_str(&text).expect("the bootstrap is JSON");
    let listener = &mut all["static_resources"]["listeners"][0];
    let mut plain = listener["filter_chains"][0].clone();
    let fields = &mut plain["filters"][0]["typed_config"];
    for (name, value) in manager.as_object().into_iter().flatten() {
        fields[name] = value.clone();
    }
    let chains: Vec<Value> = chains
        .iter()
        .map(|(matches, context)| {
            let mut chain = plain.clone();
            chain["filter_chain_match"] = matches.clone();
            chain["transport_socket"] = downstream(context.clone());
            chain
        })
        .collect();
    listener["filter_chains"] = json!(chains);
    all.to_string()
}

fn context(own: &Identity) -> Value {
    json!({"common_tls_context": {
        "tls_certificates": [own.config()],
        "alpn_protocols": ["h2", "http/1.1"],
    }})
}

fn answering() -> Backend {
    let backend = Backend::start();
    backend.always(Reply::bytes("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"));
    backend
}

#[test]
fn http1_is_served_in_both_versions_of_tls() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), answering());
    let own = authority.issue("edge", &["edge.example"], &[]);
    let text = bootstrap(&[(json!({}), context(&own))], &json!({}), backend.address());
    let proxy = Proxy::start(Kind::Ours, &text);
    let at = proxy.listener("main");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client =
            Client { version, alpn: &["http/1.1"], ..Client::new(&authority, "edge.example") };
        let mut stream = client.open(at)?;
        assert_eq!(stream.alpn().as_deref(), Some("http/1.1"));
        for _ in 0..3 {
            let answer = stream.exchange(b"GET / HTTP/1.1\r\nhost: edge.example\r\n\r\n")?;
            assert_eq!((answer.status(), answer.text()), (200, "ok".to_owned()));
        }
    }
    let seen = backend.take_seen();
    assert_eq!(seen[0].head.field("x-forwarded-proto"), Some("https"));
    let name = format!("{LISTENER}ssl.");
    let counted = stats::read(proxy.admin_address(), "ssl");
    assert_eq!(counted.get(&format!("{name}handshake")), Some(&2));
    assert_eq!(counted.get(&format!("{name}no_certificate")), Some(&2));
    assert_eq!(counted.get(&format!("{name}versions.TLSv1.2")), Some(&1));
    assert_eq!(counted.get(&format!("{name}versions.TLSv1.3")), Some(&1));
    assert_eq!(counted.get(&format!("{name}connection_error")), Some(&0));
    Ok(())
}

#[test]
fn a_large_body_comes_whole_through_small_windows() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), Backend::start());
    let body = "0123456789abcdef".repeat(64 * 1024);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    backend.always(Reply::bytes(head + &body));
    let own = authority.issue("edge", &["edge.example"], &[]);
    let text = bootstrap(&[(json!({}), context(&own))], &json!({}), backend.address());
    let proxy = Proxy::start(Kind::Ours, &text);
    let answer = Client::new(&authority, "edge.example").get(proxy.listener("main"), "/", "")?;
    assert_eq!(answer.body.bytes.len(), body.len());
    assert!(answer.text() == body, "the bytes are those of the backend");
    Ok(())
}

#[test]
fn alpn_chooses_http2() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), answering());
    let own = authority.issue("edge", &["edge.example"], &[]);
    let client = Client { alpn: &["h2", "http/1.1"], ..Client::new(&authority, "edge.example") };
    for protocols in [json!(["h2", "http/1.1"]), json!(["h2,http/1.1"])] {
        let mut context = context(&own);
        context["common_tls_context"]["alpn_protocols"] = protocols;
        let text = bootstrap(&[(json!({}), context)], &json!({}), backend.address());
        let proxy = Proxy::start(Kind::Ours, &text);
        let mut stream = client.open(proxy.listener("main"))?;
        assert_eq!(stream.alpn().as_deref(), Some("h2"));
        let raw = stream.raw();
        raw.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")?;
        let mut frame = [0; 9];
        raw.read_exact(&mut frame)?;
        assert_eq!(frame[3], 4, "the first frame is SETTINGS");
    }
    Ok(())
}

#[test]
fn sni_chooses_the_chain_and_its_certificate() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), answering());
    let exact = authority.issue("a", &["a.example"], &[]);
    let wild = authority.issue("wild", &["*.b.example"], &[]);
    let chains = [
        (json!({"server_names": ["a.example"]}), context(&exact)),
        (json!({"server_names": ["*.b.example"]}), context(&wild)),
    ];
    let proxy = Proxy::start(Kind::Ours, &bootstrap(&chains, &json!({}), backend.address()));
    let at = proxy.listener("main");
    for (name, own) in [("a.example", &exact), ("x.b.example", &wild)] {
        let mut stream = Client::new(&authority, name).open(at)?;
        assert_eq!(stream.certificate().as_ref(), Some(own.der()));
        let answer = stream.exchange(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")?;
        assert_eq!(answer.status(), 200);
    }
    assert!(Client::new(&authority, "c.example").open(at).is_err(), "no chain is for that name");
    let unmatched = format!("{LISTENER}no_filter_chain_match");
    assert_eq!(stats::one(proxy.admin_address(), &unmatched), 1);
    Ok(())
}

#[test]
fn a_plain_client_beside_a_tls_chain_has_its_own() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), answering());
    let own = authority.issue("edge", &["edge.example"], &[]);
    let tls = json!({"transport_protocol": "tls"});
    let text =
        bootstrap(&[(tls, context(&own)), (json!({}), json!({}))], &json!({}), backend.address());
    let mut all: Value = serde_json::from_str(&text)?;
    let chain = &mut all["static_resources"]["listeners"][0]["filter_chains"][1];
    chain.as_object_mut().context("a chain")?.remove("transport_socket");
    let proxy = Proxy::start(Kind::Ours, &all.to_string());
    let at = proxy.listener("main");
    assert_eq!(Client::new(&authority, "edge.example").get(at, "/", "")?.status(), 200);
    let plain = Connection::open(at)?.exchange(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")?;
    assert_eq!(plain.status(), 200);
    let seen = backend.take_seen();
    let told: Vec<_> = seen.iter().map(|seen| seen.head.field("x-forwarded-proto")).collect();
    assert_eq!(told, [Some("https"), Some("http")]);
    Ok(())
}

/// Only clients of the mesh's authority with this identity are served.
fn mutual(own: &Identity, authority: &Authority) -> Value {
    json!({
        "require_client_certificate": true,
        "common_tls_context": {
            "tls_certificates": [own.config()],
            "validation_context": {
                "trusted_ca": {"inline_string": authority.pem},
                "match_typed_subject_alt_names":
                    [{"san_type": "URI", "matcher": {"exact": SPIFFE}}],
            },
        },
    })
}

#[test]
fn only_the_right_client_certificate_is_served() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), answering());
    let own = authority.issue("edge", &["edge.example"], &[]);
    let text = bootstrap(&[(json!({}), mutual(&own, &authority))], &json!({}), backend.address());
    let proxy = Proxy::start(Kind::Ours, &text);
    let at = proxy.listener("main");
    let right = authority.issue("reviews", &[], &[SPIFFE]);
    let longer = authority.issue("reviews", &[], &[&format!("{SPIFFE}b")]);
    let wrong_kind = authority.issue("reviews", &["mesh.local"], &[]);
    let stranger = Authority::new("other").issue("reviews", &[], &[SPIFFE]);
    let refused = [
        (None, "fail_verify_no_cert", 1),
        (Some(&longer), "fail_verify_san", 1),
        (Some(&wrong_kind), "fail_verify_san", 2),
        (Some(&stranger), "fail_verify_error", 1),
    ];
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = Client { version, ..Client::new(&authority, "edge.example") };
        let good = Client { identity: Some(&right), ..client.clone() };
        assert_eq!(good.get(at, "/", "")?.status(), 200);
        let rounds = if *version == rustls::version::TLS12 { 0 } else { 1 };
        for (identity, counter, count) in refused {
            let client = Client { identity, ..client.clone() };
            assert!(client.get(at, "/", "").is_err(), "{counter}");
            let name = format!("{LISTENER}ssl.{counter}");
            let before = refused.iter().filter(|other| other.1 == counter).count() as u64;
            let want = count + rounds * before;
            wait::until(&name, || (stats::one(proxy.admin_address(), &name) == want).then_some(()));
        }
    }
    assert_eq!(backend.seen_count(), 2, "nothing of the others came through");
    Ok(())
}

#[test]
fn x_forwarded_client_cert_is_what_was_proved() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), answering());
    let own = authority.issue("edge", &["edge.example"], &["spiffe://mesh.local/gateway/edge"]);
    let right = authority.issue("reviews", &["r.example"], &[SPIFFE]);
    let details = json!({"subject": true, "uri": true, "dns": true});
    let mut values = Vec::new();
    for rule in ["SANITIZE", "SANITIZE_SET", "APPEND_FORWARD", "FORWARD_ONLY"] {
        let manager = json!({
            "forward_client_cert_details": rule, "set_current_client_cert_details": details,
        });
        let text = bootstrap(&[(json!({}), mutual(&own, &authority))], &manager, backend.address());
        let proxy = Proxy::start(Kind::Ours, &text);
        let client = Client { identity: Some(&right), ..Client::new(&authority, "edge.example") };
        let claim = "x-forwarded-client-cert: By=me\r\nx-forwarded-client-cert: By=us\r\n";
        assert_eq!(client.get(proxy.listener("main"), "/", claim)?.status(), 200);
        let seen = backend.take_seen();
        let seen = seen.last().context("a request")?;
        values.push(seen.head.field("x-forwarded-client-cert").map(ToOwned::to_owned));
    }
    let set = values[1].clone().context("a value")?;
    let (by, rest) = set.split_once(";Hash=").context("a hash")?;
    assert_eq!(by, "By=spiffe://mesh.local/gateway/edge");
    let facts = &rest[64..];
    assert_eq!(facts, format!(";Subject=\"CN=reviews,O=GoMesh\";URI={SPIFFE};DNS=r.example"));
    let appended = format!("By=me,By=us,{set}");
    assert_eq!(values, [None, Some(set), Some(appended), Some("By=me,By=us".to_owned())]);
    Ok(())
}

#[test]
fn a_handshake_that_does_not_end_is_ended() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), answering());
    let own = authority.issue("edge", &["edge.example"], &[]);
    let text = bootstrap(&[(json!({}), context(&own))], &json!({}), backend.address());
    let mut all: Value = serde_json::from_str(&text)?;
    let chain = &mut all["static_resources"]["listeners"][0]["filter_chains"][0];
    chain["transport_socket_connect_timeout"] = json!("0.2s");
    let proxy = Proxy::start(Kind::Ours, &all.to_string());
    let at = proxy.listener("main");
    let mut silent = TcpStream::connect(at)?;
    assert_eq!(silent.read(&mut [0])?, 0, "the proxy closes");
    let counter = format!("{LISTENER}downstream_cx_transport_socket_connect_timeout");
    assert_eq!(stats::one(proxy.admin_address(), &counter), 1);
    Ok(())
}

#[test]
fn what_is_no_tls_is_counted_and_harms_nobody() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), answering());
    let own = authority.issue("edge", &["edge.example"], &[]);
    let text = bootstrap(&[(json!({}), context(&own))], &json!({}), backend.address());
    let proxy = Proxy::start(Kind::Ours, &text);
    let at = proxy.listener("main");
    let mut plain = Connection::open(at)?;
    plain.send(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")?;
    let got = plain.rest().unwrap_or_default();
    assert!(!got.starts_with(b"HTTP"), "no HTTP in the clear");
    let name = format!("{LISTENER}ssl.connection_error");
    wait::until(&name, || (stats::one(proxy.admin_address(), &name) == 1).then_some(()));
    assert_eq!(Client::new(&authority, "edge.example").get(at, "/", "")?.status(), 200);
    Ok(())
}

#[test]
fn a_key_that_does_not_fit_is_refused_with_its_path_and_never_shown() -> Result<()> {
    let authority = Authority::new("root");
    let own = authority.issue("edge", &["edge.example"], &[]);
    let other = authority.issue("other", &[], &[]);
    let mixed = json!({"common_tls_context": {"tls_certificates": [{
        "certificate_chain": {"inline_string": own.certificate},
        "private_key": {"inline_string": other.key},
    }]}});
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("bootstrap.json");
    std::fs::write(&file, bootstrap(&[(json!({}), mixed)], &json!({}), backend::dead_address()))?;
    let mut child = proxy::spawn(
        proxy::command(Kind::Ours).arg("--mode").arg("validate").arg("-c").arg(&file),
        folder.path(),
    );
    assert_eq!(child.wait()?.code(), Some(64));
    let said = std::fs::read_to_string(folder.path().join("stderr"))?;
    let path = "transport_socket.typed_config.common_tls_context.tls_certificates[0]";
    assert!(said.contains(path), "{said}");
    assert!(said.contains("does not belong to the first certificate"), "{said}");
    let key = other.key.lines().nth(1).context("a line of the key")?;
    assert!(!said.contains(key), "the key is not shown");
    Ok(())
}

#[test]
fn a_secret_is_found_by_name_and_redacted_in_dumps() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), answering());
    let own = authority.issue("edge", &["edge.example"], &[]);
    let named = json!({"common_tls_context": {
        "tls_certificate_sds_secret_configs": [{"name": "own"}],
    }});
    let text = bootstrap(&[(json!({}), named)], &json!({}), backend.address());
    let mut all: Value = serde_json::from_str(&text)?;
    all["static_resources"]["secrets"] = json!([{"name": "own", "tls_certificate": own.config()}]);
    let proxy = Proxy::start(Kind::Ours, &all.to_string());
    let client = Client::new(&authority, "edge.example");
    assert_eq!(client.get(proxy.listener("main"), "/", "")?.status(), 200);
    let dump = proxy.admin("/config_dump").context("a dump")?.text();
    let key = own.key.lines().nth(1).context("a line of the key")?;
    assert!(!dump.contains(key), "the key is not shown");
    assert!(dump.contains("[redacted]") || dump.contains("W3JlZGFjdGVkXQ=="), "{dump}");
    let dump: Value = serde_json::from_str(&dump)?;
    let mut sections = dump["configs"].as_array().into_iter().flatten();
    let is_secrets =
        |s: &&Value| s["@type"].as_str().is_some_and(|t| t.ends_with("SecretsConfigDump"));
    let secrets = sections.find(is_secrets).context("a section of secrets")?;
    let one = &secrets["static_secrets"][0];
    assert_eq!((&one["name"], &one["secret"]["name"]), (&json!("own"), &json!("own")));
    let shown = &one["secret"]["tls_certificate"];
    assert_eq!(shown["private_key"]["inline_string"], "[redacted]", "{one}");
    assert!(shown["certificate_chain"].is_object(), "{one}");
    Ok(())
}

#[test]
fn who_lists_names_or_hashes_wants_a_certificate() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), answering());
    let own = authority.issue("edge", &["edge.example"], &[]);
    let right = authority.issue("reviews", &[], &[SPIFFE]);
    let names = mutual(&own, &authority)["common_tls_context"]["validation_context"].clone();
    let hash = json!({"verify_certificate_hash": [right.fingerprint()]});
    for rules in [names, hash] {
        let mut optional = context(&own);
        optional["common_tls_context"]["validation_context"] = rules.clone();
        let text = bootstrap(&[(json!({}), optional)], &json!({}), backend.address());
        let proxy = Proxy::start(Kind::Ours, &text);
        let at = proxy.listener("main");
        let client = Client::new(&authority, "edge.example");
        assert!(client.get(at, "/", "").is_err(), "nobody is served without: {rules}");
        let client = Client { identity: Some(&right), ..client };
        assert_eq!(client.get(at, "/", "")?.status(), 200);
    }
    assert_eq!(backend.seen_count(), 2, "only those with a certificate came through");
    Ok(())
}

#[test]
fn a_certificate_that_nothing_verified_is_told_to_nobody() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), answering());
    let own = authority.issue("edge", &["edge.example"], &[]);
    let made = Authority::new("made up").issue("reviews", &[], &[SPIFFE]);
    let mut any = context(&own);
    any["require_client_certificate"] = json!(true);
    for rule in ["SANITIZE_SET", "APPEND_FORWARD", "FORWARD_ONLY"] {
        let manager = json!({"forward_client_cert_details": rule});
        let text = bootstrap(&[(json!({}), any.clone())], &manager, backend.address());
        let proxy = Proxy::start(Kind::Ours, &text);
        let client = Client { identity: Some(&made), ..Client::new(&authority, "edge.example") };
        let claim = "x-forwarded-client-cert: By=me\r\n";
        assert_eq!(client.get(proxy.listener("main"), "/", claim)?.status(), 200);
        let seen = backend.take_seen();
        let seen = seen.last().context("a request")?;
        assert_eq!(seen.head.field("x-forwarded-client-cert"), None, "{rule}");
    }
    Ok(())
}

#[test]
fn a_claim_does_not_go_on_where_our_own_element_cannot_be_written() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), answering());
    let own = authority.issue("edge", &["edge.example"], &[]);
    let odd = authority.issue("reviews", &[], &["spiffe://mesh.local/a\nb"]);
    let mut any = context(&own);
    any["common_tls_context"]["validation_context"] =
        json!({"trusted_ca": {"inline_string": authority.pem}});
    let manager = json!({
        "forward_client_cert_details": "APPEND_FORWARD",
        "set_current_client_cert_details": {"uri": true},
    });
    let text = bootstrap(&[(json!({}), any)], &manager, backend.address());
    let proxy = Proxy::start(Kind::Ours, &text);
    let client = Client { identity: Some(&odd), ..Client::new(&authority, "edge.example") };
    let claim = "x-forwarded-client-cert: By=me\r\n";
    assert_eq!(client.get(proxy.listener("main"), "/", claim)?.status(), 200);
    let seen = backend.take_seen();
    let seen = seen.last().context("a request")?;
    assert_eq!(seen.head.field("x-forwarded-client-cert"), None);
    Ok(())
}

#[test]
fn by_names_the_certificate_that_the_client_was_shown() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), answering());
    let one = authority.issue("one", &["one.example"], &["spiffe://mesh.local/one"]);
    let two = authority.issue("two", &["two.example"], &["spiffe://mesh.local/two"]);
    let right = authority.issue("reviews", &[], &[SPIFFE]);
    let mut both = mutual(&one, &authority);
    both["common_tls_context"]["tls_certificates"] = json!([one.config(), two.config()]);
    let manager = json!({"forward_client_cert_details": "SANITIZE_SET"});
    // With a match by name the ClientHello is read before the chain is known.
    for matches in [json!({}), json!({"server_names": ["*.example"]})] {
        let text = bootstrap(&[(matches, both.clone())], &manager, backend.address());
        let proxy = Proxy::start(Kind::Ours, &text);
        for name in ["one", "two"] {
            let asked = format!("{name}.example");
            let client = Client { identity: Some(&right), ..Client::new(&authority, &asked) };
            assert_eq!(client.get(proxy.listener("main"), "/", "")?.status(), 200);
            let seen = backend.take_seen();
            let seen = seen.last().context("a request")?;
            let told = seen.head.field("x-forwarded-client-cert").context("a value")?;
            assert!(told.starts_with(&format!("By=spiffe://mesh.local/{name};Hash=")), "{told}");
        }
    }
    Ok(())
}

#[test]
fn a_client_of_another_protocol_or_version_learns_what_envoy_tells_it() -> Result<()> {
    let (authority, backend) = (Authority::new("root"), answering());
    let own = authority.issue("edge", &["edge.example"], &[]);
    for matches in [json!({}), json!({"server_names": ["edge.example"]})] {
        let by_name = matches != json!({});
        let chains = [(matches, context(&own))];
        let proxy = Proxy::start(Kind::Ours, &bootstrap(&chains, &json!({}), backend.address()));
        let at = proxy.listener("main");
        let client = Client { alpn: &["other"], ..Client::new(&authority, "edge.example") };
        let mut stream = client.open(at)?;
        assert_eq!(stream.alpn(), None);
        let answer = stream.exchange(b"GET / HTTP/1.1\r\nhost: edge.example\r\n\r\n")?;
        assert_eq!(answer.status(), 200);
        if by_name {
            // An old ClientHello without a name has no chain here.
            continue;
        }
        // TLS 1.1: the version, 32 bytes of randomness, no session, one suite, no compression.
        let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
        hello.extend_from_slice(&[7; 32]);
        hello.extend_from_slice(&[0, 0, 2, 0xc0, 0x13, 1, 0]);
        let mut old = TcpStream::connect(at)?;
        old.write_all(&hello)?;
        let mut alert = Vec::new();
        old.read_to_end(&mut alert)?;
        assert_eq!((alert.first(), alert.last()), (Some(&21), Some(&70)), "{alert:?}");
    }
    Ok(())
}

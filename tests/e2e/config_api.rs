//! Configuration by the API of the control plane, as a gateway's clients see it.

use serde_json::{Value, json};
use tests::backend::{Backend, Reply};
use tests::proxy::{Kind, Proxy};
use tests::servers::XdsServer;
use tests::{client, setup, wait};

fn put(server: &XdsServer, path: &str, body: &Value) -> u16 {
    let path = format!("/v1/config/{path}");
    client::send_json(server.admin, "PUT", &path, &body.to_string()).expect("an answer").status()
}

fn read(server: &XdsServer, path: &str) -> Value {
    let text = client::get(server.admin, path).expect("an answer").text();
    serde_json::from_str(&text).expect("JSON")
}

/// A server without a file. Objects make a gateway serve; a change moves its requests; one that is
/// refused changes nothing; after a kill it all is there and nothing is sent anew.
#[test]
fn gateway_follows_the_objects_of_the_api() {
    let backends = ["one", "two"].map(|text| {
        let backend = Backend::start();
        backend.always(Reply::ok(text));
        backend
    });
    let server = XdsServer::start_alone();
    for (name, backend) in ["one", "two"].iter().zip(&backends) {
        let service = json!({"endpoints": [backend.address().to_string()]});
        assert_eq!(put(&server, &format!("services/{name}"), &service), 201);
    }
    assert_eq!(put(&server, "gateways/edge", &json!({"listen": 0})), 201);
    let route = |to: &str| json!({"gateway": "edge", "path": "/", "to": to});
    assert_eq!(put(&server, "routes/web", &route("one")), 201);
    let proxy = Proxy::start(Kind::Ours, &setup::ads_bootstrap(server.xds, true));
    let listener = proxy.listener("edge");
    let text = || Some(client::get(listener, "/").ok()?.text());
    assert_eq!(text().as_deref(), Some("one"));

    assert_eq!(put(&server, "routes/web", &route("two")), 200);
    wait::until("the change", || (text()? == "two").then_some(()));
    assert_eq!(put(&server, "routes/web", &route("nobody")), 422);
    assert_eq!(text().as_deref(), Some("two"));

    let revisions = read(&server, "/v1/revisions");
    assert_eq!(revisions["revisions"].as_array().map(Vec::len), Some(5));
    let server = server.killed_and_restarted();
    assert_eq!(read(&server, "/v1/revisions"), revisions);
    assert_eq!(read(&server, "/v1/config/routes/web"), route("two"));
    assert_eq!(text().as_deref(), Some("two"), "the gateway goes on by itself");
}

/// Killed at many points while a service changes without a pause: afterwards there is the last
/// change that was answered, or the one after it, and its revision with it.
#[test]
fn object_and_revision_are_whole_after_a_kill() {
    let mut server = XdsServer::start_alone();
    let mut newest = 0_u64;
    for round in 0..15_u64 {
        let admin = server.admin;
        let from = newest;
        let (told, answers) = std::sync::mpsc::channel();
        let writer = std::thread::spawn(move || {
            for n in from + 1.. {
                let body = format!("{{\"endpoints\": [\"10.0.0.1:{n}\"]}}");
                let answer = client::send_json(admin, "PUT", "/v1/config/services/s", &body);
                if !answer.is_ok_and(|answer| answer.status() < 300) {
                    return;
                }
                let _ = told.send(n);
            }
        });
        for _ in 0..=round % 4 {
            newest = answers.recv().unwrap_or(newest);
        }
        server = server.killed_and_restarted();
        writer.join().expect("the writer ends");
        newest = answers.try_iter().last().unwrap_or(newest);
        let revisions = read(&server, "/v1/revisions");
        let last = revisions["revisions"].as_array().and_then(|all| all.last());
        let last = last.and_then(|revision| revision["revision"].as_u64());
        let last = last.expect("revisions are there");
        assert!(last == newest || last == newest + 1, "round {round}: {last} after {newest}");
        let service = read(&server, "/v1/config/services/s");
        assert_eq!(service, json!({"endpoints": [format!("10.0.0.1:{last}")]}), "round {round}");
        newest = last;
    }
    println!("{newest} changes in 15 lives");
}

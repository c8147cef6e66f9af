//! Instances that register themselves, as a gateway's clients see them.

use std::net::SocketAddr;
use std::time::Duration;

use tests::backend::{Backend, Reply};
use tests::proxy::{Kind, Proxy};
use tests::servers::XdsServer;
use tests::{client, clock, setup, wait};

/// From a registration to the first request that is routed to the instance.
const ROUTED_WITHIN: Duration = Duration::from_millis(200);

/// A gateway with a service for each name, all of them discovered; `/NAME` leads to it.
fn mesh(services: &[String]) -> String {
    let list = |line: fn(&String) -> String| services.iter().map(line).collect::<String>();
    format!(
        "version: 1\nservices:\n{}gateways: {{ edge: {{ listen: 0 }} }}\nroutes:\n{}",
        list(|name| format!("  {name}: {{ discover: registry }}\n")),
        list(|name| format!("- {{ name: {name}, gateway: edge, path: /{name}, to: {name} }}\n")),
    )
}

fn backend(text: &str) -> Backend {
    let backend = Backend::start();
    backend.always(Reply::ok(text));
    backend
}

fn register(server: &XdsServer, service: &str, id: &str, at: SocketAddr, ttl: &str) -> u16 {
    let (ip, port) = (at.ip(), at.port());
    let body = format!("{{\"address\": \"{ip}\", \"port\": {port}, \"ttl\": \"{ttl}\"}}");
    let path = format!("/v1/registry/services/{service}/instances/{id}");
    client::send_json(server.admin, "PUT", &path, &body).expect("an answer").status()
}

/// Nine services, one registration each: the middle one of the times is what counts, so that a
/// busy machine does not decide.
#[test]
fn registered_instance_is_routed_to_within_200_ms() {
    let services: Vec<String> = (0..9).map(|n| format!("s{n}")).collect();
    let server = XdsServer::start_mesh(&mesh(&services));
    let proxy = Proxy::start(Kind::Ours, &setup::ads_bootstrap(server.xds, true));
    let listener = proxy.listener("edge");
    let backend = backend("hello");
    let mut times: Vec<Duration> = services
        .iter()
        .map(|service| {
            let path = format!("/{service}");
            let before = client::get(listener, &path).expect("an answer");
            assert_eq!(before.status(), 503, "nobody is registered");
            let begin = clock::now();
            assert_eq!(register(&server, service, "x", backend.address(), "15s"), 201);
            wait::until("the first request", || {
                (client::get(listener, &path).ok()?.status() == 200).then_some(())
            });
            begin.elapsed()
        })
        .collect();
    times.sort();
    println!("from registration to the first request: {times:?}");
    assert!(times[times.len() / 2] <= ROUTED_WITHIN, "{times:?}");
}

/// Two instances serve. One deregisters: it drains, no request goes there any more, and none is
/// lost meanwhile. The other one's lease ends: it is unhealthy, but the service is not empty, so
/// that it is asked all the same.
#[test]
fn instances_drain_and_an_outage_empties_nothing() {
    let server = XdsServer::start_mesh(&mesh(&["s".to_owned()]));
    let proxy = Proxy::start(Kind::Ours, &setup::ads_bootstrap(server.xds, false));
    let listener = proxy.listener("edge");
    let (one, two) = (backend("one"), backend("two"));
    let ask = || {
        let answer = client::get(listener, "/s").expect("an answer");
        (answer.status(), answer.text())
    };
    register(&server, "s", "one", one.address(), "15s");
    register(&server, "s", "two", two.address(), "2s");
    for text in ["one", "two"] {
        wait::until(text, || (ask().1 == text).then_some(()));
    }

    let path = "/v1/registry/services/s/instances/one";
    assert_eq!(client::ask(server.admin, "DELETE", path).expect("an answer").status(), 200);
    let mut in_a_row = 0;
    wait::until("requests go to the other one alone", || {
        let (status, text) = ask();
        assert_eq!(status, 200, "no request is lost");
        in_a_row = if text == "two" { in_a_row + 1 } else { 0 };
        (in_a_row == 50).then_some(())
    });

    let state = |id: &str| {
        let path = format!("/v1/registry/services/s/instances/{id}");
        let text = client::get(server.admin, &path).ok()?.text();
        let view: serde_json::Value = serde_json::from_str(&text).ok()?;
        Some(view["state"].as_str()?.to_owned())
    };
    wait::until("the lease ends", || (state("two")? == "critical").then_some(()));
    let acked = || server.nodes().is_some();
    wait::until("an answer in panic", || {
        (acked() && ask() == (200, "two".to_owned())).then_some(())
    });
}

/// Killed at thirty points while instances register without a pause. Whatever was answered is there
/// afterwards, and nothing is there that was never asked for.
#[test]
fn what_was_answered_outlives_a_kill() {
    let mut server = XdsServer::start_mesh(&mesh(&["s".to_owned()]));
    let mut answered: Vec<String> = Vec::new();
    let mut asked = 0;
    for round in 0..30_u64 {
        let admin = server.admin;
        let from = asked;
        let (told, answers) = std::sync::mpsc::channel();
        let client = std::thread::spawn(move || {
            for n in from..65_000 {
                let at = SocketAddr::from(([10, 1, 1, 1], n + 1));
                let body = format!("{{\"address\": \"{}\", \"port\": {}}}", at.ip(), at.port());
                let path = format!("/v1/registry/services/s/instances/i{n}");
                let answer = client::send_json(admin, "PUT", &path, &body);
                if !answer.is_ok_and(|answer| answer.status() == 201) {
                    return n + 1;
                }
                let _ = told.send(format!("i{n}"));
            }
            65_000
        });
        // At least one, and then a few more of which the kill comes in the middle.
        for _ in 0..=round % 7 {
            answered.extend(answers.recv().ok());
        }
        server = server.killed_and_restarted();
        asked = client.join().expect("the client ends");
        answered.extend(answers.try_iter());
        let list = client::get(server.admin, "/v1/registry/services/s/instances").expect("a list");
        let list: serde_json::Value = serde_json::from_str(&list.text()).expect("JSON");
        let list = list["instances"].as_array().expect("instances");
        let there: Vec<&str> = list.iter().filter_map(|one| one["id"].as_str()).collect();
        for id in &answered {
            assert!(there.contains(&id.as_str()), "round {round}: {id} was answered");
        }
        let more = there.len() - answered.len();
        assert!(more <= usize::try_from(round).unwrap_or(0) + 1, "one a kill may be in between");
    }
    println!("{} registrations answered in 30 lives", answered.len());
}

/// The control plane dies and comes back: the gateway keeps its endpoints, and a lease that its
/// instance renews goes on.
#[test]
fn restart_of_the_control_plane_empties_nothing() {
    let server = XdsServer::start_mesh(&mesh(&["s".to_owned()]));
    let backend = backend("hello");
    assert_eq!(register(&server, "s", "x", backend.address(), "15s"), 201);
    let server = server.killed_and_restarted();
    let proxy = Proxy::start(Kind::Ours, &setup::ads_bootstrap(server.xds, true));
    let listener = proxy.listener("edge");
    let answer = client::get(listener, "/s").expect("an answer");
    assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    assert_eq!(register(&server, "s", "x", backend.address(), "15s"), 200, "it is a renewal");
}

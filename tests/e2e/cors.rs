//! A page of one origin asks another one through the proxy, as a browser does.

use serde_json::{Value, json};
use tests::backend::Reply;
use tests::client::Connection;

use crate::rig::Rig;

const CORS: &str = "type.googleapis.com/envoy.extensions.filters.http.cors.v3";

/// A host that lets `https://app.test` read, and a route that takes PUT.
fn manager() -> Value {
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let of_host = json!({"@type": format!("{CORS}.CorsPolicy"),
        "allow_origin_string_match": [{"exact": "https://app.test"}], "max_age": "600"});
    let of_route = json!({"@type": format!("{CORS}.CorsPolicy"), "allow_methods": "PUT"});
    json!({
        "http_filters": [
            {"name": "cors", "typed_config": {"@type": format!("{CORS}.Cors")}},
            {"name": "router", "typed_config": {"@type": router}},
        ],
        "route_config": {"name": "r", "virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "typed_per_filter_config": {"cors": of_host},
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend"},
                "typed_per_filter_config": {"cors": of_route}}],
        }]},
    })
}

fn ask(client: &mut Connection, method: &str, origin: &str, more: &str) -> (u16, Vec<String>) {
    let request =
        format!("{method} /a HTTP/1.1\r\nhost: api.test\r\norigin: {origin}\r\n{more}\r\n");
    client.send(request.as_bytes()).expect("sent");
    let answer = client.receive(method).expect("an answer");
    let told = answer.head.fields.iter().filter(|(name, _)| name.starts_with("access-control-"));
    let mut told: Vec<_> = told.map(|(name, value)| format!("{}: {value}", &name[15..])).collect();
    told.sort();
    (answer.status(), told)
}

/// 1. The preflight of the page's origin is answered without the backend.
/// 2. Its request goes to the backend, and the page may read the response.
/// 3. That of another origin goes there too, and nobody is told anything.
/// 4. All on one connection, and all three are counted.
#[test]
fn a_page_of_an_allowed_origin_may_write_and_read() {
    let rig = Rig::start(&manager());
    rig.backend.always(Reply::ok("hello"));
    let mut client = rig.connect();
    let wanted = "access-control-request-method: PUT\r\n";
    let preflight = ask(&mut client, "OPTIONS", "https://app.test", wanted);
    let told = ["allow-methods: PUT", "allow-origin: https://app.test", "max-age: 600"];
    assert_eq!(preflight, (200, told.map(str::to_owned).to_vec()));
    assert_eq!(rig.backend.take_seen().len(), 0);
    let answer = ask(&mut client, "PUT", "https://app.test", "content-length: 0\r\n");
    assert_eq!(answer, (200, vec!["allow-origin: https://app.test".to_owned()]));
    let stranger = ask(&mut client, "OPTIONS", "https://evil.test", wanted);
    assert_eq!(stranger, (200, Vec::new()));
    assert_eq!(rig.backend.take_seen().len(), 2);
    assert_eq!(rig.stat("http.in.cors.origin_valid"), 2);
    assert_eq!(rig.stat("http.in.cors.origin_invalid"), 1);
}

//! A form on another site's page, sent to us by a visitor's browser.

use serde_json::{Value, json};
use tests::backend::Reply;

use crate::rig::Rig;

fn manager() -> Value {
    let csrf = "type.googleapis.com/envoy.extensions.filters.http.csrf.v3.CsrfPolicy";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let all = json!({"default_value": {"numerator": 100}});
    json!({"http_filters": [
        {"name": "csrf", "typed_config": {"@type": csrf, "filter_enabled": all,
            "additional_origins": [{"exact": "www.bank.test"}]}},
        {"name": "router", "typed_config": {"@type": router}},
    ]})
}

/// 1. The bank's own pages may post, and those of an origin that is named besides.
/// 2. A page from elsewhere may not, nor one that does not say where it comes from.
/// 3. It may read: nothing is changed by that.
/// 4. The backend sees what was let through alone, and all is counted.
#[test]
fn only_pages_of_known_origins_change_anything() {
    let rig = Rig::start(&manager());
    rig.backend.always(Reply::ok("done"));
    let asked = [
        ("POST", "origin: https://bank.test\r\n", 200),
        ("POST", "referer: https://www.bank.test/form?x\r\n", 200),
        ("POST", "origin: https://evil.test\r\nreferer: https://bank.test/\r\n", 403),
        ("DELETE", "origin: null\r\n", 403),
        ("PUT", "", 403),
        ("GET", "origin: https://evil.test\r\n", 200),
    ];
    for (method, from, status) in asked {
        let mut client = rig.connect();
        let length = if method == "GET" { "" } else { "content-length: 0\r\n" };
        let request = format!("{method} /pay HTTP/1.1\r\nhost: bank.test\r\n{from}{length}\r\n");
        client.send(request.as_bytes()).expect("sent");
        let answer = client.receive(method).expect("an answer");
        assert_eq!(answer.status(), status, "{method} {from}");
        assert_eq!(answer.text(), if status == 200 { "done" } else { "Invalid origin" });
    }
    assert_eq!(rig.backend.take_seen().len(), 3);
    assert_eq!(rig.stat("http.in.csrf.request_valid"), 2);
    assert_eq!(rig.stat("http.in.csrf.request_invalid"), 1);
    assert_eq!(rig.stat("http.in.csrf.missing_source_origin"), 2);
}

//! Configuration by the API, over sockets, beside a mesh file and alone.

use proto::control::v1::control_client::ControlClient;
use proto::control::v1::{
    GetConfigRequest, ListNodesRequest, UpdateConfigRequest, WatchConfigRequest,
};

use super::registry::JSON;
use super::*;
use crate::durable::Location;

const ONE: &str = "/v1/config/services/one";
const EDGE: &str = "/v1/config/gateways/edge";
const WEB: &str = "/v1/config/routes/web";
const SERVICE: &str = r#"{"endpoints": ["127.0.0.1:3001"]}"#;
const GATEWAY: &str = r#"{"listen": "127.0.0.1:8000"}"#;
const ROUTE_TO_ONE: &str = r#"{"gateway": "edge", "path": "/", "to": "one"}"#;

impl Running {
    /// A server without a file.
    async fn alone(store: Location, folder: TempDir) -> Self {
        let options = Options { store, ..Options::local(Source::Objects) };
        Self::over(folder, options).await
    }

    async fn put(&self, path: &str, body: &str) -> (u16, Value) {
        self.ask("PUT", path, JSON, body).await
    }

    async fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.channel().await)
    }
}

async fn alone() -> Running {
    Running::alone(Location::Memory, tempfile::tempdir().unwrap()).await
}

/// Puts a mesh of three objects.
async fn put_all(running: &Running) {
    for (path, body) in [(ONE, SERVICE), (EDGE, GATEWAY), (WEB, ROUTE_TO_ONE)] {
        let (status, answer) = running.put(path, body).await;
        assert_eq!(status, 201, "{path}: {answer}");
    }
}

/// Objects come one by one, each a revision, and are served at once; equal content is nothing.
#[tokio::test]
async fn objects_are_a_mesh() {
    let running = alone().await;
    put_all(&running).await;
    let mut stream = Sotw::open(&running).await;
    assert_eq!(cluster_names(&stream.next(CLUSTER).await), ["one"]);

    let (status, same) = running.put(ONE, "{ \"endpoints\" : [ \"127.0.0.1:3001\" ] }").await;
    assert_eq!((status, &same["revision"], &same["created"]), (200, &json!(3), &json!(false)));
    let yaml = "content-type: application/yaml\r\n";
    let changed = running.ask("PUT", ONE, yaml, "endpoints: [\"127.0.0.1:3002\"]\n").await;
    assert_eq!((changed.0, &changed.1["revision"]), (200, &json!(4)));
    let (_, document) = running.ask("GET", ONE, "", "").await;
    assert_eq!(document, json!({"endpoints": ["127.0.0.1:3002"]}));
    let (_, list) = running.ask("GET", "/v1/config/routes", "", "").await;
    assert_eq!(list["objects"][0]["name"], "web");
    assert_eq!(list["objects"][0]["document"]["to"], "one");

    let mut client = running.control().await;
    let (kind, name) = ("services".to_owned(), "one".to_owned());
    let found = client.get_config(GetConfigRequest { kind, name }).await.unwrap().into_inner();
    assert_eq!(Some(found.etag.as_str()), changed.1["etag"].as_str());
    let nodes = client.list_nodes(ListNodesRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!((nodes.len(), nodes[0].id.as_str(), nodes[0].connected), (1, "n1", true));
    running.end().await;
}

#[tokio::test]
async fn what_is_wrong_is_refused_with_its_place_and_changes_nothing() {
    let running = alone().await;
    put_all(&running).await;
    let (status, body) =
        running.put(WEB, "{\"gateway\": \"edge\",\n\"path\": \"/\", \"to\": \"onee\"}").await;
    assert_eq!(status, 422);
    let problem = &body["problems"][0];
    assert_eq!((&problem["path"], &problem["line"]), (&json!("routes/web"), &json!(2)));
    assert_eq!(problem["suggestion"], "one");
    let (status, body) = running.ask("DELETE", ONE, "", "").await;
    assert_eq!((status, &body["problems"][0]["path"]), (422, &json!("routes/web")), "{body}");
    for (method, path, body, want) in [
        ("PUT", "/v1/config/services/one", "[]", 422),
        ("PUT", "/v1/config/services/a%20b", SERVICE, 422),
        ("PUT", "/v1/config/defaults/other", "{}", 422),
        ("PUT", "/v1/config/routes/other", r#"{"name": "x"}"#, 422),
        ("PUT", "/v1/config/services/one", "{", 400),
        ("PUT", "/v1/config/service/one", SERVICE, 404),
        ("GET", "/v1/config/services/two", "", 404),
        ("DELETE", "/v1/config/services/two", "", 404),
        ("PUT", "/v1/config/policies/a", "{}", 501),
        ("POST", "/v1/apply?dry=1", "{}", 400),
    ] {
        let (status, answer) = running.ask(method, path, JSON, body).await;
        assert_eq!(status, want, "{method} {path} {body}: {answer}");
    }
    let too_large = format!("{{\"endpoints\": [\"{}\"]}}", "x".repeat(2 << 20));
    assert_eq!(running.put(ONE, &too_large).await.0, 413);
    let (_, revisions) = running.ask("GET", "/v1/revisions", "", "").await;
    assert_eq!(revisions["revisions"].as_array().unwrap().len(), 3, "{revisions}");

    let request = UpdateConfigRequest {
        kind: "services".into(),
        name: "one".into(),
        document: "x: 1".into(),
        if_match: String::new(),
    };
    let refused = running.control().await.update_config(request).await.expect_err("refused");
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().starts_with("services/one:1: "), "{refused}");
    running.end().await;
}

#[tokio::test]
async fn etags_guard_against_lost_updates() {
    let running = alone().await;
    let (_, first) = running.put(ONE, SERVICE).await;
    let etag = first["etag"].as_str().unwrap();
    let with = |etag: &str| format!("{JSON}if-match: {etag}\r\n");
    let other = SERVICE.replace("3001", "3002");
    let matched = running.ask("PUT", ONE, &with(&format!("\"{etag}\"")), &other).await;
    assert_eq!(matched.0, 200, "{}", matched.1);
    let late = running.ask("PUT", ONE, &with(&format!("\"{etag}\"")), SERVICE).await;
    assert_eq!(late.0, 412);
    assert_eq!(running.ask("DELETE", ONE, &with(&format!("\"{etag}\"")), "").await.0, 412);
    assert_eq!(running.ask("PUT", ONE, &with("unquoted"), SERVICE).await.0, 400);
    assert_eq!(running.ask("DELETE", ONE, &with("*"), "").await.0, 200);
    assert_eq!(running.ask("PUT", ONE, &with("*"), SERVICE).await.0, 412, "there is none");
    running.end().await;
}

/// Objects may use what the file has, but a name stands in one of them: whoever is later is
/// refused, with both places.
#[tokio::test]
async fn file_and_objects_are_one_mesh() {
    let running = Running::start(MESH).await;
    let (status, body) = running.put(ONE, SERVICE).await;
    let text = body["problems"][0]["message"].as_str().unwrap();
    assert!(status == 422 && text.contains("mesh.yaml:3:3"), "{body}");
    let beta = "/v1/config/routes/beta";
    let route = r#"{"gateway": "edge", "path": "/beta", "to": "two"}"#;
    assert_eq!(running.put(beta, route).await.0, 201);
    let mut stream = Sotw::open(&running).await;
    assert_eq!(cluster_names(&stream.next(CLUSTER).await), ["one", "two"]);

    running.write(&format!("{MESH}  - {{ name: beta, gateway: edge, path: /, to: one }}\n"));
    let refused = "gomesh_config_reloads_total{result=\"refused\"} 1";
    running.until("/metrics", |body| body.contains(refused)).await;
    let (_, revisions) = running.ask("GET", "/v1/revisions", "", "").await;
    assert_eq!(revisions["revisions"].as_array().unwrap().len(), 1);
    running.end().await;
}

#[tokio::test]
async fn whole_mesh_is_applied_as_one_revision() {
    let running = alone().await;
    put_all(&running).await;
    let yaml = "content-type: application/yaml\r\n";
    let dry = running.ask("POST", "/v1/apply?dry_run=true", yaml, MESH).await;
    assert_eq!((dry.0, &dry.1["revision"]), (200, &json!(3)), "{}", dry.1);
    let words = |answer: &Value| -> Vec<String> {
        let changes = answer["changes"].as_array().unwrap().iter();
        changes.map(|c| format!("{} {}", c["change"], c["name"])).collect()
    };
    assert_eq!(words(&dry.1), ["\"created\" \"two\""]);
    assert_eq!(running.ask("GET", "/v1/config/services/two", "", "").await.0, 404, "only asked");
    let done = running.ask("POST", "/v1/apply", yaml, MESH).await;
    assert_eq!((words(&done.1), &done.1["revision"]), (words(&dry.1), &json!(4)));
    let again = running.ask("POST", "/v1/apply", yaml, MESH).await;
    assert_eq!((words(&again.1).len(), &again.1["revision"]), (0, &json!(4)));
    let raw = running.ask("POST", "/v1/apply", yaml, "version: 1\nraw: [\"./x.yaml\"]\n").await;
    assert_eq!((raw.0, &raw.1["problems"][0]["line"]), (422, &json!(2)), "{}", raw.1);
    let slip = running.ask("POST", "/v1/apply", yaml, "version: 1\nroute: []\n").await;
    assert_eq!(slip.1["problems"][0]["suggestion"], "routes", "{}", slip.1);
    running.end().await;
}

/// By gRPC from the first one on, and by server-sent events after one that is named.
#[tokio::test]
async fn revisions_are_told_as_they_come() {
    let running = alone().await;
    running.put(ONE, SERVICE).await;
    let mut client = running.control().await;
    let watch = client.watch_config(WatchConfigRequest { after: 0 }).await.unwrap();
    let mut watch = watch.into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().revision, 1);
    let mut events = TcpStream::connect(running.addresses.admin).await.unwrap();
    let request = "GET /v1/watch HTTP/1.0\r\nhost: x\r\nlast-event-id: 1\r\n\r\n";
    events.write_all(request.as_bytes()).await.unwrap();
    running.put(EDGE, GATEWAY).await;
    let second = watch.message().await.unwrap().unwrap();
    assert_eq!((second.revision, second.changes[0].name.as_str()), (2, "edge"));
    running.end().await;
    let mut text = String::new();
    events.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("event: revision\nid: 2\ndata: {\"revision\":2,"), "{text}");
    assert!(!text.contains("id: 1"), "{text}");
    assert_eq!(watch.message().await.expect_err("it ends").code(), Code::Unavailable);
}

#[tokio::test]
async fn objects_and_revisions_outlive_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let store = Location::File(folder.path().join("store"));
    let running = Running::alone(store.clone(), folder).await;
    put_all(&running).await;
    let folder = running.ended().await;
    // The thread of the old one may still be closing the file.
    let free = || crate::durable::Disk::open(&store).is_ok();
    for _ in 0..1_000 {
        if free() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let running = Running::alone(store.clone(), folder).await;
    let (_, revisions) = running.ask("GET", "/v1/revisions", "", "").await;
    assert_eq!(revisions["revisions"].as_array().unwrap().len(), 3);
    let (status, same) = running.put(WEB, ROUTE_TO_ONE).await;
    assert_eq!((status, &same["revision"]), (200, &json!(3)), "it is what it was");
    let mut stream = Sotw::open(&running).await;
    assert_eq!(cluster_names(&stream.next(CLUSTER).await), ["one"]);
    running.end().await;
}

/// What the description names is there.
#[tokio::test]
async fn description_fits_the_routes() {
    let running = alone().await;
    let (status, document) = running.ask("GET", "/v1/openapi.json", "", "").await;
    assert_eq!((status, &document["openapi"]), (200, &json!("3.1.0")));
    for (path, operations) in document["paths"].as_object().unwrap() {
        let filled = path.replace("{kind}", "services").replace(['{', '}'], "");
        // A watch answers for ever.
        for method in operations.as_object().unwrap().keys().filter(|_| path != "/v1/watch") {
            let (status, body) = running.ask(&method.to_uppercase(), &filled, JSON, "{}").await;
            let page = body["error"].as_str().is_some_and(|text| text.contains("no such page"));
            assert!(status != 405 && !page, "{method} {path}: {status} {body}");
        }
    }
    running.end().await;
}

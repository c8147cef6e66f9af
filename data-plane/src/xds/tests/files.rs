//! File subscriptions: first reading, moves, bad content, directories.

use std::fs;
use std::path::Path;

use super::server::Server;
use super::*;
use crate::config::source::PathSource;

const CDS: TypeUrl = TypeUrl::CLUSTER;

/// A response whose resources are real clusters, written as Envoy's file form.
fn cluster_file(version: &str, names: &[&str]) -> String {
    let mut text = format!("version_info: \"{version}\"\nresources:\n");
    for name in names {
        text += &format!("- \"@type\": {CDS}\n  name: \"{name}\"\n");
    }
    text
}

/// Puts a file in place at once, as Envoy wants it.
fn move_into(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(&beside, path).unwrap();
}

fn source(path: &Path, watched_directory: Option<&Path>) -> ConfigSource {
    let text = |path: &Path| path.display().to_string().into();
    let path = PathSource {
        path: text(path),
        watched_directory: watched_directory.map(text),
        watch_modify: false,
        poll_interval: None,
    };
    ConfigSource { kind: SourceKind::Path(path), initial_fetch_timeout: None }
}

/// The decoder of these tests takes `name=value`; a cluster's encoding begins with its name.
fn decode_clusters() -> Decode<String> {
    use proto::prost::Message as _;
    Arc::new(|_, raw| {
        let cluster = proto::envoy::config::cluster::v3::Cluster::decode(&raw[..]).unwrap();
        let name: Name = cluster.name.into();
        if name.starts_with("bad") {
            let reason = crate::config::error::Reason::Rule("is bad".into());
            return Decoded::Rejected { name, problems: reason.into() };
        }
        Decoded::Accepted { name, value: "c".to_owned() }
    })
}

async fn client() -> Client {
    let server = Server::start().await;
    let registry = Registry::new(0);
    let options = Options {
        node: Arc::default(),
        ads: None,
        connectors: Arc::new(OneServer(server.endpoint.clone())),
        decode: decode_clusters(),
        review: None,
        registry: None,
        keepalive: None,
        seed: 3,
    };
    let (subscriptions, events) = Subscriptions::new(options).expect("nothing to go wrong");
    Client { subscriptions, events, registry }
}

/// 1. The file is read at once. 2. A move brings new content; absence deletes. 3. A bad resource
/// keeps its value, a broken file changes nothing. 4. The next good file counts.
#[tokio::test]
async fn file_is_read_and_moves_are_followed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cds.yaml");
    fs::write(&path, cluster_file("1", &["a", "b"])).unwrap();
    let mut client = client().await;
    client.watch_from(&CDS, "*", &source(&path, None)).await.unwrap();
    assert_eq!(client.next().await, "CDS@1 +a=c +b=c");

    move_into(&path, &cluster_file("2", &["b", "c"]));
    assert_eq!(client.next().await, "CDS@2 +c=c ~b -a");
    move_into(&path, &cluster_file("3", &["b", "c", "bad"]));
    assert_eq!(client.next().await, "CDS@3 ~b ~c !bad");
    move_into(&path, "resources: [");
    // The broken file has been read before the good one, or not at all: both are right.
    move_into(&path, &cluster_file("5", &["b"]));
    assert_eq!(client.next().await, "CDS@5 ~b -c");
    let status = client.subscriptions.status().of_type(&CDS);
    assert_eq!(status.version, "5");
}

#[tokio::test]
async fn symlink_swap_in_the_watched_directory_is_followed() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    for (name, version) in [("v1", "1"), ("v2", "2")] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("cds.yaml"), cluster_file(version, &["a"])).unwrap();
    }
    std::os::unix::fs::symlink("v1", at("..data")).unwrap();
    std::os::unix::fs::symlink("..data/cds.yaml", at("cds.yaml")).unwrap();
    let mut client = client().await;
    let source = source(&at("cds.yaml"), Some(root.path()));
    client.watch_from(&CDS, "*", &source).await.unwrap();
    assert_eq!(client.next().await, "CDS@1 +a=c");

    std::os::unix::fs::symlink("v2", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    assert_eq!(client.next().await, "CDS@2 ~a");
}

/// Two hundred moves while the client reads: whatever was skipped, the last one counts.
#[tokio::test]
async fn debounce_never_loses_the_last_move() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("cds.yaml");
    fs::write(&path, cluster_file("0", &["a"])).unwrap();
    let mut client = client().await;
    client.watch_from(&CDS, "*", &source(&path, None)).await.unwrap();
    for version in 1..=200 {
        move_into(&path, &cluster_file(&version.to_string(), &["a"]));
        tokio::task::yield_now().await;
    }
    while client.next().await != "CDS@200 ~a" {}
}

#[tokio::test]
async fn missing_file_is_refused_by_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("none.yaml");
    let mut client = client().await;
    let error = client.watch_from(&CDS, "*", &source(&path, None)).await.expect_err("missing");
    let got = format!("path: got {path:?}; must be a path that exists");
    assert_eq!(error.to_string(), got);
}

#[tokio::test]
async fn second_name_of_a_file_is_answered_by_reading_it_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("eds.yaml");
    fs::write(&path, cluster_file("1", &["a", "b"])).unwrap();
    let mut client = client().await;
    let source = source(&path, None);
    client.watch_from(&CDS, "a", &source).await.unwrap();
    assert_eq!(client.next().await, "CDS@1 +a=c");
    client.watch_from(&CDS, "b", &source).await.unwrap();
    assert_eq!(client.next().await, "CDS@1 +b=c ~a");
}

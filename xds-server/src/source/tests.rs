//! Folders and mesh files on disk: what is served, and what is said of mistakes.

use std::fs;
use std::os::unix::fs::symlink;

use tempfile::TempDir;
use tokio::time::timeout;

use super::watch::FileWatch;
use super::*;
use crate::snapshot::{CLUSTER, Snapshot};

const CLUSTER_A: &str = r#"resources:
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: a
  type: STATIC
"#;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn raw(folder: &Path) -> Source {
    Source::Resources { folder: folder.to_owned(), empty: Empty::Refused }
}

/// Problems, with the folder's name taken out.
fn problems(folder: &TempDir) -> Vec<String> {
    let prefix = format!("{}/", folder.path().display());
    let found = raw(folder.path()).load(Unsupported::Warned).expect_err("is refused");
    found.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
}

fn titles(source: &Source) -> Vec<String> {
    source
        .load(Unsupported::Warned)
        .expect("is served")
        .resources()
        .iter()
        .map(|r| r.title())
        .collect()
}

#[test]
fn union_of_all_files_in_both_forms_is_served() {
    let json = r#"{"resources": [{"@type":
        "type.googleapis.com/envoy.service.discovery.v3.Resource", "name": "b", "version": "7",
        "resource": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": "b", "type": "STATIC"}}]}"#;
    let folder =
        folder(&[("a.yaml", CLUSTER_A), ("b.json", json), ("notes.txt", "x"), (".c.yaml", "x")]);
    assert_eq!(titles(&raw(folder.path())), ["Cluster 'a'", "Cluster 'b'"]);
}

#[test]
fn name_twice_is_refused_with_both_places() {
    let folder = folder(&[("a.yaml", CLUSTER_A), ("b.yaml", CLUSTER_A)]);
    assert_eq!(problems(&folder), ["b.yaml:2:3: Cluster 'a' stands twice; first at a.yaml:2:3"]);
}

#[test]
fn unknown_field_is_refused_with_a_suggestion() {
    let folder = folder(&[("a.yaml", &CLUSTER_A.replace("type: ", "tipe: "))]);
    let found = problems(&folder);
    assert!(found[0].starts_with("a.yaml:4:3: resources[0].tipe: "), "{found:?}");
}

#[test]
fn broken_constraint_is_refused_at_its_place() {
    let bad = format!("{CLUSTER_A}  connect_timeout: 0s\n");
    let found = problems(&folder(&[("a.yaml", &bad)]));
    assert!(found[0].starts_with("a.yaml:5:"), "{found:?}");
    assert!(found[0].contains("connect_timeout"), "{found:?}");
}

#[test]
fn dangling_reference_is_refused() {
    let eds = CLUSTER_A.replace(
        "STATIC",
        "EDS\n  eds_cluster_config: { eds_config: { ads: {}, resource_api_version: V3 } }",
    );
    let found = problems(&folder(&[("a.yaml", &eds)]));
    assert_eq!(
        found,
        ["a.yaml:2:3: Cluster 'a' needs the ClusterLoadAssignment 'a', not in the set"]
    );
}

#[test]
fn empty_folder_is_refused_unless_allowed() {
    let folder = folder(&[]);
    assert!(problems(&folder)[0].contains("--allow-empty"));
    fs::write(folder.path().join("a.yaml"), "").unwrap();
    assert!(raw(folder.path()).load(Unsupported::Warned).is_err());
    for text in ["{}", "resources: []"] {
        fs::write(folder.path().join("a.yaml"), text).unwrap();
        assert!(problems(&folder)[0].contains("no resource"), "{text}");
    }
    let allowed = Source::Resources { folder: folder.path().to_owned(), empty: Empty::Allowed };
    assert_eq!(allowed.load(Unsupported::Warned).unwrap().resources().len(), 0);
}

#[test]
fn missing_folder_and_file_are_named() {
    let found = raw(Path::new("/no/such")).load(Unsupported::Warned).unwrap_err();
    assert!(found[0].to_string().starts_with("/no/such: cannot be read"));
    let found = Source::Mesh("/no/such.yaml".into()).load(Unsupported::Warned).unwrap_err();
    assert!(found[0].to_string().starts_with("/no/such.yaml: cannot be read"));
}

#[test]
fn raw_files_of_a_mesh_are_merged_and_conflicts_name_both_places() {
    let mesh = "version: 1\nservices: { a: { endpoints: ['127.0.0.1:1'] } }\n\
                gateways: { edge: { listen: 8000 } }\nraw: ['raw/*.yaml']\n\
                routes: [ { name: r, gateway: edge, path: /, to: a } ]\n";
    let folder = folder(&[("mesh.yaml", mesh)]);
    fs::create_dir(folder.path().join("raw")).unwrap();
    let extra = folder.path().join("raw/extra.yaml");
    fs::write(&extra, CLUSTER_A.replace("name: a", "name: other")).unwrap();
    let source = Source::Mesh(folder.path().join("mesh.yaml"));
    assert!(titles(&source).contains(&"Cluster 'other'".to_owned()));
    fs::write(&extra, CLUSTER_A).unwrap();
    let found = source.load(Unsupported::Warned).unwrap_err();
    let text = found[0].to_string();
    assert!(text.contains("raw/extra.yaml:2:3: Cluster 'a' stands twice; first at "), "{text}");
    assert!(text.ends_with("mesh.yaml:2:13"), "{text}");
}

/// A cluster that Envoy does and our data plane does not.
const REDIS: &str = r#"resources:
- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster
  name: a
  lb_policy: CLUSTER_PROVIDED
  cluster_type:
    name: envoy.clusters.redis
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.clusters.redis.v3.RedisClusterConfig
"#;

#[test]
fn what_only_our_data_plane_does_not_do_is_warned_of_or_refused() {
    let folder = folder(&[("a.yaml", REDIS)]);
    let loaded = raw(folder.path()).load(Unsupported::Warned).expect("it is served");
    let texts = |problems: &[Problem]| -> Vec<String> {
        let prefix = format!("{}/", folder.path().display());
        problems.iter().map(|problem| problem.to_string().replace(&prefix, "")).collect()
    };
    let warnings = texts(&loaded.warnings);
    let [warning] = &warnings[..] else { panic!("{warnings:?}") };
    assert!(warning.starts_with("a.yaml:5:3: resources[0].cluster_type"), "{warning}");
    assert!(warning.ends_with("is known to Envoy 1.40, not supported by data-plane"), "{warning}");
    let refused = texts(&raw(folder.path()).load(Unsupported::Refused).expect_err("--strict"));
    assert_eq!(refused, [format!("{warning}; refused by --strict")]);
}

/// A domain that stands twice breaks no constraint of a field, but Envoy refuses it; so it is
/// also beside something unsupported.
#[test]
fn what_only_parsing_shows_is_refused() {
    let routes = |extra: &str| {
        format!(
            "resources:\n\
             - \"@type\": type.googleapis.com/envoy.config.route.v3.RouteConfiguration\n\
             \x20 name: r\n\
             \x20 virtual_hosts:\n\
             \x20 - {{ name: one, domains: [x.y], routes: [] }}\n\
             \x20 - {{ name: two, domains: [X.y], routes: [] }}\n{extra}"
        )
    };
    let plugin = "  cluster_specifier_plugins:\n  - extension: { name: p, typed_config: { \
                  \"@type\": type.googleapis.com/google.protobuf.Empty } }\n";
    for extra in ["", plugin] {
        let found = problems(&folder(&[("a.yaml", &routes(extra))]));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("a.yaml:6:"), "{found:?}");
        assert!(found[0].contains("virtual_hosts[1].domains[0]: got domain"), "{found:?}");
    }
}

/// Waits for the watch and reads.
async fn next(watch: &mut FileWatch) -> Result<Loaded, Vec<Problem>> {
    // Real time, since the events are the system's; far beyond what is needed.
    let limit = std::time::Duration::from_secs(30);
    timeout(limit, watch.changed()).await.expect("a change is noticed");
    watch.source().load(Unsupported::Warned)
}

fn version(loaded: &Loaded) -> Arc<str> {
    Snapshot::new(loaded.resources()).of(CLUSTER).version().clone()
}

/// Steps: 1. a file is renamed over, 2. one is added, 3. one is removed; each is noticed.
#[tokio::test]
async fn renames_additions_and_removals_are_noticed() {
    let folder = folder(&[("a.yaml", CLUSTER_A)]);
    let mut watch = FileWatch::new(raw(folder.path()));
    let before = version(&watch.source().load(Unsupported::Warned).unwrap());
    fs::write(folder.path().join("a.tmp"), CLUSTER_A.replace("STATIC", "STRICT_DNS")).unwrap();
    fs::rename(folder.path().join("a.tmp"), folder.path().join("a.yaml")).unwrap();
    let changed = version(&next(&mut watch).await.unwrap());
    assert_ne!(before, changed);
    fs::write(folder.path().join("b.yaml"), CLUSTER_A.replace("name: a", "name: b")).unwrap();
    assert_eq!(next(&mut watch).await.unwrap().resources().len(), 2);
    fs::remove_file(folder.path().join("b.yaml")).unwrap();
    assert_eq!(version(&next(&mut watch).await.unwrap()), changed);
}

/// The folder is a link, and the link is swapped.
#[tokio::test]
async fn swapped_link_to_the_folder_is_noticed_each_time() {
    let root = tempfile::tempdir().unwrap();
    let link = root.path().join("live");
    for generation in 0..3 {
        let folder = root.path().join(format!("gen-{generation}"));
        fs::create_dir(&folder).unwrap();
        let text = CLUSTER_A.replace("name: a", &format!("name: a{generation}"));
        fs::write(folder.join("a.yaml"), text).unwrap();
    }
    symlink("gen-0", &link).unwrap();
    let mut watch = FileWatch::new(raw(&link));
    for generation in 1..3 {
        let fresh = root.path().join("fresh");
        symlink(format!("gen-{generation}"), &fresh).unwrap();
        fs::rename(&fresh, &link).unwrap();
        let loaded = next(&mut watch).await.unwrap();
        assert_eq!(loaded.resources()[0].title(), format!("Cluster 'a{generation}'"));
    }
}

/// As Kubernetes mounts configuration: each file is a link through `..data`.
#[tokio::test]
async fn swapped_data_link_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    for (generation, kind) in [("..1", "STATIC"), ("..2", "STRICT_DNS")] {
        fs::create_dir(root.path().join(generation)).unwrap();
        let text = CLUSTER_A.replace("STATIC", kind);
        fs::write(root.path().join(generation).join("a.yaml"), text).unwrap();
    }
    symlink("..1", root.path().join("..data")).unwrap();
    symlink("..data/a.yaml", root.path().join("a.yaml")).unwrap();
    let mut watch = FileWatch::new(raw(root.path()));
    let before = version(&watch.source().load(Unsupported::Warned).unwrap());
    symlink("..2", root.path().join("..data_tmp")).unwrap();
    fs::rename(root.path().join("..data_tmp"), root.path().join("..data")).unwrap();
    assert_ne!(version(&next(&mut watch).await.unwrap()), before);
}

/// A file that is written piece by piece is read once, when it is whole.
#[tokio::test]
async fn file_that_is_being_written_is_waited_for() {
    use std::io::Write as _;
    let folder = folder(&[("a.yaml", CLUSTER_A)]);
    let mut watch = FileWatch::new(raw(folder.path()));
    let path = folder.path().join("b.yaml");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(b"resources:\n").unwrap();
    file.flush().unwrap();
    let early = timeout(std::time::Duration::from_millis(500), watch.changed()).await;
    assert!(early.is_err(), "not while it is open");
    file.write_all(CLUSTER_A.replace("resources:\n", "").replace(": a", ": b").as_bytes()).unwrap();
    drop(file);
    assert_eq!(next(&mut watch).await.unwrap().resources().len(), 2);
}

/// Logs beside the files are of no interest.
#[tokio::test]
async fn other_files_of_the_folder_are_of_no_interest() {
    let folder = folder(&[("a.yaml", CLUSTER_A)]);
    let mut watch = FileWatch::new(raw(folder.path()));
    fs::write(folder.path().join("server.log"), "line").unwrap();
    let noticed = timeout(std::time::Duration::from_millis(400), watch.changed()).await;
    assert!(noticed.is_err());
}

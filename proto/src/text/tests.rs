//! What the readers accept, refuse and say.

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::envoy::config::bootstrap::v3::Bootstrap;
use crate::envoy::config::core::v3::Node as EnvoyNode;
use crate::google::protobuf::value::Kind;
use crate::google::protobuf::{Struct, Value};

fn read(file: &str, text: &str) -> Result<Read<Bootstrap>, Diagnostics> {
    parse(file, text.as_bytes(), &ReadOptions::default())
}

fn refused(text: &str) -> Vec<String> {
    let errors = read("b.yaml", text).expect_err(text).errors;
    errors.iter().map(ToString::to_string).collect()
}

fn cluster(fields: &str) -> String {
    format!("static_resources:\n  clusters:\n  - {{name: c, {fields}}}\n")
}

#[test]
fn a_typo_is_told_with_its_place_and_what_was_meant() {
    let text = "static_resources:\n  listenrs: []\n";
    let errors = read("boot.yaml", text).expect_err("a typo");
    let line = "boot.yaml:2:3: static_resources.listenrs: unknown field; \
        did you mean 'listeners'?";
    assert_eq!(errors.to_string(), line);
    assert_eq!(errors.long(), format!("{line}\n      listenrs: []\n      ^"));
}

#[test]
fn all_errors_of_a_file_come_together_in_its_order_and_are_counted_beyond_the_limit() {
    let text = "node:\n  id: 5\n  clutser: x\nadmin:\n  address:\n    socket_address:\n      \
        port_value: -1\nbogus: 1\n";
    assert_eq!(
        refused(text),
        [
            "b.yaml:2:7: node.id: expected a text, got the number 5; quote it",
            "b.yaml:3:3: node.clutser: unknown field; did you mean 'cluster'?",
            "b.yaml:7:19: admin.address.socket_address.port_value: -1 is not in 0–4294967295",
            "b.yaml:8:1: bogus: unknown field of Bootstrap",
        ]
    );
    let many: String = (0..60).map(|i| format!("bogus{i}: 1\n")).collect();
    let errors = read("b.yaml", &many).expect_err("60 errors");
    assert_eq!((errors.errors.len(), errors.dropped), (DIAGNOSTICS_MAX, 10));
    assert!(errors.to_string().ends_with("\nand 10 more errors"));
}

#[test]
fn values_that_do_not_fit_say_what_would() {
    let path = "static_resources.clusters[0]";
    for (fields, expected) in [
        ("connect_timeout: fast", "'fast' is not a duration; write it in seconds, such as 0.25s"),
        ("connect_timeout: 250ms", "'250ms' is not a duration; write it in seconds, as 0.25s"),
        ("connect_timeout: 5", "5 is not a duration; write it in seconds, as 5s"),
        ("respect_dns_ttl: 1", "expected true or false, got 1"),
        ("alt_stat_name: on", "expected a text, got a word that means true; quote it"),
        ("common_lb_config: 5", "expected a mapping (CommonLbConfig), got a number"),
        ("per_connection_buffer_limit_bytes: 1.5", "1.5 is not whole"),
    ] {
        let field = fields.split(':').next().unwrap_or_default();
        let errors = refused(&cluster(fields));
        assert_eq!(errors.len(), 1, "{errors:?}");
        let text = format!("{path}.{field}: {expected}");
        assert!(errors[0].ends_with(&text), "{} should end with {text}", errors[0]);
    }
}

#[test]
fn enums_take_any_case_and_list_their_values() {
    let errors = refused(&cluster("type: STATC"));
    let text = "static_resources.clusters[0].type: unknown value 'STATC'; must be one of STATIC, \
        STRICT_DNS, LOGICAL_DNS, EDS, ORIGINAL_DST; did you mean 'STATIC'?";
    assert!(errors[0].ends_with(text), "{errors:?}");
    for good in ["static", "STATIC", "0", "'0'"] {
        assert!(read("b.yaml", &cluster(&format!("type: {good}"))).is_ok(), "{good}");
    }
}

#[test]
fn one_of_a_oneof_can_be_set() {
    let errors = refused(&cluster("type: EDS, cluster_type: {name: x}"));
    let text = "static_resources.clusters[0].cluster_type: cannot stand beside 'type' (line 3); \
        only one cluster_discovery_type is possible";
    assert!(errors[0].ends_with(text), "{errors:?}");
}

const TCP: &str = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy";

fn listener(typed_config: &str) -> String {
    format!(
        "static_resources:\n  listeners:\n  - filter_chains:\n    - filters:\n      - name: t\n\
        \x20       typed_config:\n          {typed_config}\n"
    )
}

#[test]
fn errors_inside_any_have_its_path_and_their_own_place() {
    let path = "static_resources.listeners[0].filter_chains[0].filters[0].typed_config";
    let errors = refused(&listener(&format!("'@type': {TCP}\n          stat_prefx: x")));
    let text =
        format!("b.yaml:8:11: {path}.stat_prefx: unknown field; did you mean 'stat_prefix'?");
    assert_eq!(errors, [text]);
    let errors = refused(&listener("'@type': type.googleapis.com/envoy.TcpProxy"));
    let text = format!("unknown type 'type.googleapis.com/envoy.TcpProxy'; did you mean '{TCP}'?");
    assert!(errors[0].ends_with(&text), "{errors:?}");
    let errors = refused(&listener("stat_prefix: x"));
    let text = format!("{path}: lacks '@type', the type of its content");
    assert!(errors[0].ends_with(&text), "{errors:?}");
}

#[test]
fn unknown_fields_and_enum_values_can_be_allowed_with_a_warning() {
    let options = ReadOptions { unknown_fields: UnknownFields::Allow, ..ReadOptions::default() };
    let text = format!("bogus: 1\n{}", cluster("type: NEW"));
    let read = parse::<Bootstrap>("b.yaml", text.as_bytes(), &options).expect("allowed");
    let warnings: Vec<String> = read.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert_eq!(warnings[0], "b.yaml:1:1: bogus: unknown field of Bootstrap; ignored");
}

#[test]
fn a_key_that_stands_twice_counts_last_with_a_warning_or_is_refused() {
    let text = "node: {id: a}\nnode: {cluster: b}\n";
    let once = read("b.yaml", text).expect("accepted");
    let node = once.message.node.expect("set");
    assert_eq!((node.id.as_str(), node.cluster.as_str()), ("", "b"));
    let warning = "b.yaml:2:1: key 'node' already stands at line 1; Envoy takes the last one";
    assert_eq!(once.warnings[0].to_string(), warning);
    // Envoy's JSON reader merges instead.
    let json = r#"{"node": {"id": "a"}, "node": {"cluster": "b"}}"#;
    let node = read("b.json", json).expect("accepted").message.node.expect("set");
    assert_eq!((node.id.as_str(), node.cluster.as_str()), ("a", "b"));
    let strict = ReadOptions { duplicate_keys: DuplicateKeys::Refuse, ..ReadOptions::default() };
    let errors = parse::<Bootstrap>("b.yaml", text.as_bytes(), &strict).expect_err("refused");
    assert_eq!(errors.to_string(), "b.yaml:2:1: key 'node' already stands at line 1");
}

#[test]
fn aliases_copy_but_neither_explode_nor_recurse() {
    let good = "node: {id: &x a, cluster: *x}\n";
    assert_eq!(read("b.yaml", good).expect("good").message.node.expect("set").cluster, "a");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..12 {
        let item = format!("*a{}, ", i - 1).repeat(10);
        bomb.push_str(&format!("a{i}: &a{i} [{item}]\n"));
    }
    assert!(refused(&bomb)[0].contains("more than 100000 values"), "{:?}", refused(&bomb));
    let own = refused("node: &n {metadata: *n}\n");
    assert_eq!(own, ["b.yaml:1:21: an alias of something it is part of"]);
    let merge = refused("node:\n  <<: {id: a}\n");
    assert!(merge[0].ends_with("node.<<: merge keys have no meaning in Envoy's YAML"), "{merge:?}");
    let ignored = "!ignore x: &n {id: a}\nnode: *n\n";
    assert_eq!(read("b.yaml", ignored).expect("good").message.node.expect("set").id, "a");
}

#[test]
fn tabs_indent_no_block_but_may_stand_in_braces() {
    let errors = refused("node:\n  \tid: a\n");
    assert_eq!(errors, ["b.yaml:2:4: a tab cannot indent a key; use blanks"]);
    assert!(read("b.yaml", "node: {id: a,\n\tcluster: b}\n").is_ok());
}

#[test]
fn depth_is_bounded_alike_in_both_formats() {
    let deep = |levels: usize| {
        let inner = format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        format!("{{\"node\": {{\"id\": \"a\", \"metadata\": {{\"x\": {inner}}}}}}}")
    };
    for file in ["b.json", "b.yaml"] {
        assert!(read(file, &deep(97)).is_ok(), "{file}: Envoy takes 100 levels");
        let errors = read(file, &deep(98)).expect_err("101 levels").to_string();
        assert!(errors.contains("nested deeper than 100"), "{errors}");
    }
}

#[test]
fn formats_go_by_suffix_and_else_by_content() {
    let node = EnvoyNode { id: "é".into(), ..Default::default() };
    let binary = Bootstrap { node: Some(node), ..Default::default() }.encode_to_vec();
    let utf16: Vec<u8> =
        "\u{feff}node: {id: é}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let id = |file: &str, bytes: &[u8]| {
        let read = parse::<Bootstrap>(file, bytes, &ReadOptions::default());
        read.map(|read| read.message.node.unwrap_or_default().id)
    };
    for (file, bytes) in [
        ("b.pb", binary.as_slice()),
        ("/dev/fd/63", binary.as_slice()),
        ("/dev/fd/63", "{\"node\": {\"id\": \"é\"}}".as_bytes()),
        ("/dev/fd/63", "node: {id: é}".as_bytes()),
        ("/dev/fd/63", utf16.as_slice()),
        ("b.yml", utf16.as_slice()),
    ] {
        assert_eq!(id(file, bytes).expect(file), "é");
    }
    let errors = id("b.json", b"{\"node\": {\n\"id\": \"\xff\"}}").expect_err("no UTF-8");
    assert_eq!(errors.to_string(), "b.json:2:8: text is not UTF-8");
}

#[test]
fn places_are_found_by_path_or_by_what_encloses_it() {
    let text = "static_resources:\n  clusters:\n  - name: a\n  - name: b\n    loadAssignment: \
        {endpoints: [{}]}\nnode:\n  dynamic_parameters: {\"a.b\": {}}\n";
    let positions = read("b.yaml", text).expect("good").positions;
    for (path, place) in [
        ("static_resources.clusters[1].name", Some((4, 5))),
        ("static_resources.clusters[1].load_assignment.endpoints[0]", Some((5, 34))),
        ("static_resources.clusters[0].type", Some((3, 5))),
        ("node.dynamic_parameters[\"a.b\"].params", Some((7, 24))),
        ("admin", Some((1, 1))),
    ] {
        assert_eq!(positions.locate(path), place, "{path}");
    }
    let told = positions.diagnose("static_resources.clusters[1].type", "got 9").to_string();
    assert_eq!(told, "b.yaml:4:5: static_resources.clusters[1].type: got 9");
}

#[test]
fn a_second_file_is_merged_over_the_first_and_keeps_its_places() {
    let base =
        read("a.yaml", "node: {id: a, cluster: c}\nstatic_resources: {clusters: [{name: x}]}\n");
    let over = read("b.yaml", "node:\n  id: b\nstatic_resources:\n  clusters: [{name: z}]\n");
    let both = merge(base.expect("good"), over.expect("good")).expect("decodable");
    let node = both.message.node.expect("set");
    assert_eq!((node.id.as_str(), node.cluster.as_str()), ("b", "c"));
    let clusters = both.message.static_resources.expect("set").clusters;
    let names: Vec<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    assert_eq!(names, ["x", "z"]);
    let at = |path: &str| both.positions.diagnose(path, "here").to_string();
    assert!(at("static_resources.clusters[0].name").starts_with("a.yaml:2:"));
    assert!(at("static_resources.clusters[1].name").starts_with("b.yaml:4:"));
    assert!(at("node.id").starts_with("b.yaml:2:3"));
    assert!(at("node.cluster").starts_with("a.yaml:1:"));
}

#[test]
fn resources_come_wrapped_or_plain_with_name_and_place() {
    let text = format!(
        "version_info: x\nresources:\n- '@type': {0}Cluster\n  name: a\n- '@type': \
        type.googleapis.com/envoy.service.discovery.v3.Resource\n  version: '7'\n  name: w\n  \
        resource:\n    '@type': {0}Cluster\n    name: b\n",
        "type.googleapis.com/envoy.config.cluster.v3."
    );
    let read = parse_resources("r.yaml", text.as_bytes(), &ReadOptions::default()).expect("good");
    let told: Vec<String> = read
        .message
        .iter()
        .map(|r| format!("{} {} v{} {}:{}", r.path, r.name, r.version, r.line, r.column))
        .collect();
    assert_eq!(told, ["resources[0] a v 3:3", "resources[1] w v7 5:3"]);
    assert!(read.message.iter().all(|r| r.type_url.ends_with(".Cluster")));
    let errors = parse_resources("r.yaml", b"resorces: []", &ReadOptions::default());
    let text = "r.yaml:1:1: resorces: unknown field; did you mean 'resources'?";
    assert_eq!(errors.expect_err("a typo").to_string(), text);
}

#[test]
fn the_same_configuration_has_the_same_bytes_whatever_its_order() {
    let one = "node: {id: a, metadata: {x: 1, y: {b: 1, a: [2]}}}\nadmin: {}\n";
    let two = "admin: {}\nnode: {metadata: {y: {a: [2], b: 1}, x: 1}, id: a}\n";
    let bytes = |text: &str| {
        let name = "envoy.config.bootstrap.v3.Bootstrap";
        let options = ReadOptions::default();
        parse_encoded(name, "b.yaml", text.as_bytes(), &options).expect("good").message
    };
    assert_eq!(bytes(one), bytes(two));
}

#[test]
fn free_data_becomes_a_message_by_the_rules_for_json() {
    let text = |text: &str| Value { kind: Some(Kind::StringValue(text.into())) };
    let number = Value { kind: Some(Kind::NumberValue(3.0)) };
    let mut data = Struct {
        fields: [("name".to_owned(), text("c")), ("alt_stat_name".to_owned(), text("x"))].into(),
    };
    data.fields.insert("per_connection_buffer_limit_bytes".into(), number);
    let name = "envoy.config.cluster.v3.Cluster";
    let bytes = encode_struct(name, &data, UnknownFields::Refuse).expect("fits");
    let cluster = crate::envoy::config::cluster::v3::Cluster::decode(bytes.as_slice());
    let cluster = cluster.expect("decodable");
    assert_eq!(cluster.per_connection_buffer_limit_bytes, Some(crate::convert::uint32(3)));
    data.fields.insert("nope".into(), text(""));
    let errors = encode_struct(name, &data, UnknownFields::Refuse).expect_err("unknown");
    assert!(errors.to_string().starts_with("nope: unknown field"), "{errors}");
}

#[test]
fn numbers_of_lists_are_packed_and_null_in_a_list_is_the_default() {
    let text = "node: {client_features: [a, null]}\n";
    let node = read("b.yaml", text).expect("good").message.node.expect("set");
    assert_eq!(node.client_features, ["a", ""]);
    let name = "envoy.config.route.v3.RetryPolicy";
    let options = ReadOptions::default();
    let json = br#"{"retriable_status_codes": [503, "504", 5.0]}"#;
    let bytes = parse_encoded(name, "r.json", json, &options).expect("good").message;
    let policy = crate::envoy::config::route::v3::RetryPolicy::decode(bytes.as_slice());
    assert_eq!(policy.expect("decodable").retriable_status_codes, [503, 504, 5]);
}

proptest! {
    #[test]
    fn no_text_makes_the_readers_panic(text in "[-a-c{}\\[\\],:&*!?|>'\"# \n\t0-9.~%@\\\\]{0,60}") {
        for file in ["b.yaml", "b.json"] {
            let _ = read(file, &text);
            let _ = read(file, &format!("node: {{metadata: {text}}}"));
            let _ = read(file, &format!("{{\"node\": {text}}}"));
        }
    }

    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        for file in ["b.yaml", "b.json", "b.pb", "b"] {
            let _ = parse::<Bootstrap>(file, &bytes, &ReadOptions::default());
            let _ = parse_resources(file, &bytes, &ReadOptions::default());
        }
    }
}

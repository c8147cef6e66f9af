//! What is written, compared with what Envoy writes.

use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::convert::pack;
use crate::envoy::config::cluster::v3::Cluster;
use crate::envoy::config::core::v3::{DataSource, Metadata, data_source::Specifier};
use crate::envoy::extensions::transport_sockets::tls::v3::{Secret, TlsCertificate, secret};
use crate::envoy::r#type::v3::Percent;
use crate::google::protobuf::{Any, Duration, Struct, Value, value::Kind};
use crate::text::{ReadOptions, parse_encoded};

/// A dump of a running Envoy 1.40 and what the server says of itself.
const CONFIG_DUMP: &str = include_str!("testdata/config_dump.json");
const SERVER_INFO: &str = include_str!("testdata/server_info.json");

fn again(message: &str, text: &str, options: &WriteOptions) -> String {
    let read = parse_encoded(message, "dump.json", text.as_bytes(), &ReadOptions::default());
    let bytes = read.unwrap_or_else(|errors| panic!("{errors}")).message;
    bytes_to_json(message, &bytes, options).expect("writable")
}

/// Lines without the commas at their ends, sorted: Envoy's maps have no order.
fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().map(|line| line.trim_end_matches(',')).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_envoy_dumps_is_written_as_envoy_writes_it() {
    let written = again("envoy.admin.v3.ConfigDump", CONFIG_DUMP, &WriteOptions::default());
    assert_eq!(lines(&written), lines(CONFIG_DUMP));
    let print = WriteOptions { defaults: Defaults::Print, ..WriteOptions::default() };
    let written = again("envoy.admin.v3.ServerInfo", SERVER_INFO, &print);
    assert_eq!(lines(&written), lines(SERVER_INFO));
    assert!(written.ends_with("}\n"));
}

#[test]
fn the_reader_agrees_with_an_independent_one_on_a_dump() {
    let pool = crate::descriptors();
    let name = "envoy.admin.v3.ConfigDump";
    let descriptor = pool.get_message_by_name(name).expect("known");
    let mut json = serde_json::Deserializer::from_str(CONFIG_DUMP);
    let theirs = prost_reflect::DynamicMessage::deserialize(descriptor, &mut json);
    let theirs = theirs.expect("readable").encode_to_vec();
    let read = parse_encoded(name, "d.json", CONFIG_DUMP.as_bytes(), &ReadOptions::default());
    let ours = read.expect("readable").message;
    let options = WriteOptions { sensitive: Sensitive::Keep, ..WriteOptions::default() };
    let json = |bytes: &[u8]| bytes_to_json(name, bytes, &options).expect("writable");
    assert_eq!(json(&ours), json(&theirs));
    assert_eq!(ours.len(), theirs.len());
}

fn inline(text: &str) -> Option<DataSource> {
    Some(DataSource { specifier: Some(Specifier::InlineString(text.into())), ..Default::default() })
}

#[test]
fn secrets_are_redacted_through_any_and_only_if_asked_for() {
    let certificate = TlsCertificate {
        certificate_chain: inline("public"),
        private_key: inline("hunter2"),
        password: Some(DataSource {
            specifier: Some(Specifier::InlineBytes(b"hunter3".to_vec())),
            ..Default::default()
        }),
        ..Default::default()
    };
    let secret =
        Secret { name: "s".into(), r#type: Some(secret::Type::TlsCertificate(certificate)) };
    let compact = WriteOptions { layout: Layout::Compact, ..WriteOptions::default() };
    let text = to_json(&pack(&secret), &compact).expect("writable");
    assert!(text.contains(r#""private_key":{"inline_string":"[redacted]"}"#), "{text}");
    assert!(text.contains(r#""password":{"inline_bytes":"W3JlZGFjdGVkXQ=="}"#), "{text}");
    assert!(text.contains("public") && !text.contains("hunter"), "{text}");
    let keep = WriteOptions { sensitive: Sensitive::Keep, ..compact };
    assert!(to_json(&pack(&secret), &keep).expect("writable").contains("hunter2"));
}

#[test]
fn whole_floats_in_free_data_have_no_point_and_unknown_types_keep_their_bytes() {
    let number = Value { kind: Some(Kind::NumberValue(3.0)) };
    let data = Struct { fields: [("n".to_owned(), number)].into() };
    let any = Any { type_url: "x/no.Such".into(), value: vec![1, 2] };
    let metadata = Metadata {
        filter_metadata: [("a".to_owned(), data)].into(),
        typed_filter_metadata: [("b".to_owned(), any)].into(),
    };
    let compact = WriteOptions { layout: Layout::Compact, ..WriteOptions::default() };
    assert_eq!(
        to_json(&metadata, &compact).expect("writable"),
        concat!(
            r#"{"filter_metadata":{"a":{"n":3}},"#,
            r#""typed_filter_metadata":{"b":{"@type":"x/no.Such","value":"AQI="}}}"#
        )
    );
    let packed = to_json(&pack(&Duration { seconds: 1, nanos: 0 }), &compact);
    let text = r#"{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}"#;
    assert_eq!(packed.expect("writable"), text);
}

#[test]
fn unknown_messages_and_broken_bytes_are_told_apart() {
    let options = WriteOptions::default();
    let unknown = NotWritable::UnknownType("no.Such".into());
    assert_eq!(bytes_to_json("no.Such", &[], &options), Err(unknown));
    let broken = bytes_to_json("envoy.type.v3.Percent", &[0x0a], &options);
    assert_eq!(broken, Err(NotWritable::Malformed));
    assert_eq!(to_json(&Percent::default(), &options).expect("writable"), "{}\n");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let options = WriteOptions { defaults: Defaults::Print, ..WriteOptions::default() };
        for name in ["google.protobuf.Any", "google.protobuf.Value"] {
            let _ = bytes_to_json(name, &bytes, &options);
        }
        let _ = bytes_to_json("envoy.config.listener.v3.Listener", &bytes, &options);
    }

    #[test]
    fn numbers_and_texts_survive_both_ways(
        name in ".*",
        value in any::<f64>().prop_filter("finite", |value| value.is_finite()),
        seconds in -315_576_000_000_i64..315_576_000_000,
    ) {
        let kind = Some(Kind::NumberValue(value));
        let data = Struct { fields: [(name.clone(), Value { kind })].into() };
        let cluster = Cluster {
            name: name.clone(),
            connect_timeout: Some(Duration { seconds, nanos: 0 }),
            metadata: Some(Metadata {
                filter_metadata: [(name, data)].into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let text = to_json(&cluster, &WriteOptions::default()).expect("writable");
        let message = "envoy.config.cluster.v3.Cluster";
        let read = parse_encoded(message, "c.json", text.as_bytes(), &ReadOptions::default());
        let bytes = read.expect("readable").message;
        prop_assert_eq!(Cluster::decode(bytes.as_slice()).expect("decodable"), cluster);
    }
}

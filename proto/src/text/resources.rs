//! Files of xDS resources: `resources:` lists as Envoy's file sources and our own server read.

use super::diagnostic::{Diagnostic, Diagnostics};
use super::encode::{Encoder, Step};
use super::positions::SourceMap;
use super::suggest::suggest;
use super::tree::{Data, Entry, Node};
use super::{Format, Read, ReadOptions, detect, diagnostic, parse_tree};
use crate::convert::type_name;
use crate::envoy::service::discovery::v3::DiscoveryResponse;
use crate::schema::schema;
use crate::wire::Reader;

/// One resource of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileResource {
    /// Such as `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
    pub type_url: String,
    /// `name`, or `cluster_name` of a `ClusterLoadAssignment`, or the wrapper's name.
    pub name: String,
    /// The encoded resource itself.
    pub bytes: Vec<u8>,
    /// The version that a wrapping `envoy.service.discovery.v3.Resource` gives, or nothing.
    pub version: String,
    /// Line of the entry, from 1; 0 in a binary file.
    pub line: u32,
    /// Column of the entry, from 1; 0 in a binary file.
    pub column: u32,
    /// Path of the entry in the file, such as `resources[3]`.
    pub path: String,
}

/// Reads the `resources` of a file (a `DiscoveryResponse`, of which nothing else counts).
///
/// Entries are `Any`s with `@type`, or `Resource` wrappers around one. The positions have the
/// path `resources[i]` in front of each resource's own paths.
///
/// # Errors
/// Everything that is wrong with the file.
pub fn parse_resources(
    file_name: &str,
    bytes: &[u8],
    options: &ReadOptions,
) -> Result<Read<Vec<FileResource>>, Diagnostics> {
    if detect(file_name, bytes, options.format) == Format::Binary {
        return binary(file_name, bytes);
    }
    let (root, mut sink, source) = parse_tree(file_name, bytes, options)?;
    let mut encoder = Encoder::new(&mut sink, SourceMap::new(file_name, &source), options);
    let mut resources = Vec::new();
    let entries = match &root.data {
        Data::Map(entries) => entries.as_slice(),
        _ => &[],
    };
    let any = schema().message("google.protobuf.Any");
    for entry in entries {
        match (entry.key.as_str(), any) {
            ("resources", Some(any)) => {
                encoder.within(Step::Field("resources"), entry.place, |encoder| {
                    for (index, item) in items(&entry.value).iter().enumerate() {
                        encoder.within(Step::Index(index), item.place, |encoder| {
                            let bytes = encoder.message(any, item);
                            resources.extend(resource(&bytes, index, item));
                        });
                    }
                });
            }
            _ => other_key(&mut encoder, entry),
        }
    }
    let positions = encoder.into_positions();
    let warnings: Vec<Diagnostic> = sink.finish()?;
    Ok(Read { message: resources, warnings, positions })
}

fn items(node: &Node) -> &[Node] {
    match &node.data {
        Data::List(items) => items,
        Data::Null => &[],
        _ => std::slice::from_ref(node),
    }
}

/// What else a `DiscoveryResponse` has is of no use in a file, but no error.
fn other_key(encoder: &mut Encoder<'_>, entry: &Entry) {
    let known = ["resources", "version_info", "versionInfo", "type_url", "typeUrl", "nonce"];
    if known.contains(&entry.key.as_str()) {
        return;
    }
    encoder.within(Step::Field(&entry.key), entry.place, |encoder| {
        encoder.unknown(entry.place, "unknown field", suggest(&entry.key, ["resources"]));
    });
}

fn binary(file_name: &str, bytes: &[u8]) -> Result<Read<Vec<FileResource>>, Diagnostics> {
    let response = <DiscoveryResponse as prost::Message>::decode(bytes)
        .map_err(|error| diagnostic::whole_file(file_name, &error.to_string()))?;
    let nowhere = Node { place: super::tree::Place::default(), data: Data::Null };
    let resources = response
        .resources
        .iter()
        .enumerate()
        .filter_map(|(index, any)| resource(&prost::Message::encode_to_vec(any), index, &nowhere))
        .collect();
    let positions = SourceMap::new(file_name, "");
    Ok(Read { message: resources, warnings: Vec::new(), positions })
}

/// Takes an `Any` apart, and the wrapper in it.
fn resource(any: &[u8], index: usize, node: &Node) -> Option<FileResource> {
    let (mut type_url, mut bytes) = any_parts(any)?;
    let (mut wrapped_name, mut version) = (String::new(), String::new());
    if type_name(&type_url) == "envoy.service.discovery.v3.Resource" {
        let wrapper = bytes;
        wrapped_name = text(&wrapper, 3);
        version = text(&wrapper, 1);
        (type_url, bytes) = any_parts(&content(&wrapper, 2))?;
    }
    // Field 1 of every xDS resource is its name; only `Runtime`, `Secret` and so on alike.
    let own_name = text(&bytes, 1);
    Some(FileResource {
        name: if wrapped_name.is_empty() { own_name } else { wrapped_name },
        type_url,
        bytes,
        version,
        line: node.place.line,
        column: node.place.column,
        path: format!("resources[{index}]"),
    })
}

fn any_parts(any: &[u8]) -> Option<(String, Vec<u8>)> {
    let type_url = text(any, 1);
    (!type_url.is_empty()).then(|| (type_url, content(any, 2)))
}

fn content(bytes: &[u8], number: u32) -> Vec<u8> {
    let mut reader = Reader::new(bytes);
    let mut last = Vec::new();
    while let Some(Ok((found, value))) = reader.next() {
        if found == number {
            last = value.bytes().to_vec();
        }
    }
    last
}

fn text(bytes: &[u8], number: u32) -> String {
    String::from_utf8(content(bytes, number)).unwrap_or_default()
}

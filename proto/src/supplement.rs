//! Messages of the xDS API that Envoy 1.40 knows and `envoy-types` does not compile.
//!
//! They are few and small: `TypedStruct` under its two names, and the matchers of
//! `xds.type.matcher.v3` that stand only inside an `Any`. Descriptors are written here in the wire
//! format and join those of `envoy-types`; a test decodes them together. Drop what `envoy-types`
//! gains: the same test then fails.

use std::sync::LazyLock;

use prost::{Message, Name};

use crate::google::protobuf::Struct;
use crate::wire::{put_bytes, put_key, put_varint};
use crate::xds::core::v3::CidrRange;
use crate::xds::r#type::matcher::v3::matcher::OnMatch;
use crate::xds::r#type::v3::CelExpression;

/// `xds.type.v3.TypedStruct`: a message given as free data.
#[derive(Clone, PartialEq, Message)]
pub struct TypedStruct {
    /// The type that the data is meant to be.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The data, in the form that JSON would have.
    #[prost(message, optional, tag = "2")]
    pub value: Option<Struct>,
}

/// `udpa.type.v1.TypedStruct`, the older name of the same.
#[derive(Clone, PartialEq, Message)]
pub struct UdpaTypedStruct {
    /// The type that the data is meant to be.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The data, in the form that JSON would have.
    #[prost(message, optional, tag = "2")]
    pub value: Option<Struct>,
}

/// `xds.type.matcher.v3.IPMatcher`: actions by address range.
#[derive(Clone, PartialEq, Message)]
pub struct IpMatcher {
    /// The ranges with their actions.
    #[prost(message, repeated, tag = "1")]
    pub range_matchers: Vec<IpRangeMatcher>,
}

/// `xds.type.matcher.v3.IPMatcher.IPRangeMatcher`.
#[derive(Clone, PartialEq, Message)]
pub struct IpRangeMatcher {
    /// At least one range.
    #[prost(message, repeated, tag = "1")]
    pub ranges: Vec<CidrRange>,
    /// What to do with an address in one of them.
    #[prost(message, optional, tag = "2")]
    pub on_match: Option<OnMatch>,
    /// Not taken if a longer prefix matches, even if that one then fails.
    #[prost(bool, tag = "3")]
    pub exclusive: bool,
}

/// `xds.type.matcher.v3.ServerNameMatcher`: actions by domain, wildcards included.
#[derive(Clone, PartialEq, Message)]
pub struct ServerNameMatcher {
    /// The domains with their actions.
    #[prost(message, repeated, tag = "1")]
    pub domain_matchers: Vec<DomainMatcher>,
}

/// `xds.type.matcher.v3.ServerNameMatcher.DomainMatcher`.
#[derive(Clone, PartialEq, Message)]
pub struct DomainMatcher {
    /// At least one name, such as `*.example.com`.
    #[prost(string, repeated, tag = "1")]
    pub domains: Vec<String>,
    /// What to do with a name under one of them.
    #[prost(message, optional, tag = "2")]
    pub on_match: Option<OnMatch>,
}

/// `xds.type.matcher.v3.CelMatcher`: an expression over the request.
#[derive(Clone, PartialEq, Message)]
pub struct CelMatcher {
    /// The expression; required.
    #[prost(message, optional, tag = "1")]
    pub expr_match: Option<CelExpression>,
    /// For people.
    #[prost(string, tag = "2")]
    pub description: String,
}

macro_rules! named {
    ($type:ty, $package:literal, $name:literal) => {
        impl Name for $type {
            const PACKAGE: &'static str = $package;
            const NAME: &'static str = $name;

            fn full_name() -> String {
                concat!($package, ".", $name).to_owned()
            }

            fn type_url() -> String {
                concat!("type.googleapis.com/", $package, ".", $name).to_owned()
            }
        }
    };
}

named!(TypedStruct, "xds.type.v3", "TypedStruct");
named!(UdpaTypedStruct, "udpa.type.v1", "TypedStruct");
named!(IpMatcher, "xds.type.matcher.v3", "IPMatcher");
named!(ServerNameMatcher, "xds.type.matcher.v3", "ServerNameMatcher");
named!(CelMatcher, "xds.type.matcher.v3", "CelMatcher");

static SET: LazyLock<Vec<u8>> = LazyLock::new(descriptor_set);

/// The `FileDescriptorSet` of the messages above, to be added to that of `envoy-types`.
#[must_use]
pub fn supplement_descriptor_set() -> &'static [u8] {
    &SET
}

/// How a field is described: number, name, JSON name, what it is.
type FieldRow = (u32, &'static str, &'static str, Type);

#[derive(Clone, Copy)]
enum Type {
    Text,
    Flag,
    Int32,
    Int64,
    Double,
    One(&'static str),
    /// With the constraint `message.required`.
    Required(&'static str),
    Many(&'static str),
    /// With the constraint `repeated.min_items` of 1.
    SomeTexts,
    SomeOf(&'static str),
}

/// `validate.rules = {repeated: {min_items: 1}}` as field options.
const MIN_ONE: &[u8] = &[0xfa, 0x42, 5, 0x92, 1, 2, 8, 1];
/// `validate.rules = {message: {required: true}}` as field options.
const REQUIRED: &[u8] = &[0xfa, 0x42, 5, 0x8a, 1, 2, 16, 1];

const STRUCT: &str = ".google.protobuf.Struct";
const ON_MATCH: &str = ".xds.type.matcher.v3.Matcher.OnMatch";

fn descriptor_set() -> Vec<u8> {
    let typed_struct: [FieldRow; 2] =
        [(1, "type_url", "typeUrl", Type::Text), (2, "value", "value", Type::One(STRUCT))];
    let structs = ["google/protobuf/struct.proto"];
    let typed = message("TypedStruct", &typed_struct, &[]);
    let ranges = ["xds/type/matcher/v3/matcher.proto", "xds/type/v3/range.proto"];
    let matcher = ["xds/type/matcher/v3/matcher.proto", "xds/core/v3/cidr.proto"];
    let mut set = Vec::new();
    for file in [
        file("xds/type/v3/typed_struct.proto", "xds.type.v3", &structs, &[&typed]),
        file("udpa/type/v1/typed_struct.proto", "udpa.type.v1", &structs, &[&typed]),
        file("xds/type/v3/range.proto", "xds.type.v3", &[], &number_ranges().each_ref()),
        file("xds/type/matcher/v3/ip.proto", MATCHERS, &matcher, &[&ip_matcher()]),
        file("xds/type/matcher/v3/domain.proto", MATCHERS, &matcher[..1], &[&name_matcher()]),
        file(
            "xds/type/matcher/v3/cel.proto",
            MATCHERS,
            &["xds/type/v3/cel.proto"],
            &[&message(
                "CelMatcher",
                &[
                    (1, "expr_match", "exprMatch", Type::Required(".xds.type.v3.CelExpression")),
                    (2, "description", "description", Type::Text),
                ],
                &[],
            )],
        ),
        file(
            "xds/type/matcher/v3/http_inputs.proto",
            MATCHERS,
            &[],
            &[&message("HttpAttributesCelMatchInput", &[], &[])],
        ),
        file("xds/type/matcher/v3/range.proto", MATCHERS, &ranges, &range_matchers().each_ref()),
    ] {
        put_bytes(&mut set, 1, &file);
    }
    set
}

const MATCHERS: &str = "xds.type.matcher.v3";

fn number_ranges() -> [Vec<u8>; 3] {
    let range = |name, of| message(name, &[(1, "start", "start", of), (2, "end", "end", of)], &[]);
    [
        range("Int64Range", Type::Int64),
        range("Int32Range", Type::Int32),
        range("DoubleRange", Type::Double),
    ]
}

fn range_matchers() -> [Vec<u8>; 3] {
    let matcher = |name, range, own| {
        let inner: [FieldRow; 2] = [
            (1, "ranges", "ranges", Type::SomeOf(range)),
            (2, "on_match", "onMatch", Type::One(ON_MATCH)),
        ];
        let fields: [FieldRow; 1] = [(1, "range_matchers", "rangeMatchers", Type::Many(own))];
        message(name, &fields, &[&message("RangeMatcher", &inner, &[])])
    };
    [
        matcher(
            "Int64RangeMatcher",
            ".xds.type.v3.Int64Range",
            ".xds.type.matcher.v3.Int64RangeMatcher.RangeMatcher",
        ),
        matcher(
            "Int32RangeMatcher",
            ".xds.type.v3.Int32Range",
            ".xds.type.matcher.v3.Int32RangeMatcher.RangeMatcher",
        ),
        matcher(
            "DoubleRangeMatcher",
            ".xds.type.v3.DoubleRange",
            ".xds.type.matcher.v3.DoubleRangeMatcher.RangeMatcher",
        ),
    ]
}

fn ip_matcher() -> Vec<u8> {
    let inner: [FieldRow; 3] = [
        (1, "ranges", "ranges", Type::SomeOf(".xds.core.v3.CidrRange")),
        (2, "on_match", "onMatch", Type::One(ON_MATCH)),
        (3, "exclusive", "exclusive", Type::Flag),
    ];
    let own = ".xds.type.matcher.v3.IPMatcher.IPRangeMatcher";
    let fields: [FieldRow; 1] = [(1, "range_matchers", "rangeMatchers", Type::Many(own))];
    message("IPMatcher", &fields, &[&message("IPRangeMatcher", &inner, &[])])
}

fn name_matcher() -> Vec<u8> {
    let inner: [FieldRow; 2] = [
        (1, "domains", "domains", Type::SomeTexts),
        (2, "on_match", "onMatch", Type::One(ON_MATCH)),
    ];
    let own = ".xds.type.matcher.v3.ServerNameMatcher.DomainMatcher";
    let fields: [FieldRow; 1] = [(1, "domain_matchers", "domainMatchers", Type::Many(own))];
    message("ServerNameMatcher", &fields, &[&message("DomainMatcher", &inner, &[])])
}

/// A `FileDescriptorProto`.
fn file(name: &str, package: &str, imports: &[&str], messages: &[&Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, name.as_bytes());
    put_bytes(&mut out, 2, package.as_bytes());
    for import in imports {
        put_bytes(&mut out, 3, import.as_bytes());
    }
    for message in messages {
        put_bytes(&mut out, 4, message);
    }
    put_bytes(&mut out, 12, b"proto3");
    out
}

/// A `DescriptorProto`.
fn message(name: &str, fields: &[FieldRow], nested: &[&Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, name.as_bytes());
    for row in fields {
        put_bytes(&mut out, 2, &field(row));
    }
    for inner in nested {
        put_bytes(&mut out, 3, inner);
    }
    out
}

/// A `FieldDescriptorProto`.
fn field((number, name, json_name, of): &FieldRow) -> Vec<u8> {
    let (repeated, code, type_name, options): (bool, u64, &str, &[u8]) = match *of {
        Type::Double => (false, 1, "", &[]),
        Type::Int64 => (false, 3, "", &[]),
        Type::Int32 => (false, 5, "", &[]),
        Type::Flag => (false, 8, "", &[]),
        Type::Text => (false, 9, "", &[]),
        Type::SomeTexts => (true, 9, "", MIN_ONE),
        Type::One(message) => (false, 11, message, &[]),
        Type::Required(message) => (false, 11, message, REQUIRED),
        Type::Many(message) => (true, 11, message, &[]),
        Type::SomeOf(message) => (true, 11, message, MIN_ONE),
    };
    let mut out = Vec::new();
    put_bytes(&mut out, 1, name.as_bytes());
    for (key, value) in [(3, u64::from(*number)), (4, if repeated { 3 } else { 1 }), (5, code)] {
        put_key(&mut out, key, 0);
        put_varint(&mut out, value);
    }
    if !type_name.is_empty() {
        put_bytes(&mut out, 6, type_name.as_bytes());
    }
    if !options.is_empty() {
        put_bytes(&mut out, 8, options);
    }
    put_bytes(&mut out, 10, json_name.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::{Policy, check};

    #[test]
    fn descriptors_fit_to_those_of_envoy_types_and_to_the_structs() {
        let mut pool = prost_reflect::DescriptorPool::decode(crate::DESCRIPTOR_SET).expect("valid");
        let before = pool.all_messages().len();
        pool.decode_file_descriptor_set(supplement_descriptor_set()).expect("fits");
        assert_eq!(pool.all_messages().len(), before + 17, "none was there already");
        let bytes = IpRangeMatcher { exclusive: true, ..Default::default() }.encode_to_vec();
        let name = "xds.type.matcher.v3.IPMatcher.IPRangeMatcher";
        let found = check(name, &bytes, &Policy::everything());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].to_string(), "ranges: got 0 items; must be at least 1 item");
        let found = check(&CelMatcher::type_url(), &[], &Policy::everything());
        assert_eq!(found[0].to_string(), "expr_match: got nothing; must be set");
    }
}

//! Rows of the matchers of `envoy.type.matcher.v3` that filters use; those of strings are routes'.

use proto::rules::PolicyRow;

pub(super) const ROWS: &[PolicyRow<'static>] = &[
    ("envoy.type.matcher.v3.PathMatcher", &["path"], &[]),
    ("envoy.type.matcher.v3.MetadataMatcher", &["filter", "path", "value", "invert"], &[]),
    ("envoy.type.matcher.v3.MetadataMatcher.PathSegment", &["key"], &[]),
    (
        "envoy.type.matcher.v3.ValueMatcher",
        &[
            "null_match",
            "double_match",
            "string_match",
            "bool_match",
            "present_match",
            "list_match",
            "or_match",
        ],
        &[],
    ),
    ("envoy.type.matcher.v3.ValueMatcher.NullMatch", &[], &[]),
    ("envoy.type.matcher.v3.DoubleMatcher", &["range", "exact"], &[]),
    ("envoy.type.v3.DoubleRange", &["start", "end"], &[]),
    ("envoy.type.matcher.v3.ListMatcher", &["one_of"], &[]),
    ("envoy.type.matcher.v3.OrMatcher", &["value_matchers"], &[]),
];

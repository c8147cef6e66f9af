//! Rules of who may do what (`envoy.config.rbac.v3.RBAC`), of the HTTP and the network filter.
//!
//! Whatever restricts requests and is not built is refused by name: matchers
//! (`xds.type.matcher.v3`), conditions in CEL, extensions but path templates, filter state.

pub mod network;

use std::ops::Range;
use std::sync::Arc;

use ipnet::IpNet;
use proto::envoy::config::core::v3::TypedExtensionConfig;
use proto::envoy::config::rbac::v3 as pb;
use proto::envoy::config::route::v3::HeaderMatcher as PbHeaderMatcher;
use proto::envoy::extensions::path::r#match::uri_template::v3::UriTemplateMatchConfig;
use proto::envoy::r#type::matcher::v3::{PathMatcher, path_matcher};
use proto::envoy::r#type::v3::Int32Range;
use proto::rules::PolicyRow;

use super::error::{At as _, Collector, Problems, Reason};
use super::resource::ParseCx;
use super::route::HeaderMatcher;
use super::route::match_rules::{parse_header_matcher, parse_string_matcher};
use super::value_matcher::{MetadataMatcher, parse_metadata_matcher};
use super::{extension, field, path_template};
use crate::base::pattern::{Re2, StringMatcher};

/// Policies and what a match means.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// What a match means.
    pub action: Action,
    /// In the order of their names, which is the order in which they are asked.
    pub policies: Vec<Policy>,
}

/// What a match means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Allowed, and what matches nothing is denied.
    Allow,
    /// Denied, and what matches nothing is allowed.
    Deny,
    /// Everything is allowed; dynamic metadata says whether there was a match.
    Log,
}

/// Who may, or may not, do what. It matches where one of both matches.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its key.
    pub name: Arc<str>,
    /// What is done.
    pub permissions: Vec<Condition>,
    /// By whom.
    pub principals: Vec<Condition>,
}

/// A permission or a principal: either is a condition on a request and its connection.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `and_rules`, `and_ids`.
    All(Vec<Self>),
    /// `any`.
    Always,
    /// `or_rules`, `or_ids`.
    Any(Vec<Self>),
    /// `authenticated`: the connection is in TLS, and a name of the client's certificate passes.
    Authenticated(Option<StringMatcher>),
    /// `destination_ip`.
    DestinationIp(IpNet),
    /// `destination_port`, `destination_port_range`.
    DestinationPort(Range<u32>),
    /// `direct_remote_ip`, `source_ip`: the other end of the connection.
    DirectRemoteIp(IpNet),
    /// `header`.
    Header(HeaderMatcher),
    /// `metadata`, and `sourced_metadata` of source DYNAMIC.
    Metadata(MetadataMatcher),
    /// `not_rule`, `not_id`.
    Not(Box<Self>),
    /// `remote_ip`: the client, as told by `x-forwarded-for` where that is trusted.
    RemoteIp(IpNet),
    /// `sourced_metadata` of source ROUTE.
    RouteMetadata(MetadataMatcher),
    /// `requested_server_name`.
    ServerName(StringMatcher),
    /// `uri_template`: the whole path, without query and fragment.
    UriTemplate(Re2),
    /// `url_path`: without query and fragment.
    UrlPath(StringMatcher),
}

const TEMPLATE: &str = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig";

/// The fields that are built. A condition in CEL, a matcher and the like are not.
pub(super) const ROWS: &[PolicyRow<'static>] = &[
    // Envoy's proxy audits nothing either: the field is gRPC's.
    ("envoy.config.rbac.v3.RBAC", &["action", "policies"], &["audit_logging_options"]),
    ("envoy.config.rbac.v3.Policy", &["permissions", "principals"], &[]),
    (
        "envoy.config.rbac.v3.Permission",
        &[
            "and_rules",
            "or_rules",
            "any",
            "header",
            "url_path",
            "destination_ip",
            "destination_port",
            "destination_port_range",
            "metadata",
            "not_rule",
            "requested_server_name",
            "sourced_metadata",
            "uri_template",
        ],
        &[],
    ),
    (TEMPLATE, &["path_template"], &[]),
    ("envoy.config.rbac.v3.Permission.Set", &["rules"], &[]),
    (
        "envoy.config.rbac.v3.Principal",
        &[
            "and_ids",
            "or_ids",
            "any",
            "authenticated",
            "source_ip",
            "direct_remote_ip",
            "remote_ip",
            "header",
            "url_path",
            "metadata",
            "not_id",
            "sourced_metadata",
        ],
        &[],
    ),
    ("envoy.config.rbac.v3.Principal.Set", &["ids"], &[]),
    ("envoy.config.rbac.v3.Principal.Authenticated", &["principal_name"], &[]),
    ("envoy.config.rbac.v3.SourcedMetadata", &["metadata_matcher", "metadata_source"], &[]),
];

/// The rules.
///
/// # Errors
/// Whatever breaks a rule or is not built.
pub fn parse(message: pb::Rbac, cx: &ParseCx<'_>) -> Result<Rules, Problems> {
    let action = match field::enumeration::<pb::rbac::Action>(message.action, "action")? {
        pb::rbac::Action::Allow => Action::Allow,
        pb::rbac::Action::Deny => Action::Deny,
        pb::rbac::Action::Log => Action::Log,
    };
    let mut named: Vec<_> = message.policies.into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    let mut all = Collector::default();
    let mut policies = Vec::with_capacity(named.len());
    for (name, policy) in named {
        let parsed = parse_policy(&name, policy, cx).at_key("policies", &name);
        policies.extend(all.keep(parsed));
    }
    all.finish().map(|()| Rules { action, policies })
}

fn parse_policy(name: &str, message: pb::Policy, cx: &ParseCx<'_>) -> Result<Policy, Problems> {
    field::refuse(message.condition.is_some(), "condition")?;
    field::refuse(message.checked_condition.is_some(), "checked_condition")?;
    field::refuse(message.cel_config.is_some(), "cel_config")?;
    let mut all = Collector::default();
    let permissions =
        all.keep(each(message.permissions, "permissions", |one| parse_permission(one, cx)));
    let principals = all.keep(each(message.principals, "principals", parse_principal));
    all.finish()?;
    Ok(Policy {
        name: name.into(),
        permissions: permissions.unwrap_or_default(),
        principals: principals.unwrap_or_default(),
    })
}

fn each<T>(
    list: Vec<T>,
    name: &'static str,
    parse: impl Fn(T) -> Result<Condition, Problems>,
) -> Result<Vec<Condition>, Problems> {
    let mut all = Collector::default();
    let mut parsed = Vec::with_capacity(list.len());
    for (i, item) in list.into_iter().enumerate() {
        parsed.extend(all.keep(parse(item).at_index(name, i)));
    }
    all.finish().map(|()| parsed)
}

fn parse_permission(message: pb::Permission, cx: &ParseCx<'_>) -> Result<Condition, Problems> {
    use pb::permission::Rule as R;
    match field::required(message.rule, "rule")? {
        R::AndRules(set) => each(set.rules, "rules", |one| parse_permission(one, cx))
            .map(Condition::All)
            .at("and_rules"),
        R::OrRules(set) => each(set.rules, "rules", |one| parse_permission(one, cx))
            .map(Condition::Any)
            .at("or_rules"),
        R::Any(_) => Ok(Condition::Always),
        R::Header(header) => parse_header(header),
        R::UrlPath(path) => parse_path(path),
        R::DestinationIp(range) => {
            field::cidr(range).map(Condition::DestinationIp).at("destination_ip")
        }
        R::DestinationPort(port) => Ok(Condition::DestinationPort(port..port.saturating_add(1))),
        R::DestinationPortRange(range) => parse_ports(&range).at("destination_port_range"),
        #[expect(deprecated, reason = "control planes still send it")]
        R::Metadata(matcher) => {
            parse_metadata_matcher(matcher).map(Condition::Metadata).at("metadata")
        }
        R::NotRule(rule) => {
            parse_permission(*rule, cx).map(|rule| Condition::Not(Box::new(rule))).at("not_rule")
        }
        R::RequestedServerName(name) => {
            parse_string_matcher(name).map(Condition::ServerName).at("requested_server_name")
        }
        R::SourcedMetadata(metadata) => parse_sourced(metadata).at("sourced_metadata"),
        R::Matcher(_) => refused("matcher"),
        R::UriTemplate(extension) => parse_template(extension, cx).at("uri_template"),
    }
}

fn parse_principal(message: pb::Principal) -> Result<Condition, Problems> {
    use pb::principal::Identifier as I;
    match field::required(message.identifier, "identifier")? {
        I::AndIds(set) => each(set.ids, "ids", parse_principal).map(Condition::All).at("and_ids"),
        I::OrIds(set) => each(set.ids, "ids", parse_principal).map(Condition::Any).at("or_ids"),
        I::Any(_) => Ok(Condition::Always),
        I::Authenticated(authenticated) => {
            let name = authenticated.principal_name.map(parse_string_matcher).transpose();
            name.map(Condition::Authenticated).at("principal_name").at("authenticated")
        }
        #[expect(deprecated, reason = "control planes still send it")]
        I::SourceIp(range) => field::cidr(range).map(Condition::DirectRemoteIp).at("source_ip"),
        I::DirectRemoteIp(range) => {
            field::cidr(range).map(Condition::DirectRemoteIp).at("direct_remote_ip")
        }
        I::RemoteIp(range) => field::cidr(range).map(Condition::RemoteIp).at("remote_ip"),
        I::Header(header) => parse_header(header),
        I::UrlPath(path) => parse_path(path),
        #[expect(deprecated, reason = "control planes still send it")]
        I::Metadata(matcher) => {
            parse_metadata_matcher(matcher).map(Condition::Metadata).at("metadata")
        }
        I::NotId(id) => parse_principal(*id).map(|id| Condition::Not(Box::new(id))).at("not_id"),
        I::SourcedMetadata(metadata) => parse_sourced(metadata).at("sourced_metadata"),
        I::FilterState(_) => refused("filter_state"),
        I::Custom(_) => refused("custom"),
    }
}

fn refused(name: &'static str) -> Result<Condition, Problems> {
    field::refuse(true, name).map(|()| Condition::Always)
}

fn parse_header(header: PbHeaderMatcher) -> Result<Condition, Problems> {
    parse_header_matcher(header).map(Condition::Header).at("header")
}

fn parse_path(path: PathMatcher) -> Result<Condition, Problems> {
    let test = match path.rule {
        Some(path_matcher::Rule::Path(test)) => parse_string_matcher(test),
        None => Err(Reason::Missing.into()),
    };
    test.map(Condition::UrlPath).at("path").at("url_path")
}

fn parse_template(
    extension: TypedExtensionConfig,
    cx: &ParseCx<'_>,
) -> Result<Condition, Problems> {
    let any = field::required(extension.typed_config, "typed_config")?;
    let opened = extension::open_checked(&any, cx).at("typed_config")?;
    if opened.message != TEMPLATE {
        return Err(extension::unknown("path matcher", &extension.name, &opened.message).into());
    }
    let config: UriTemplateMatchConfig = extension::message(&opened.body)?;
    let template = path_template::parse(&config.path_template).map_err(Problems::from);
    template.map(Condition::UriTemplate).at("path_template").at("typed_config")
}

/// Envoy: from 0 to 65536, and not empty.
fn parse_ports(range: &Int32Range) -> Result<Condition, Problems> {
    let bound = |value: i32, name: &'static str| {
        let bound = u32::try_from(value).ok().filter(|bound| *bound <= 65_536);
        let must = "between 0 and 65536".to_owned();
        bound.ok_or_else(|| Reason::Invalid { got: value.to_string(), must }.into()).at(name)
    };
    let (start, end) = (bound(range.start, "start")?, bound(range.end, "end")?);
    if start >= end {
        let must = format!("below end ({end})");
        return Err(Reason::Invalid { got: start.to_string(), must }.into()).at("start");
    }
    Ok(Condition::DestinationPort(start..end))
}

fn parse_sourced(message: pb::SourcedMetadata) -> Result<Condition, Problems> {
    let source =
        field::enumeration::<pb::MetadataSource>(message.metadata_source, "metadata_source")?;
    let matcher = field::required(message.metadata_matcher, "metadata_matcher")?;
    let matcher = parse_metadata_matcher(matcher).at("metadata_matcher")?;
    Ok(match source {
        pb::MetadataSource::Dynamic => Condition::Metadata(matcher),
        pb::MetadataSource::Route => Condition::RouteMetadata(matcher),
    })
}

//! Where resources come from (`envoy.config.core.v3.ConfigSource`, `ApiConfigSource`,
//! `GrpcService`).

use std::sync::Arc;
use std::time::Duration;

use proto::envoy::config::core::v3 as pb;
use proto::envoy::config::core::v3::api_config_source::ApiType;
use proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use proto::envoy::config::core::v3::grpc_service::TargetSpecifier;

use super::error::{At, Problems, Reason};
use super::field;
use super::resource::ParseCx;
use crate::base::names::ClusterName;

/// How long a subscription is waited for before start goes on without it.
pub const INITIAL_FETCH_TIMEOUT_DEFAULT: Duration = Duration::from_secs(15);

/// A source of resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigSource {
    /// The kind of source.
    pub kind: SourceKind,
    /// `initial_fetch_timeout`: `None` waits for ever (0 in the configuration); default 15 s.
    pub initial_fetch_timeout: Option<Duration>,
}

/// The kinds of sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceKind {
    /// The aggregated stream of the bootstrap's `ads_config`.
    Ads,
    /// A stream of its own for this resource type.
    Api(Arc<ApiSource>),
    /// A file that is watched.
    Path(PathSource),
}

/// A file source (`path`, `path_config_source`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathSource {
    /// The file with the resources.
    pub path: Arc<str>,
    /// The directory whose moves are watched instead of the file's own (`watched_directory`).
    pub watched_directory: Option<Arc<str>>,
    /// Whether writing in place counts too (`watched_directory.watch_modify`).
    pub watch_modify: bool,
    /// How often the file is looked at in addition, where that is asked for (`poll_interval`).
    pub poll_interval: Option<Duration>,
}

/// A management server over gRPC (`ApiConfigSource` with GRPC, DELTA_GRPC or, in a resource's own
/// source, the aggregated forms).
#[derive(Clone, Debug, PartialEq)]
pub struct ApiSource {
    /// State of the world or incremental.
    pub variant: XdsVariant,
    /// The services, by preference; the first is used, a second is a fall-back.
    pub services: Vec<GrpcServiceConfig>,
    /// Limit on requests sent; `None` does not limit.
    pub rate_limit: Option<RateLimit>,
    /// Whether `node` travels on the first request of a stream only.
    pub set_node_on_first_message_only: bool,
}

// The only float is a rate that the parser refuses when it is not a finite number.
impl Eq for ApiSource {}

/// The two forms of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum XdsVariant {
    /// Incremental xDS (`DELTA_GRPC`).
    Delta,
    /// State of the world (`GRPC`).
    Sotw,
}

/// `envoy.config.core.v3.RateLimitSettings`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RateLimit {
    /// Bucket size; default 100.
    pub max_tokens: u32,
    /// Tokens a second; default 10; finite and greater than 0.
    pub fill_rate: f64,
}

/// A gRPC service reached through a cluster (`GrpcService.envoy_grpc`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcServiceConfig {
    /// The cluster; in a bootstrap a static one.
    pub cluster: ClusterName,
    /// `:authority`; `None` is the cluster's name.
    pub authority: Option<Arc<str>>,
    /// Per-call timeout; `None` has none.
    pub timeout: Option<Duration>,
    /// Metadata on each call, in the order written.
    pub initial_metadata: Vec<(Arc<str>, Arc<str>)>,
    /// Largest message that is read, in bytes; `None` does not limit.
    pub max_receive_message_bytes: Option<u32>,
    /// How reconnects are spaced (`retry_policy.retry_back_off`); `None` is 500 ms to 30 s.
    pub backoff: Option<Backoff>,
}

/// `envoy.config.core.v3.BackoffStrategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Backoff {
    /// First interval.
    pub base: Duration,
    /// Longest interval.
    pub max: Duration,
}

/// Who may speak: the stream that all types share, or a type's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApiUse {
    /// `ads_config`.
    Ads,
    /// A resource's own `api_config_source`.
    Resource,
}

/// A `ConfigSource`.
///
/// # Errors
/// If it is of a kind that is not built, or not whole.
pub fn parse(source: pb::ConfigSource) -> Result<ConfigSource, Problems> {
    field::refuse(!source.authorities.is_empty(), "authorities")?;
    check_version(source.resource_api_version, "resource_api_version")?;
    let default = Some(INITIAL_FETCH_TIMEOUT_DEFAULT);
    let initial_fetch_timeout =
        field::timeout(source.initial_fetch_timeout, default, "initial_fetch_timeout")?;
    let kind = match source.config_source_specifier.ok_or(Reason::Missing)? {
        ConfigSourceSpecifier::Ads(_) => SourceKind::Ads,
        ConfigSourceSpecifier::ApiConfigSource(api) => {
            let api = parse_api(api, ApiUse::Resource).at("api_config_source")?;
            SourceKind::Api(Arc::new(api))
        }
        ConfigSourceSpecifier::Path(path) => SourceKind::Path(PathSource {
            path: path.into(),
            watched_directory: None,
            watch_modify: false,
            poll_interval: None,
        }),
        ConfigSourceSpecifier::PathConfigSource(path) => {
            SourceKind::Path(parse_path(path).at("path_config_source")?)
        }
        ConfigSourceSpecifier::Self_(_) => {
            field::refuse(true, "self")?;
            return Err(Reason::Missing.into());
        }
    };
    Ok(ConfigSource { kind, initial_fetch_timeout })
}

/// The source of a resource that another one needs: a file must exist, as in Envoy.
///
/// # Errors
/// As for [`parse`], and if a file source names nothing.
pub fn parse_dependency(
    source: pb::ConfigSource,
    cx: &ParseCx<'_>,
) -> Result<ConfigSource, Problems> {
    let parsed = parse(source)?;
    match &parsed.kind {
        SourceKind::Path(path) if !cx.sources.exists(&path.path) => {
            let must = "a file that exists".into();
            let got = format!("\"{}\"", path.path);
            Err(Reason::Invalid { got, must }.into()).at("path").at("path_config_source")
        }
        _ => Ok(parsed),
    }
}

/// An `ApiConfigSource`.
///
/// # Errors
/// If it is not gRPC through one or two clusters.
pub fn parse_api(source: pb::ApiConfigSource, api_use: ApiUse) -> Result<ApiSource, Problems> {
    check_version(source.transport_api_version, "transport_api_version")?;
    let variant = parse_variant(source.api_type, api_use).at("api_type")?;
    if !source.cluster_names.is_empty() {
        let text = "a gRPC source names its cluster in grpc_services".into();
        return Err(Reason::Rule(text).into()).at("cluster_names");
    }
    field::refuse(!source.config_validators.is_empty(), "config_validators")?;
    if source.grpc_services.is_empty() {
        return Err(Reason::Missing.into()).at("grpc_services");
    }
    // Config::Utility::checkApiConfigSourceNames: the second one is a fall-back.
    if source.grpc_services.len() > 2 {
        let got = format!("{} services", source.grpc_services.len());
        return Err(Reason::Invalid { got, must: "at most 2".into() }.into()).at("grpc_services");
    }
    let services = source.grpc_services.into_iter().enumerate();
    let services = services.map(|(i, s)| parse_service(s).at_index("grpc_services", i));
    Ok(ApiSource {
        variant,
        services: services.collect::<Result<_, _>>()?,
        rate_limit: source
            .rate_limit_settings
            .map(parse_rate)
            .transpose()
            .at("rate_limit_settings")?,
        set_node_on_first_message_only: source.set_node_on_first_message_only,
    })
}

/// A `GrpcService`.
///
/// # Errors
/// If it is not reached through a cluster.
pub fn parse_service(service: pb::GrpcService) -> Result<GrpcServiceConfig, Problems> {
    let timeout = field::timeout(service.timeout, None, "timeout")?;
    let outer_retry = service.retry_policy;
    let metadata = service.initial_metadata.into_iter();
    let initial_metadata = metadata.map(|h| (h.key.into(), h.value.into())).collect();
    match service.target_specifier.ok_or(Reason::Missing)? {
        TargetSpecifier::EnvoyGrpc(grpc) => {
            let retry = grpc.retry_policy.or(outer_retry);
            let backoff = retry.and_then(|policy| policy.retry_back_off);
            let backoff = backoff.map(parse_backoff).transpose();
            let backoff = backoff.at("retry_back_off").at("retry_policy").at("envoy_grpc")?;
            let limit = grpc.max_receive_message_length.map(|v| v.value);
            Ok(GrpcServiceConfig {
                cluster: grpc.cluster_name.into(),
                authority: Some(grpc.authority).filter(|a| !a.is_empty()).map(Into::into),
                timeout,
                initial_metadata,
                max_receive_message_bytes: limit.filter(|limit| *limit > 0),
                backoff,
            })
        }
        TargetSpecifier::GoogleGrpc(_) => {
            let what = "the Google gRPC client (envoy_grpc is supported)".into();
            Err(Reason::NotSupported { what }.into()).at("google_grpc")
        }
    }
}

fn parse_variant(api_type: i32, api_use: ApiUse) -> Result<XdsVariant, Problems> {
    let unsupported = |what: &str| Err(Reason::NotSupported { what: what.into() }.into());
    let api_type = ApiType::try_from(api_type).map_err(|_| Reason::Missing)?;
    match (api_type, api_use) {
        (ApiType::Grpc, _) => Ok(XdsVariant::Sotw),
        (ApiType::DeltaGrpc, _) => Ok(XdsVariant::Delta),
        (_, ApiUse::Ads) => {
            let got = api_type.as_str_name().to_owned();
            Err(Reason::Invalid { got, must: "GRPC or DELTA_GRPC".into() }.into())
        }
        (ApiType::Rest, ApiUse::Resource) => unsupported("REST"),
        (ApiType::AggregatedGrpc | ApiType::AggregatedDeltaGrpc, ApiUse::Resource) => {
            unsupported("an aggregated source with an authority")
        }
        (ApiType::DeprecatedAndUnavailableDoNotUse, ApiUse::Resource) => {
            Err(Reason::Missing.into())
        }
    }
}

fn parse_path(path: pb::PathConfigSource) -> Result<PathSource, Problems> {
    let poll_interval = field::timeout(path.poll_interval, None, "poll_interval")?;
    let watched = path.watched_directory;
    Ok(PathSource {
        path: path.path.into(),
        watch_modify: watched.as_ref().is_some_and(|w| w.watch_modify),
        watched_directory: watched.map(|w| w.path.into()),
        poll_interval,
    })
}

fn parse_rate(settings: pb::RateLimitSettings) -> Result<RateLimit, Problems> {
    let fill_rate = settings.fill_rate.map_or(10.0, |v| v.value);
    if !(fill_rate.is_finite() && fill_rate > 0.0) {
        let must = "a number greater than 0".into();
        return Err(Reason::Invalid { got: fill_rate.to_string(), must }.into()).at("fill_rate");
    }
    Ok(RateLimit { max_tokens: field::uint(settings.max_tokens, 100), fill_rate })
}

fn parse_backoff(backoff: pb::BackoffStrategy) -> Result<Backoff, Problems> {
    let base = field::required(backoff.base_interval, "base_interval")?;
    let base = field::duration(Some(base), "base_interval")?.unwrap_or_default();
    let max = field::duration(backoff.max_interval, "max_interval")?.unwrap_or(base * 10);
    if max < base {
        let (got, must) = (format!("{max:?}"), format!("at least base_interval ({base:?})"));
        return Err(Reason::Invalid { got, must }.into()).at("max_interval");
    }
    Ok(Backoff { base, max })
}

/// V2 ended years ago; Envoy takes "not said" for V3.
fn check_version(version: i32, name: &'static str) -> Result<(), Problems> {
    if field::enumeration::<pb::ApiVersion>(version, name)? == pb::ApiVersion::V2 {
        let (got, must) = ("V2".into(), "V3".into());
        return Err(Reason::Invalid { got, must }.into()).at(name);
    }
    Ok(())
}

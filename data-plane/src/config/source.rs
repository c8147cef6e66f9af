//! Where resources come from (`envoy.config.core.v3.ConfigSource`, `ApiConfigSource`, `GrpcService`).

use std::sync::Arc;
use std::time::Duration;

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

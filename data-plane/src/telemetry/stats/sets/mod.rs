//! The name tables, one file a subject. Names and kinds are those that Envoy 1.40 prints.

mod cluster;
mod cors;
mod csrf;
mod fault;
mod http;
mod jwt;
mod listener;
mod rate_limit;
mod rbac;
mod route;
mod server;
mod ssl;
mod tcp;
mod tracing;
mod xds;

pub use cluster::{ClusterStat, HealthCheckStat, OutlierStat};
pub use cors::CorsStat;
pub use csrf::CsrfStat;
pub use fault::{FaultClusterStat, FaultStat};
pub use http::{Http1Stat, Http2Stat, HttpStat, HttpTracingStat, ListenerHttpStat, RouterStat};
pub use jwt::JwtStat;
pub use listener::{AdminListenerStat, ListenerManagerStat, ListenerStat, TlsInspectorStat};
pub use rate_limit::LocalRateLimitStat;
pub use rbac::{RbacPolicyStat, RbacShadowStat, RbacStat};
pub use route::RouteStat;
pub use server::{
    ClusterManagerStat, FilesystemStat, OverloadActionStat, OverloadStat, RuntimeStat, ServerStat,
    ThreadLocalStat, WatchdogStat,
};
pub use ssl::SslStat;
pub use tcp::TcpStat;
pub use tracing::OpenTelemetryStat;
pub use xds::{ControlPlaneStat, EdsStat, RdsStat, ReloadStat, SubscriptionStat};

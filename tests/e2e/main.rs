//! The data plane's binary from outside: real sockets, real files, real signals.
//!
//! One file a theme. What only Envoy can tell right from wrong stands in `differential`.

mod accept;
mod bad_input;
mod config_api;
mod cors;
mod csrf;
mod drain;
mod health;
mod http1_attacks;
mod http2_floods;
mod http2_rules;
mod jwks;
mod listener_log;
mod mirrors;
mod outlier;
mod panics;
mod rbac;
mod registry;
mod reload;
mod retries;
mod rig;
mod seed;
mod spans;
mod streams;
mod tcp_proxy;
mod tls;
mod tls_upstream;
mod tunnels;
mod zero_config;

//! The one door to Envoy's API: messages, descriptors, text forms and rules.
//!
//! * [`envoy`], [`xds`], [`udpa`], [`google`]: the prost messages and tonic stubs of `envoy-types`.
//! * [`descriptors`]: the reflection pool; costs megabytes, so hold it only while it is needed.
//! * [`rules`]: constraint rules, unknown and unsupported fields, over wire bytes.
//! * [`text`]: YAML, JSON and binary files into messages, with places for every error.
//! * [`mod@write`]: messages as JSON in the form of Envoy's admin interface.
//! * [`supplement`]: the few messages that `envoy-types` lacks.
//! * [`control`]: our own API, made from the protos in `gomesh/`.
//! * [`convert`]: between Envoy's well-known types and std's.
//!
//! No other crate of this repository names `envoy-types` or the descriptor set. This crate knows
//! nothing of proxies: it reads, checks and writes messages, and never gives them a meaning.

pub mod control;
pub mod convert;
mod descriptor_pool;
pub mod rules;
mod schema;
pub mod supplement;
pub mod text;
mod wire;
pub mod write;

pub use descriptor_pool::{DESCRIPTOR_SET, Descriptors, descriptors};
pub use envoy_types::pb::{cel, envoy, google, io, opentelemetry, ratelimit, udpa, validate, xds};
pub use prost;
pub use prost_reflect;

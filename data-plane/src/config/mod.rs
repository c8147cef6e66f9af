//! L1, pure: Envoy's protos → a validated, comparable model ("parse, don't validate").
//!
//! A shape file (`mod.rs` of a folder) says what a thing is; the rules file beside it (`parse.rs`)
//! says which messages become one. Nothing here does I/O, reads a clock or keeps state.

#![expect(deprecated, reason = "what Envoy gave up it still reads; each use is reported")]

pub mod access_log;
pub mod address;
pub mod bootstrap;
pub mod cluster;
pub mod data_source;
pub mod endpoint;
pub mod error;
pub mod extension;
pub mod field;
pub mod filter_chain;
pub mod format;
pub mod header_mutation;
pub mod http_manager;
pub mod http_protocol;
pub mod listener;
pub mod metadata;
pub mod path_template;
pub mod rbac;
pub mod resource;
pub mod route;
pub mod source;
pub mod support;
pub mod tcp_proxy;
pub mod tls;
pub mod tracing;
pub mod value_matcher;
pub mod verdict;

#[cfg(test)]
mod tests;

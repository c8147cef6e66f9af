//! Our own API: one set of handlers, spoken to by gRPC and by REST with JSON.
//!
//! [`instances`] is the handlers of the registry, [`config`] those of the configuration; [`grpc`],
//! [`rest`] and [`rest_config`] only carry messages to them and errors back. [`guard`] keeps web
//! pages of other origins from writing.

pub mod config;
pub mod error;
pub mod grpc;
pub mod guard;
pub mod instances;
pub mod openapi;
pub mod rest;
pub mod rest_config;

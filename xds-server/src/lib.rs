//! `xds-server`: a control plane for Envoy and for `data-plane`.
//!
//! Layers, each using only those to its right:
//! `main → app → {service, admin, api} → {session, store, compose, registry, catalog} →
//! {translate, snapshot, durable} → intent`.
//! What an operator writes ends at `translate`; Envoy's messages begin there. A library first:
//! no process-wide state, so that many servers can run in one process.

pub mod accept;
pub mod admin;
pub mod api;
pub mod app;
pub mod canonical;
pub mod catalog;
pub mod check;
pub mod cli;
pub mod clock;
pub mod compose;
pub mod durable;
pub mod intent;
pub mod metrics;
pub mod references;
pub mod registry;
pub mod service;
pub mod session;
pub mod share;
pub mod snapshot;
pub mod source;
pub mod status;
pub mod store;
pub mod stream;
pub mod support;
pub mod translate;

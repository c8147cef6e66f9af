//! L5: one HTTP request from its head to its record.
//!
//! `serve` runs a connection, `pipeline` says in which order a request passes the layers, `pump`
//! moves it, `chain` and `filter` are the HTTP filters, `router` ends every chain. `reply` and
//! `error` turn causes into answers; `headers` is what the connection manager does to heads.
//! Everything about a request is in an [`exchange::Exchange`]; what it is decided by is in a
//! [`view::View`], which cannot change under it.

pub mod access_log;
pub mod chain;
pub mod chore;
pub mod client_cert;
pub mod conn;
pub mod drain;
pub mod entry;
pub mod error;
pub mod exchange;
pub mod filter;
pub mod headers;
pub mod log_filter;
pub mod manager;
pub mod metadata;
pub mod names;
pub mod pipeline;
pub mod pump;
pub mod rate_limit;
pub mod reply;
pub mod request_id;
pub mod router;
pub mod routes;
pub mod serve;
pub mod span;
pub mod timer;
pub mod trace;
pub mod view;
pub mod worker;

#[cfg(test)]
mod tests;

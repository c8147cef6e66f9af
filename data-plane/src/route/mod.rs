//! L3, pure: which virtual host, route and cluster a request goes to, and what changes on the way.
//!
//! A [`RouteTable`] is built once from a [`RouteConfig`](crate::config::route::RouteConfig) and
//! never changes; every worker reads it without a lock. [`RouteTable::find`] allocates nothing.
//! Envoy's order holds: of a virtual host's routes the first that matches wins. The index makes
//! that fast; it never changes the answer (a property test compares it with the plain scan).
//!
//! Nothing here does I/O, reads a clock, draws a random number or logs: all of that comes in.

mod domain;

mod index;
mod input;
mod matching;
pub mod mutation;
pub mod path;
mod radix;
mod redirect;
mod rewrite;
mod table;
#[cfg(test)]
mod tests;
mod weighted;

pub use input::{NoRuntime, RouteInput, RuntimeKeys};
pub use matching::{
    cookie, fraction_holds, header_matches, joined, query_parameter, response_matches,
    route_matches, unescaped_queries_match, without_query_parameter,
};
pub use redirect::{RedirectRequest, location, location_of_tls_redirect};
pub use rewrite::{
    OriginalHeaders, RequestFields, RewrittenPath, append_forwarded_host, path_before_query,
};
pub use table::{Decision, RouteChoice, RouteRef, RouteTable, VirtualClusterRef};

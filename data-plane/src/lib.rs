//! GoMesh's data plane: an Envoy-compatible HTTP proxy driven by any xDS control plane.
//!
//! The modules stand in layer order; each may use only the ones below it in this list
//! (`tests/tidy` enforces it). `ARCHITECTURE.md` beside this crate tells the life of a request.
//!
//! | layer | module | holds |
//! | --- | --- | --- |
//! | L10 | `app` | the only place that knows everyone: build, wire, wait, drain |
//! | L9 | `admin` | Envoy's admin interface, a file a page |
//! | L8 | `listener` | sockets, workers, accept, filter chain choice |
//! | L7 | `snapshot` | validated configuration → live objects, published as one |
//! | L6 | `tcp` | one TCP connection: bytes to a host and back |
//! | L5 | `http` | one request: pipeline, filters, router, local replies |
//! | L4 | `cluster` | hosts, balancing, limits, upstream connections |
//! | L3 | `route`, `codec`, `tls`, `xds` | routing; HTTP on the wire; TLS rules; the xDS client |
//! | L2 | `telemetry` | counters, metrics, access logs |
//! | L1 | `config` | Envoy's protos → validated model |
//! | L0 | `base` | no domain knowledge |

pub mod admin;
pub mod app;
pub mod base;
pub mod cluster;
pub mod codec;
pub mod config;
pub mod http;
pub mod listener;
pub mod route;
pub mod snapshot;
pub mod tcp;
pub mod telemetry;
pub mod tls;
pub mod xds;

//! The demo: a whole mesh in one process, and the small services that it is made of.
//!
//! `mesh` puts a control plane, an edge proxy and three echo services together in the way that
//! separate programs are: the edge boots from a file of `bootstrap/` and gets everything else
//! over xDS. `backend` and `frontend` are also programs of their own, for the tour and for
//! containers. Nothing here knows how the proxy or the control plane work inside.

pub mod backend;
pub mod cli;
pub mod client;
pub mod frontend;
pub mod mesh;
pub mod ports;
pub mod server;

//! Harness of the tests that run the real binaries over real sockets.
//!
//! Everything listens on 127.0.0.1 with ports that the system chooses. What a test starts ends
//! with the value that stands for it. Nothing here sleeps to let time pass: `wait` asks until
//! an answer holds or a deadline passes.

pub mod backend;
pub mod binaries;
pub mod client;
pub mod clock;
pub mod collector;
pub mod grpc_health;
pub mod h2_backend;
pub mod h2_client;
pub mod h2_frames;
pub mod message;
pub mod names;
pub mod principals;
pub mod proxy;
pub mod servers;
pub mod setup;
pub mod stats;
pub mod tcp_backend;
pub mod tls;
pub mod wait;

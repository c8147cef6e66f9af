//! L0: what every layer uses and what knows nothing of proxies.

pub mod backoff;
pub mod bind;
pub mod clock;
pub mod drain;
pub mod limits;
pub mod names;
pub mod pattern;
pub mod task;

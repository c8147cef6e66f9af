//! L0: what every layer uses and what knows nothing of proxies.

pub mod clock;
pub mod names;

//! Access logs: what is known of a request ([`Entry`]), how it is written (`Format`), and where to
//! (`Sink`).

mod entry;

pub use entry::{Addr, Entry, LogType, Protocol};

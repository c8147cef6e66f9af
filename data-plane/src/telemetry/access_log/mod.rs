//! Access logs: what is known of a request ([`Entry`]), how it is written ([`Format`]), and where
//! to ([`Sink`]).
//!
//! The formats also make header values and bodies of local replies from `%…%`. Everything is
//! compiled when a configuration is built; writing a line allocates nothing but its bytes.

mod check;
mod entry;
mod format;
mod operator;
mod sink;
pub(crate) mod time;
pub(crate) mod value;

pub use check::Operators;
pub use entry::{Addr, Entry, LogType, Protocol};
pub use format::{Empty, Format};
pub use operator::FormatError;
pub use sink::{LogOptions, Logs, Sink, Target};

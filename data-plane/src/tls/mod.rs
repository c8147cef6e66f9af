//! L3: TLS by rustls: who is believed, what is presented, what was agreed on.
//!
//! Configurations are built off the workers, once a filter chain, and shared; the bytes are moved
//! by `codec::io::tls`, which this module does not know.

pub mod client;
pub mod peer;
pub mod server;
pub mod stats;
pub mod verify;
pub mod words;

#[cfg(test)]
mod tests;

//! L1, pure: Envoy's protos → a validated, comparable model ("parse, don't validate").
//!
//! A shape file (`mod.rs` of a folder) says what a thing is; the rules file beside it (`parse.rs`)
//! says which messages become one. Nothing here does I/O, reads a clock or keeps state.

pub mod error;

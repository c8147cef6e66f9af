//! Envoy's constraint rules, unknown fields and our own support, checked over wire bytes.
//!
//! [`check`] walks an encoded message with the tables of [`crate::schema`], descends into
//! messages and into `Any`s of known types, and needs neither reflection nor decoded messages.
//! It never panics, whatever the bytes, and its depth and the number of its findings are bounded.
//!
//! What the findings mean is the caller's: in Envoy a broken constraint or a disallowed field
//! refuses the resource, an unknown field does so only where the caller is strict.

mod check;
mod finding;
pub(crate) mod pgv;
mod policy;
#[cfg(test)]
mod tests;

pub use check::{DEPTH_MAX, FINDINGS_MAX, check};
pub use finding::{Finding, FindingKind, PathStep, path_text};
pub use policy::{Policy, PolicyRow};

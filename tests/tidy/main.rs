//! Rules of form that the compiler does not check: sizes, layers, the fence around Envoy's
//! messages, names, skipped tests, machine paths, banned crates and the README's promises.
//!
//! Each rule is one test that lists every place that breaks it, so that one run shows all.
//! Rules read text alone and assume that `cargo fmt` has run. They hold for the sources in the
//! work tree, committed or not.

mod fence;
mod layers;
mod lockfile;
mod readme;
mod sizes;
mod source;
mod text;

/// Fails with one line for each broken rule.
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "{} places:\n{}", problems.len(), problems.join("\n"));
}

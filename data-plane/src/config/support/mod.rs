//! The reviewed table of what this build supports of Envoy's messages, field by field.
//!
//! A row is a message, the fields that are honoured, and the fields that are accepted without
//! effect. What stands in neither, and every field of a message without a row, is refused by
//! name as soon as it is set. The line between the last two is drawn by one rule: what changes
//! routing, security, framing, limits, timeouts, balancing or addresses is refused unless it is
//! done; what only tunes statistics, log detail, memory, threads or tracing detail is accepted
//! with a warning. A field that is listed as honoured may still have values that a parser
//! refuses, and fields whose default may be written out are listed for that reason.

mod bootstrap;
mod cluster;
mod core;
mod http;
mod listener;
mod matcher;
mod tls;

use std::sync::LazyLock;

use proto::rules::{Policy, PolicyRow};

use super::extension::ExtensionParser;

/// All rows of `config`, without those of extensions.
fn rows() -> Vec<PolicyRow<'static>> {
    let parts = [
        bootstrap::ROWS,
        cluster::ROWS,
        core::ROWS,
        http::ROWS,
        listener::ROWS,
        matcher::ROWS,
        tls::ROWS,
        route_rows(),
        super::route::rate_limit::ROWS,
        super::tracing::support::ROWS,
        super::tracing::support::OTHER_TRACERS,
        super::rbac::ROWS,
    ];
    parts.concat()
}

fn route_rows() -> &'static [PolicyRow<'static>] {
    super::route::support::ROWS
}

/// The table with the rows of those extensions added; costs some milliseconds, so make it once.
#[must_use]
pub fn policy(extensions: &[&dyn ExtensionParser]) -> Policy {
    let mut all = rows();
    for extension in extensions {
        all.extend_from_slice(extension.fields());
    }
    Policy::new(&all)
}

/// The table without extensions.
#[must_use]
pub fn bare_policy() -> &'static Policy {
    static BARE: LazyLock<Policy> = LazyLock::new(|| policy(&[]));
    &BARE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_and_field_of_the_table_exists() {
        assert_eq!(bare_policy().check_table(), Vec::<String>::new());
    }
}

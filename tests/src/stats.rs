//! Envoy's statistics, read from `/stats`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::client;

/// Counters and gauges by name.
pub type Stats = BTreeMap<String, u64>;

/// All numbers of an admin interface.
///
/// # Panics
/// Where the page cannot be read.
#[must_use]
pub fn read(admin: SocketAddr, filter: &str) -> Stats {
    let target = match filter {
        "" => "/stats".to_owned(),
        filter => format!("/stats?filter={filter}"),
    };
    let page = client::get(admin, &target).expect("the admin interface answers").text();
    let number = |line: &str| {
        let (name, value) = line.rsplit_once(": ")?;
        Some((name.to_owned(), value.trim().parse().ok()?))
    };
    page.lines().filter_map(number).collect()
}

/// One number; 0 where there is none of this name.
#[must_use]
pub fn one(admin: SocketAddr, name: &str) -> u64 {
    let pattern = format!("^{}$", name.replace('.', "\\.").replace('+', "%2B"));
    read(admin, &pattern).get(name).copied().unwrap_or(0)
}

/// What grew from `before` to `after`, by how much.
#[must_use]
pub fn growth(before: &Stats, after: &Stats) -> Stats {
    let grown = |(name, value): (&String, &u64)| {
        let old = before.get(name).copied().unwrap_or(0);
        (*value > old).then(|| (name.clone(), value - old))
    };
    after.iter().filter_map(grown).collect()
}

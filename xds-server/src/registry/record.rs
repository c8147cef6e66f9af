//! An instance as the store keeps it. When its lease ends is not kept: after a restart everyone
//! has one more lease's length to renew.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::book::{DRAIN_FOR, GONE_AFTER};
use super::{Health, Instance, Life, Spec};
use crate::clock::Instant;

/// See the module.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Record {
    address: SocketAddr,
    labels: BTreeMap<String, String>,
    weight: u32,
    zone: String,
    ttl_ms: u64,
    health: Word,
    lease: String,
    life: Kept,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Passing,
    Warning,
    Critical,
}

/// What it lived on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kept {
    /// A lease, or a stream: either may come back.
    Live,
    Lost,
    Draining,
}

fn record(instance: &Instance) -> Record {
    let spec = &instance.spec;
    Record {
        address: spec.address,
        labels: spec.labels.clone(),
        weight: spec.weight,
        zone: spec.zone.clone(),
        ttl_ms: u64::try_from(spec.ttl.as_millis()).unwrap_or(u64::MAX),
        health: match spec.health {
            Health::Passing => Word::Passing,
            Health::Warning => Word::Warning,
            Health::Critical | Health::Draining => Word::Critical,
        },
        lease: instance.lease.to_string(),
        life: match instance.life {
            Life::Until(_) | Life::Stream => Kept::Live,
            Life::Lost(_) => Kept::Lost,
            Life::Draining(_) => Kept::Draining,
        },
    }
}

/// Whether the store keeps the same of both.
pub(super) fn same(one: Option<&Instance>, other: Option<&Instance>) -> bool {
    one.map(record) == other.map(record)
}

pub(super) fn encode(instance: &Instance) -> Vec<u8> {
    // Cannot fail: texts and numbers under names.
    serde_json::to_vec(&record(instance)).unwrap_or_default()
}

/// The instance as it comes back at that moment.
pub(super) fn decode(bytes: &[u8], now: Instant) -> Result<Instance, String> {
    let record: Record = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let ttl = Duration::from_millis(record.ttl_ms);
    let life = match record.life {
        Kept::Live => Life::Until(now + ttl),
        Kept::Lost => Life::Lost(now + GONE_AFTER),
        Kept::Draining => Life::Draining(now + DRAIN_FOR),
    };
    let health = match record.health {
        Word::Passing => Health::Passing,
        Word::Warning => Health::Warning,
        Word::Critical => Health::Critical,
    };
    let Record { address, labels, weight, zone, lease, .. } = record;
    let spec = Spec { address, labels, weight, zone, ttl, health };
    Ok(Instance { spec, lease: lease.into(), life, stale: false })
}

//! What a worker's requests share: its id, its pools, its randomness, the clock's date.
//!
//! One [`Worker`] a worker thread, made on it and never sent. [`Shared`] is the part that all
//! workers have in common; nothing in it is written while requests run.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use http::HeaderValue;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::base::clock;
use crate::cluster::pool::Pools;
use crate::codec::io::BufferPool;
use crate::http::chain::Chain;
use crate::http::headers::LocalInfo;
use crate::http::pump::SpareTasks;
use crate::http::trace::TraceStart;
use crate::route::RuntimeKeys;
use crate::telemetry::WorkerId;
use crate::telemetry::access_log::{Empty, Entry, Format};
use crate::telemetry::metrics::{Metrics, Service};
use crate::telemetry::request_log::RequestLog;

/// Compiled header formats that a worker keeps.
const FORMATS_MAX: usize = 4096;

/// Behaviour of ours that Envoy does not have; all off with `--compat envoy` (contracts §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `gomesh.trace_headers`; with it `gomesh.trace_start`.
    pub trace_headers: Option<TraceStart>,
}

/// What all workers have in common.
pub struct Shared {
    /// Ours and not Envoy's.
    pub options: Options,
    /// The runtime layers, flattened.
    pub runtime: Box<dyn RuntimeKeys + Send>,
    /// What the node says about itself.
    pub local: LocalInfo,
    /// The `gomesh_*` families.
    pub metrics: Arc<Metrics>,
    /// Series of requests that go to no cluster.
    pub no_service: Service,
    /// The request log; `None` where `gomesh.request_log` is off.
    pub request_log: Option<RequestLog>,
    /// Where caught panics are written; never off.
    pub panic_log: RequestLog,
    /// How many workers there are; makes connection ids unique.
    pub workers: u16,
}

/// One worker.
pub struct Worker {
    /// Which one.
    pub id: WorkerId,
    /// What all have in common.
    pub shared: Arc<Shared>,
    /// Upstream connections and balancers.
    pub pools: Rc<Pools>,
    /// Read buffers of its connections.
    pub buffers: Rc<BufferPool>,
    /// A chain without filters.
    pub no_chain: Arc<Chain>,
    /// Memory for the next requests.
    pub spare_tasks: SpareTasks,
    rng: RefCell<ChaCha8Rng>,
    date: RefCell<CachedDate>,
    connections: Cell<u64>,
    /// Formats of header values, compiled at their first use.
    formats: RefCell<HashMap<Box<str>, Rc<Format>>>,
}

struct CachedDate {
    second: u64,
    value: HeaderValue,
}

impl Worker {
    /// A worker with the pools that it will use. Seeded by the system's randomness; where there is
    /// none, by time and process id (`base::seed` says which).
    #[must_use]
    pub fn new(
        id: WorkerId,
        shared: Arc<Shared>,
        pools: Rc<Pools>,
        buffers: Rc<BufferPool>,
        seed: [u8; 32],
    ) -> Self {
        Self {
            id,
            shared,
            pools,
            buffers,
            no_chain: Arc::new(Chain::default()),
            spare_tasks: SpareTasks::default(),
            rng: RefCell::new(ChaCha8Rng::from_seed(seed)),
            date: RefCell::new(CachedDate { second: 0, value: HeaderValue::from_static("") }),
            connections: Cell::new(0),
            formats: RefCell::default(),
        }
    }

    /// Fills `bytes` from the worker's CSPRNG.
    pub fn random(&self, bytes: &mut [u8]) {
        self.rng.borrow_mut().fill_bytes(bytes);
    }

    /// A random number.
    #[must_use]
    pub fn random_u64(&self) -> u64 {
        self.rng.borrow_mut().next_u64()
    }

    /// A connection id that no other worker gives out.
    #[must_use]
    pub fn next_connection_id(&self) -> u64 {
        let count = self.connections.get();
        self.connections.set(count + 1);
        let worker = u64::from(self.id.index().unwrap_or(0));
        count * u64::from(self.shared.workers) + worker
    }

    /// The value of a header format; the configuration checked that it compiles.
    #[must_use]
    pub fn format(&self, format: &str, entry: &Entry<'_>) -> Vec<u8> {
        let known = self.formats.borrow().get(format).cloned();
        let compiled = known.or_else(|| {
            let compiled = Rc::new(Format::text(format, Empty::Omit).ok()?);
            let mut formats = self.formats.borrow_mut();
            if formats.len() >= FORMATS_MAX {
                // Those of configurations long gone; what is in use comes back at once.
                formats.clear();
            }
            formats.insert(format.into(), Rc::clone(&compiled));
            Some(compiled)
        });
        compiled.map(|format| format.render(entry)).unwrap_or_default()
    }

    /// `date` of a response (RFC 9110 §5.6.7), made once a second.
    #[must_use]
    pub fn date(&self) -> HeaderValue {
        let now = clock::system_now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut cached = self.date.borrow_mut();
        if cached.second != now {
            cached.second = now;
            cached.value = date_value(now);
        }
        cached.value.clone()
    }
}

fn date_value(second: u64) -> HeaderValue {
    let time = jiff::Timestamp::from_second(i64::try_from(second).unwrap_or(0)).unwrap_or_default();
    let text = time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_written_as_rfc_9110_says() {
        assert_eq!(date_value(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
    }
}

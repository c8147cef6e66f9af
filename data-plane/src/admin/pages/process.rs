//! `/memory`, `/contention`, `/hot_restart_version`.

use super::super::json::{Object, pretty};
use super::super::reply::Reply;
use super::Call;

/// Bytes of a line of `/proc/self/status` (`VmRSS:   1234 kB`).
fn status_bytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

pub(super) fn memory(_: &Call<'_>) -> Reply {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let bytes = |name| status_bytes(&status, name).to_string();
    Reply::json(pretty(
        &Object::default()
            .set("allocated", bytes("RssAnon"))
            .set("heap_size", bytes("VmData"))
            .set("pageheap_unmapped", "0")
            .set("pageheap_free", "0")
            .set("total_thread_cache", "0")
            .set("total_physical_bytes", bytes("VmRSS"))
            .done(),
    ))
}

pub(super) fn tcmalloc(_: &Call<'_>) -> Reply {
    Reply::error(501, "The current build does not use TCMalloc\n")
}

pub(super) fn contention(_: &Call<'_>) -> Reply {
    Reply::text(
        "Mutex contention tracing is not enabled. To enable, run Envoy with flag \
         --enable-mutex-tracing.\n",
    )
}

pub(super) fn hot_restart_version(_: &Call<'_>) -> Reply {
    Reply::text("disabled\n")
}

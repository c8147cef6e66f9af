//! Profilers that Envoy has in its process; here the platform's own tools do that.

use super::super::reply::Reply;
use super::Call;

pub(super) fn cpu(call: &Call<'_>) -> Reply {
    refused(call, "CPU profiler")
}

pub(super) fn heap(call: &Call<'_>) -> Reply {
    refused(call, "heap profiler")
}

pub(super) fn alloc(call: &Call<'_>) -> Reply {
    refused(call, "allocation profiler")
}

pub(super) fn heap_dump(_: &Call<'_>) -> Reply {
    Reply::error(501, "The current build does not support heap dumps\n")
}

fn refused(call: &Call<'_>, what: &str) -> Reply {
    match call.params.get("enable") {
        Some("y" | "n") => {
            Reply::error(501, format!("The current build does not support {what}\n"))
        }
        _ => Reply::error(400, "?enable=<y|n>\n"),
    }
}

//! `/ready` and the pages that drain, fail health checks and end the process.

use super::super::reply::Reply;
use super::super::view::{Drain, Health, ServerState};
use super::Call;

pub(super) fn ready(call: &Call<'_>) -> Reply {
    let state = call.state.server().state;
    let status = if state == ServerState::Live { 200 } else { 503 };
    Reply::error(status, format!("{}\n", state.as_str()))
}

pub(super) fn healthcheck_fail(call: &Call<'_>) -> Reply {
    call.state.set_health(Health::Failed);
    Reply::ok()
}

pub(super) fn healthcheck_ok(call: &Call<'_>) -> Reply {
    call.state.set_health(Health::Ok);
    Reply::ok()
}

pub(super) fn drain_listeners(call: &Call<'_>) -> Reply {
    call.state.drain_listeners(Drain {
        graceful: call.params.has("graceful"),
        skip_exit: call.params.has("skip_exit"),
        inbound_only: call.params.has("inboundonly"),
    });
    Reply::ok()
}

pub(super) fn quitquitquit(call: &Call<'_>) -> Reply {
    call.state.quit();
    Reply::ok()
}

pub(super) fn reopen_logs(call: &Call<'_>) -> Reply {
    call.state.reopen_logs();
    Reply::ok()
}

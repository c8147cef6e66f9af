//! `/stats/recentlookups`: Envoy's record of stats looked up by name on the request path, which
//! never happens here.

use super::super::reply::Reply;
use super::Call;

pub(super) fn page(_: &Call<'_>) -> Reply {
    Reply::text(
        "Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n\ntotal: 0\n",
    )
}

pub(super) fn change(_: &Call<'_>) -> Reply {
    Reply::ok()
}

//! `/init_dump`: what the start still waits for.

use serde_json::Value;

use super::super::json::{Object, pretty};
use super::super::reply::Reply;
use super::Call;

pub(super) fn page(call: &Call<'_>) -> Reply {
    let wanted = call.params.get("mask");
    let unready = call.state.unready().into_iter();
    let dumps: Vec<Value> = unready
        .filter(|(name, _)| wanted.is_none_or(|wanted| name.contains(wanted)))
        .map(|(name, targets)| {
            Object::default().set("name", name).put("target_names", targets).done()
        })
        .collect();
    Reply::json(pretty(&Object::default().put("unready_targets_dumps", dumps).done()))
}

//! `/runtime` and `/runtime_modify`: layered runtime values.

use super::super::json::{Object, pretty};
use super::super::reply::Reply;
use super::Call;

const USAGE: &str = "usage: /runtime_modify?key1=value1&key2=value2&keyN=valueN
       or send the parameters as form values
use an empty value to remove a previously added override\n";

pub(super) fn page(call: &Call<'_>) -> Reply {
    let view = call.state.runtime();
    let mut entries = Object::default();
    for (key, values) in view.entries {
        let last = values.iter().rev().find(|value| !value.is_empty());
        let last = last.cloned().unwrap_or_default();
        let entry = Object::default().set("final_value", last).set("layer_values", values);
        entries = entries.set(&key, entry.done());
    }
    let page = Object::default().set("layers", view.layers).set("entries", entries.done());
    Reply::json(pretty(&page.done()))
}

pub(super) fn modify(call: &Call<'_>) -> Reply {
    let given = if call.params.pairs().is_empty() { call.form } else { call.params };
    if given.pairs().is_empty() {
        return Reply::error(400, USAGE);
    }
    match call.state.modify_runtime(given.pairs()) {
        Ok(()) => Reply::ok(),
        Err(error) => Reply::error(503, error),
    }
}

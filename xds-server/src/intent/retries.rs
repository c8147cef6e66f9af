//! `retries`: when and how often a request is tried again.

use super::fields::{Faults, Fields, Keys, duration, text};
use super::yaml::{Node, Value};
use super::{Retries, suggest};

const RETRIES: Keys =
    Keys { object: "retries", known: &["on", "attempts", "per_try"], later: &["back_off"] };

/// Most tries after the first.
const ATTEMPTS_MAX: u32 = 10;

/// Conditions that need no more than their name.
const CONDITIONS: [&str; 13] = [
    "5xx",
    "gateway-error",
    "reset",
    "reset-before-request",
    "connect-failure",
    "envoy-ratelimited",
    "retriable-4xx",
    "refused-stream",
    "cancelled",
    "deadline-exceeded",
    "resource-exhausted",
    "internal",
    "unavailable",
];

pub(super) fn retries(node: &Node, faults: &mut Faults) -> Option<Retries> {
    let fields = Fields::new(node, RETRIES, faults);
    let attempts = fields.find("attempts").map_or(Some(1), |node| {
        let number = node.text().and_then(|text| text.parse().ok());
        let number = number.filter(|number| *number <= ATTEMPTS_MAX);
        if number.is_none() {
            let rule = format!("a whole number from 0 (never) to {ATTEMPTS_MAX}");
            faults.add(node.mark, format!("attempts must be {rule}"));
        }
        number
    });
    let per_try = fields.find("per_try").and_then(|node| duration(node, "per_try", faults));
    let attempts = attempts?;
    let mut found = Retries { attempts, per_try, ..Retries::default() };
    if attempts > 0 {
        let on = fields.require("on", faults)?;
        let items = match &on.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(on),
        };
        for item in items {
            condition(item, &mut found, faults);
        }
        if items.is_empty() {
            faults.add(on.mark, "retries must have at least one condition");
        }
    }
    Some(found)
}

fn condition(node: &Node, found: &mut Retries, faults: &mut Faults) {
    let Some(written) = text(node, "a condition of retries", faults) else { return };
    if CONDITIONS.contains(&written) {
        found.on.push(written.to_owned());
        return;
    }
    match written.parse::<u32>() {
        Ok(status) if (200..=599).contains(&status) => found.statuses.push(status),
        Ok(_) => faults.add(node.mark, format!("got '{written}'; a status is from 200 to 599")),
        Err(_) => {
            let hint = suggest::hint(written, CONDITIONS);
            let rule = format!("one of {}, or a status", CONDITIONS.join(", "));
            faults.add(node.mark, format!("retries on '{written}': must be {rule}{hint}"));
        }
    }
}

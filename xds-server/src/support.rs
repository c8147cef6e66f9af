//! What our own data plane says of a resource, and what is made of it.
//!
//! What breaks a rule of Envoy is refused, also where only parsing shows it (a domain that stands
//! twice, a bad regular expression). What only our data plane does not do yet is served, with a
//! warning, unless the operator wants it refused.

use data_plane::app::load::judge;
use data_plane::config::error::Reason;
use proto::google::protobuf::Any;

/// What to make of what only our own data plane does not support (`--strict`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// Nothing with it is served.
    Refused,
    /// It is served, with a warning: the client may be an Envoy.
    Warned,
}

/// One thing that our data plane holds against a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Objection {
    /// The field, from the resource's root; empty for the whole.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// All that our data plane holds against a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objections {
    /// What Envoy refuses too.
    pub wrong: Vec<Objection>,
    /// What only our data plane does not support.
    pub unsupported: Vec<Objection>,
}

/// Asks our data plane; to be called with what holds Envoy's constraint rules.
#[must_use]
pub fn objections(any: &Any) -> Objections {
    let judgement = judge(&any.type_url, &any.value);
    let told = |problem: &data_plane::config::error::Problem| Objection {
        path: problem.path.to_string(),
        reason: match &problem.reason {
            // Whose "here" it is would not be clear in a text of the control plane.
            Reason::NotSupported { what } => {
                format!("{what} is known to Envoy 1.40, not supported by data-plane")
            }
            other => other.to_string(),
        },
    };
    Objections {
        wrong: judgement.wrong.iter().map(told).collect(),
        unsupported: judgement.unsupported.iter().map(told).collect(),
    }
}

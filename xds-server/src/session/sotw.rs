//! State of the world: `DiscoveryRequest` in, `DiscoveryResponse` out.

use proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};

use super::{Ask, Interest, Rejection, Reply};
use crate::session::control_plane;

/// The session's words for a request.
#[must_use]
pub fn decode(request: DiscoveryRequest) -> Ask {
    Ask {
        type_url: request.type_url,
        nonce: request.response_nonce,
        rejection: request.error_detail.map(Rejection::from),
        interest: Interest::Whole { names: request.resource_names, version: request.version_info },
    }
}

/// The message for a reply. Removals have no form of their own: what is absent is gone (C7).
#[must_use]
pub fn encode(reply: &Reply) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: reply.version.to_string(),
        resources: reply.resources.iter().map(|resource| resource.any.clone()).collect(),
        type_url: reply.type_url.to_string(),
        nonce: reply.nonce.clone(),
        control_plane: Some(control_plane()),
        ..Default::default()
    }
}

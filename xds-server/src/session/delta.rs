//! Incremental: `DeltaDiscoveryRequest` in, `DeltaDiscoveryResponse` out.

use proto::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource,
};

use super::{Ask, Interest, Rejection, Reply};
use crate::session::control_plane;

/// The session's words for a request.
#[must_use]
pub fn decode(request: DeltaDiscoveryRequest) -> Ask {
    Ask {
        type_url: request.type_url,
        nonce: request.response_nonce,
        rejection: request.error_detail.map(Rejection::from),
        interest: Interest::Change {
            subscribe: request.resource_names_subscribe,
            unsubscribe: request.resource_names_unsubscribe,
            held: request.initial_resource_versions,
        },
    }
}

/// The message for a reply.
#[must_use]
pub fn encode(reply: &Reply) -> DeltaDiscoveryResponse {
    let resources = reply.resources.iter().map(|resource| Resource {
        name: resource.name.to_string(),
        version: resource.version.to_string(),
        resource: Some(resource.any.clone()),
        ..Default::default()
    });
    DeltaDiscoveryResponse {
        system_version_info: reply.version.to_string(),
        resources: resources.collect(),
        type_url: reply.type_url.to_string(),
        removed_resources: reply.removed.iter().map(ToString::to_string).collect(),
        nonce: reply.nonce.clone(),
        control_plane: Some(control_plane()),
        ..Default::default()
    }
}

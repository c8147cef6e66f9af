//! Between the core's messages and Envoy's protos, and the gRPC codec that does it on the wire.
//!
//! The only place that sees `envoy.service.discovery.v3`. Wrappers are taken off here (C4, C12);
//! whether what was in them is any good is for the core to judge.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use proto::convert::duration_from_proto;
use proto::envoy::config::core::v3::Node;
use proto::envoy::service::discovery::v3 as pb;
use proto::google::protobuf::Any;
use proto::google::rpc::Status as RpcStatus;
use proto::prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::stream::{
    DeltaRequest, RawResource, Request, ResourceError, Response, SotwRequest, Variant,
};
use super::{Name, TypeUrl};

/// `INTERNAL`, the code that Envoy puts into NACKs (C2).
const INTERNAL: i32 = 13;

/// The codec of one call.
#[derive(Clone, Debug)]
pub(super) struct XdsCodec {
    pub(super) variant: Variant,
    pub(super) node: Arc<Node>,
}

impl Codec for XdsCodec {
    type Encode = Request;
    type Decode = Response;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        self.clone()
    }

    fn decoder(&mut self) -> Self {
        self.clone()
    }
}

impl Encoder for XdsCodec {
    type Item = Request;
    type Error = Status;

    fn encode(&mut self, request: Request, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let result = match request {
            Request::Delta(request) => delta_request(request, &self.node).encode(buf),
            Request::Sotw(request) => sotw_request(request, &self.node).encode(buf),
        };
        result.map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for XdsCodec {
    type Item = Response;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<Response>, Status> {
        decode(self.variant, buf)
            .map(Some)
            .map_err(|error| Status::internal(format!("response is no message of xDS: {error}")))
    }
}

fn decode(variant: Variant, buf: impl Buf) -> Result<Response, proto::prost::DecodeError> {
    match variant {
        Variant::Delta => pb::DeltaDiscoveryResponse::decode(buf).map(delta_response),
        Variant::Sotw => pb::DiscoveryResponse::decode(buf).map(sotw_response),
    }
}

/// A state-of-the-world response, from a server or from a file.
pub(super) fn sotw_response(message: pb::DiscoveryResponse) -> Response {
    Response {
        type_url: message.type_url,
        version: message.version_info,
        nonce: message.nonce,
        resources: message.resources.into_iter().map(bare_resource).collect(),
        removed: Vec::new(),
        errors: message.resource_errors.into_iter().filter_map(resource_error).collect(),
        control_plane: message.control_plane.map(|control_plane| control_plane.identifier),
    }
}

fn delta_response(message: pb::DeltaDiscoveryResponse) -> Response {
    let plain = message.removed_resources.into_iter().map(Name::from);
    let named = message.removed_resource_names.into_iter().map(|name| Name::from(name.name));
    Response {
        type_url: message.type_url,
        version: message.system_version_info,
        nonce: message.nonce,
        resources: message.resources.into_iter().map(unwrap).collect(),
        removed: plain.chain(named).collect(),
        errors: message.resource_errors.into_iter().filter_map(resource_error).collect(),
        control_plane: message.control_plane.map(|control_plane| control_plane.identifier),
    }
}

/// A resource of state of the world: bare, or in the wrapper that delta always has (C4).
fn bare_resource(any: Any) -> RawResource {
    if any.type_url != TypeUrl::RESOURCE.as_str() {
        let body = Some(Bytes::from(any.value));
        return RawResource { type_url: any.type_url, body, ..RawResource::default() };
    }
    match pb::Resource::decode(any.value.as_slice()) {
        Ok(resource) => unwrap(resource),
        Err(error) => {
            let broken = Some(format!("is no {}: {error}", TypeUrl::RESOURCE.message_name()));
            RawResource { broken, ..RawResource::default() }
        }
    }
}

fn unwrap(resource: pb::Resource) -> RawResource {
    let name = match resource.resource_name {
        Some(name) if resource.name.is_empty() => name.name,
        _ => resource.name,
    };
    let broken = match &resource.ttl {
        Some(ttl) if duration_from_proto(ttl).is_none() => {
            let got = format!("{}s {}ns", ttl.seconds, ttl.nanos);
            Some(format!("ttl: got {got}; must be a duration that is not negative"))
        }
        _ => None,
    };
    let (type_url, body) = match resource.resource {
        Some(any) => (any.type_url, Some(Bytes::from(any.value))),
        None => (String::new(), None),
    };
    RawResource {
        name: (!name.is_empty()).then(|| name.into()),
        version: Some(resource.version),
        type_url,
        body,
        ttl: resource.ttl.as_ref().and_then(duration_from_proto),
        broken,
    }
}

fn resource_error(error: pb::ResourceError) -> Option<ResourceError> {
    let detail = error.error_detail.unwrap_or_default();
    let name = error.resource_name?.name.into();
    Some(ResourceError { name, code: detail.code, message: detail.message })
}

fn sotw_request(request: SotwRequest, node: &Node) -> pb::DiscoveryRequest {
    pb::DiscoveryRequest {
        version_info: request.version,
        node: request.with_node.then(|| node.clone()),
        resource_names: request.names.iter().map(ToString::to_string).collect(),
        resource_locators: Vec::new(),
        type_url: request.type_url,
        response_nonce: request.nonce,
        error_detail: request.error.map(error_detail),
    }
}

fn delta_request(request: DeltaRequest, node: &Node) -> pb::DeltaDiscoveryRequest {
    let versions = request.initial_versions.into_iter();
    pb::DeltaDiscoveryRequest {
        node: request.with_node.then(|| node.clone()),
        type_url: request.type_url,
        resource_names_subscribe: request.subscribe.iter().map(ToString::to_string).collect(),
        resource_names_unsubscribe: request.unsubscribe.iter().map(ToString::to_string).collect(),
        resource_locators_subscribe: Vec::new(),
        resource_locators_unsubscribe: Vec::new(),
        initial_resource_versions: versions.map(|(n, v)| (n.to_string(), v)).collect(),
        response_nonce: request.nonce,
        error_detail: request.error.map(error_detail),
    }
}

fn error_detail(message: String) -> RpcStatus {
    RpcStatus { code: INTERNAL, message, details: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::convert::pack;
    use std::time::Duration;

    fn wrapper(ttl_seconds: i64) -> pb::Resource {
        pb::Resource {
            name: "a".into(),
            version: "3".into(),
            ttl: Some(proto::google::protobuf::Duration { seconds: ttl_seconds, nanos: 0 }),
            ..pb::Resource::default()
        }
    }

    #[test]
    fn c4_wrapper_in_state_of_the_world_is_taken_off() {
        let any = Any { type_url: "t/x.Y".into(), value: vec![1, 2] };
        let inner = pb::Resource { resource: Some(any.clone()), ..wrapper(5) };
        let message =
            pb::DiscoveryResponse { resources: vec![any, pack(&inner)], ..Default::default() };
        let response = sotw_response(message);
        assert_eq!(response.resources[0].name, None);
        assert_eq!(response.resources[1].name.as_deref(), Some("a"));
        assert_eq!(response.resources[1].type_url, "t/x.Y");
        assert_eq!(response.resources[1].body, response.resources[0].body);
        assert_eq!(response.resources[1].ttl, Some(Duration::from_secs(5)));
    }

    #[test]
    fn c12_wrapper_without_a_body_is_no_empty_resource() {
        assert_eq!(unwrap(wrapper(5)).body, None);
    }

    #[test]
    fn xd10_bad_ttl_and_bad_wrapper_are_told_not_hidden() {
        let broken = unwrap(wrapper(-1)).broken.expect("a negative TTL is refused");
        assert!(broken.starts_with("ttl: got -1s"), "{broken}");
        let garbage = Any { type_url: TypeUrl::RESOURCE.to_string(), value: vec![255] };
        assert!(bare_resource(garbage).broken.is_some());
    }

    #[test]
    fn d3_both_forms_of_removed_names_count() {
        let named = pb::ResourceName { name: "b".into(), ..Default::default() };
        let message = pb::DeltaDiscoveryResponse {
            removed_resources: vec!["a".into()],
            removed_resource_names: vec![named],
            ..Default::default()
        };
        let removed = delta_response(message).removed;
        assert_eq!(removed, [Name::from("a"), Name::from("b")]);
    }
}

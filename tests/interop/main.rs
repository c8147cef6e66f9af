//! Our halves with other people's: Envoy on our `xds-server` (Envoy's resources and mesh files),
//! our data plane on go-control-plane, gRPC's own xDS client on our `xds-server`; DNS
//! whose answers change, source addresses and RBAC, beside Envoy; and a soak of updates under load.

mod envoy_on_ours;
mod grpc_client;
mod logical_dns;
mod mesh_file;
mod ours_on_go;
mod rbac;
mod soak;
mod source_address;
mod strict;

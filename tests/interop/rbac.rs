//! RBAC in TLS, for Envoy and our data plane alike.

use tests::principals;
use tests::proxy::Kind;

#[test]
fn envoy_decides_by_certificates() {
    principals::decide_by_certificates(Kind::Envoy);
}

#[test]
fn our_data_plane_decides_by_certificates() {
    principals::decide_by_certificates(Kind::OursAsEnvoy);
}

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

#[test]
fn envoy_admits_by_certificates() {
    principals::admit_by_certificates(Kind::Envoy);
}

#[test]
fn ours_as_envoy_admits_by_certificates() {
    principals::admit_by_certificates(Kind::OursAsEnvoy);
}

//! RBAC through the binary. What its conditions mean in the clear is held against Envoy in
//! `differential`.

use tests::principals;
use tests::proxy::Kind;

#[test]
fn certificates_decide_who_may_do_what() {
    principals::decide_by_certificates(Kind::Ours);
}

#[test]
fn certificates_decide_who_may_connect() {
    principals::admit_by_certificates(Kind::Ours);
}

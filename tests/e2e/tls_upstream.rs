//! TLS to backends: which of them are believed, and what they are told.

use anyhow::Result;
use serde_json::{Value, json};
use tests::backend;
use tests::client::{self, Response};
use tests::proxy::{Kind, Proxy};
use tests::tls::{Authority, Backend, upstream};
use tests::{setup, stats, wait};

const SPIFFE: &str = "spiffe://mesh.local/service/reviews";

/// A proxy whose cluster `backend` has this context.
fn proxy(backend: &Backend, context: Value) -> Proxy {
    let text = setup::bootstrap(Vec::new(), backend.address(), backend::dead_address());
    let mut all: Value = serde_json::from_str(&text).expect("the bootstrap is JSON");
    all["static_resources"]["clusters"][0]["transport_socket"] = upstream(context);
    Proxy::start(Kind::Ours, &all.to_string())
}

fn ask(proxy: &Proxy) -> Result<Response> {
    Ok(client::get(proxy.listener("main"), "/")?)
}

/// Only what `authority` issued for the identity is believed.
fn believing(authority: &Authority) -> Value {
    json!({"trusted_ca": {"inline_string": authority.pem}, "match_typed_subject_alt_names":
        [{"san_type": "URI", "matcher": {"exact": SPIFFE}}]})
}

#[test]
fn a_backend_is_asked_by_name_with_our_certificate() -> Result<()> {
    let authority = Authority::new("root");
    let (own, edge) = (authority.issue("r", &[], &[SPIFFE]), authority.issue("e", &[], &[]));
    for version in ["TLSv1_2", "TLSv1_3"] {
        let backend = Backend::start(&own, Some(&authority));
        let proxy = proxy(
            &backend,
            json!({"sni": "reviews.mesh", "common_tls_context": {
                "tls_params": {"tls_maximum_protocol_version": version},
                "tls_certificates": [edge.config()],
                "validation_context": believing(&authority),
            }}),
        );
        for _ in 0..3 {
            let answer = ask(&proxy)?;
            assert_eq!((answer.status(), answer.text()), (200, "secret".to_owned()));
        }
        let seen = backend.seen();
        assert_eq!(seen.len(), 3);
        assert_eq!(seen[0].name.as_deref(), Some("reviews.mesh"));
        assert_eq!(seen[0].alpn.as_deref(), Some("http/1.1"));
        assert_eq!(seen[0].certificate.as_ref(), Some(edge.der()));
        assert_eq!(stats::one(proxy.admin_address(), "cluster.backend.ssl.handshake"), 1);
        let of_version = format!("cluster.backend.ssl.versions.{}", version.replace('_', "."));
        assert_eq!(stats::one(proxy.admin_address(), &of_version), 1);
    }
    Ok(())
}

#[test]
fn a_backend_that_is_not_believed_gets_no_request() -> Result<()> {
    let authority = Authority::new("root");
    let stranger = Authority::new("other").issue("r", &[], &[SPIFFE]);
    let misnamed = authority.issue("r", &[], &[&format!("{SPIFFE}b")]);
    for (own, counter) in [(stranger, "fail_verify_error"), (misnamed, "fail_verify_san")] {
        let backend = Backend::start(&own, None);
        let context = json!({"common_tls_context": {
            "validation_context": believing(&authority),
        }});
        let proxy = proxy(&backend, context);
        let answer = ask(&proxy)?;
        assert_eq!(answer.status(), 503);
        let text = answer.text();
        assert!(text.contains("remote connection failure"), "{text}");
        wait::until("the flag in the log", || {
            proxy.stderr().contains("\"response_flags\":\"UF\"").then_some(())
        });
        assert_eq!(backend.seen(), []);
        let counter = format!("cluster.backend.ssl.{counter}");
        assert_eq!(stats::one(proxy.admin_address(), &counter), 1);
        assert_eq!(
            stats::one(proxy.admin_address(), "cluster.backend.upstream_cx_connect_fail"),
            1
        );
    }
    Ok(())
}

#[test]
fn without_an_authority_any_backend_is_taken_as_in_envoy() -> Result<()> {
    let own = Authority::new("any").issue("r", &[], &[]);
    let backend = Backend::start(&own, None);
    let proxy = proxy(&backend, json!({}));
    assert_eq!(ask(&proxy)?.status(), 200);
    assert_eq!(backend.seen()[0].name, None, "no name is sent where none is configured");
    Ok(())
}

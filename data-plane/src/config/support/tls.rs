//! Rows of TLS contexts and secrets.

use proto::rules::PolicyRow;

macro_rules! tls {
    ($name:literal) => {
        concat!("envoy.extensions.transport_sockets.tls.v3.", $name)
    };
}

pub(super) const ROWS: &[PolicyRow<'static>] = &[
    (tls!("Secret"), &["name", "tls_certificate", "validation_context"], &[]),
    // With `sds_config` it is refused; without one it names a secret of the bootstrap.
    (tls!("SdsSecretConfig"), &["name", "sds_config"], &[]),
    (
        tls!("DownstreamTlsContext"),
        &[
            "common_tls_context",
            "require_client_certificate",
            "require_sni",
            "disable_stateless_session_resumption",
            // Sessions are resumed by tickets alone.
            "disable_stateful_session_resumption",
            "ocsp_staple_policy",
            "full_scan_certs_on_sni_mismatch",
            "prefer_client_ciphers",
        ],
        &[],
    ),
    (
        tls!("UpstreamTlsContext"),
        &[
            "common_tls_context",
            "sni",
            "auto_host_sni",
            "auto_sni_san_validation",
            "allow_renegotiation",
            "max_session_keys",
            "enforce_rsa_key_usage",
        ],
        &[],
    ),
    (
        tls!("CommonTlsContext"),
        &[
            "tls_params",
            "tls_certificates",
            "tls_certificate_sds_secret_configs",
            "validation_context",
            "validation_context_sds_secret_config",
            "combined_validation_context",
            "alpn_protocols",
        ],
        &[],
    ),
    (
        tls!("CommonTlsContext.CombinedCertificateValidationContext"),
        &["default_validation_context", "validation_context_sds_secret_config"],
        &[],
    ),
    (
        tls!("TlsParameters"),
        &[
            "tls_minimum_protocol_version",
            "tls_maximum_protocol_version",
            "cipher_suites",
            "ecdh_curves",
        ],
        &[],
    ),
    (tls!("TlsCertificate"), &["certificate_chain", "private_key"], &[]),
    (
        tls!("CertificateValidationContext"),
        &[
            "trusted_ca",
            "verify_certificate_spki",
            "verify_certificate_hash",
            "match_typed_subject_alt_names",
            "match_subject_alt_names",
            "require_signed_certificate_timestamp",
            "trust_chain_verification",
            "suppress_client_ca_list",
        ],
        &[],
    ),
    (tls!("SubjectAltNameMatcher"), &["san_type", "matcher", "oid"], &[]),
];

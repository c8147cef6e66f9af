//! What TLS counts, under Envoy's names.

use crate::telemetry::stats::table::stat_set;

stat_set! {
    /// Handshakes (`listener.<address>.ssl.`, `cluster.<name>.ssl.`).
    SslStat {
        ConnectionError: [Counter] "connection_error",
        FailVerifyCertHash: [Counter] "fail_verify_cert_hash",
        FailVerifyError: [Counter] "fail_verify_error",
        FailVerifyNoCert: [Counter] "fail_verify_no_cert",
        FailVerifySan: [Counter] "fail_verify_san",
        Handshake: [Counter] "handshake",
        NoCertificate: [Counter] "no_certificate",
        OcspStaplingFailed: [Counter] "ocsp_staple_failed",
        OcspStapleOmitted: [Counter] "ocsp_staple_omitted",
        OcspStapleRequests: [Counter] "ocsp_staple_requests",
        OcspStapleResponses: [Counter] "ocsp_staple_responses",
        SessionReused: [Counter] "session_reused",
        WasKeyUsageInvalid: [Counter] "was_key_usage_invalid",
        VersionTls12: optional [Counter] "versions.TLSv1.2",
        VersionTls13: optional [Counter] "versions.TLSv1.3",
        CipherTls13Aes128: optional [Counter] "ciphers.TLS_AES_128_GCM_SHA256",
        CipherTls13Aes256: optional [Counter] "ciphers.TLS_AES_256_GCM_SHA384",
        CipherTls13Chacha: optional [Counter] "ciphers.TLS_CHACHA20_POLY1305_SHA256",
        CipherEcdsaAes128: optional [Counter] "ciphers.ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherEcdsaAes256: optional [Counter] "ciphers.ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherEcdsaChacha: optional [Counter] "ciphers.ECDHE-ECDSA-CHACHA20-POLY1305",
        CipherRsaAes128: optional [Counter] "ciphers.ECDHE-RSA-AES128-GCM-SHA256",
        CipherRsaAes256: optional [Counter] "ciphers.ECDHE-RSA-AES256-GCM-SHA384",
        CipherRsaChacha: optional [Counter] "ciphers.ECDHE-RSA-CHACHA20-POLY1305",
        CurveX25519: optional [Counter] "curves.X25519",
        CurveP256: optional [Counter] "curves.P-256",
        CurveP384: optional [Counter] "curves.P-384",
        CurveX25519Mlkem768: optional [Counter] "curves.X25519MLKEM768",
    }
}

//! Paths made canonical, against outcomes recorded from Envoy.

use super::*;

fn handling(mode: &str) -> NormalizationConfig {
    let (steps, action) = mode.split_once('_').unwrap_or((mode, mode));
    let normal = mode != "forward";
    NormalizationConfig {
        normalize_path: normal && steps.contains('n'),
        merge_slashes: normal && steps.contains('m'),
        escaped_slashes: match action {
            "forward" => EscapedSlashes::UnescapeAndForward,
            "redirect" => EscapedSlashes::UnescapeAndRedirect,
            "reject" => EscapedSlashes::RejectRequest,
            _ => EscapedSlashes::KeepUnchanged,
        },
        ..NormalizationConfig::default()
    }
}

fn outcome(path: &str, mode: &str) -> String {
    let text = |path: &[u8]| String::from_utf8(path.to_vec()).expect("ASCII");
    match sanitize(path.as_bytes(), &handling(mode)) {
        Sanitized::Forward(path) => format!("={}", text(&path)),
        Sanitized::Redirect(path) => format!(">{}", text(&path)),
        Sanitized::Reject => "400".into(),
    }
}

#[test]
fn paths_come_out_as_from_envoy() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/path/envoy.tsv");
    let data = std::fs::read_to_string(file).expect("the file of paths");
    let mut checked = 0;
    let mut wrong = Vec::new();
    for line in data.lines().filter(|line| !line.starts_with('#')) {
        let mut columns = line.split('\t');
        let mut column = || columns.next().expect("three columns");
        let (mode, path, wanted) = (column(), column(), column());
        let found = outcome(path, mode);
        checked += 1;
        if found != wanted {
            wrong.push(format!("{mode} {path}: want {wanted}, found {found}"));
        }
    }
    assert!(checked > 500, "only {checked} paths");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The edge defaults of reliability case list PN: normalized, merged, escaped slashes refused or
/// redirected. `/admin` is what a rule denies, so it must be what comes out.
#[test]
fn pn_paths_that_hide_admin_do_not() {
    let hidden = [
        ("PN.01", "//admin"),
        ("PN.01", "/a//../admin"),
        ("PN.02", "/x/../admin"),
        ("PN.02", "/./admin"),
        ("PN.02", "/../admin"),
        ("PN.03", "/x/%2e%2e/admin"),
        ("PN.03", "/%2E/admin"),
        ("PN.05", r"/x\..\admin"),
        ("PN.05", r"/\admin"),
        ("PN.06", "/%61dmin"),
        ("PN.08", "/x%3f/../admin"),
    ];
    for (id, path) in hidden {
        // `/a//../admin` keeps the empty segment's parent, as in Envoy.
        let wanted = if path.starts_with("/a/") { "=/a/admin" } else { "=/admin" };
        assert_eq!(outcome(path, "nm"), wanted, "{id} {path}");
    }
    assert_eq!(outcome("/admin/.", "nm"), "=/admin/", "PN.02");
}

#[test]
fn pn_04_and_09_escaped_slashes_never_pass_unseen() {
    for path in ["/x%2f..%2fadmin", "/x%2F..%2Fadmin", "/%2fadmin", "/%5cadmin", "/%5Cadmin"] {
        assert_eq!(outcome(path, "nm_reject"), "400", "{path}");
        assert_eq!(outcome(path, "nm_redirect"), ">/admin", "{path}");
    }
    assert_eq!(outcome("/a?b=%2f", "nm_reject"), "=/a?b=%2f");
}

#[test]
fn pn_06_an_escaped_nul_is_refused() {
    assert_eq!(outcome("/admin%00", "n"), "400");
    assert_eq!(outcome("/admin%20", "n"), "=/admin%20");
}

#[test]
fn pn_07_fragments_are_found() {
    assert_eq!(fragment(b"/admin#x"), Some(6));
    assert_eq!(fragment(b"/admin%23"), None);
}

#[test]
fn pn_08_the_query_never_changes() {
    assert_eq!(outcome("/x?/../admin//%2e%2f", "nm_redirect"), "=/x?/../admin//%2e%2f");
    assert_eq!(outcome("/?", "nm"), "=/?");
}

/// Each of 60 KiB; quadratic work would take minutes here.
#[test]
fn pn_11_long_paths_take_linear_time() {
    for piece in ["/./", "/../", "//", "%2e", "/a/..", "%2f"] {
        let path = format!("/{}", piece.repeat((60 << 10) / piece.len()));
        let start = crate::base::clock::now();
        assert_ne!(sanitize(path.as_bytes(), &handling("nm_forward")), Sanitized::Reject);
        assert!(start.elapsed().as_millis() < 500, "{piece}");
    }
}

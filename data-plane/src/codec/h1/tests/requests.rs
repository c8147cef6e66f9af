//! Which heads are refused and with which rule, which are taken and as what. The verdicts stand
//! beside Envoy 1.40's, measured; where we are stricter, the name says so.

use super::ProtocolError::*;
use super::*;

fn bad_with(opts: &ServerOptions, bytes: &[u8]) -> ProtocolError {
    match request_of(bytes, opts) {
        Step::Bad(error, _) => error,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn bad(bytes: &[u8]) -> ProtocolError {
    bad_with(&ServerOptions::default(), bytes)
}

fn good_with(opts: &ServerOptions, bytes: &[u8]) -> ParsedRequest {
    match request_of(bytes, opts) {
        Step::Done(parsed) => parsed,
        other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
    }
}

fn good(bytes: &[u8]) -> ParsedRequest {
    good_with(&ServerOptions::default(), bytes)
}

/// A request with these field lines after Host.
fn with(method: &str, lines: &str) -> Vec<u8> {
    format!("{method} /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
}

fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\nHost: a\r\n\r\n").into_bytes()
}

fn host(host: &str) -> Vec<u8> {
    format!("GET /x HTTP/1.1\r\n{host}\r\n").into_bytes()
}

fn header<'a>(parsed: &'a ParsedRequest, name: &str) -> Option<&'a [u8]> {
    parsed.head.headers.get(name).map(HeaderValue::as_bytes)
}

#[test]
fn h1_01_02_length_and_coding_together_are_refused_in_any_order() {
    let (cl, te) = ("Content-Length: 6\r\n", "Transfer-Encoding: chunked\r\n");
    assert_eq!(bad(&with("POST", &[cl, te].concat())), ContentLengthAndTransferEncoding);
    assert_eq!(bad(&with("POST", &[te, cl].concat())), ContentLengthAndTransferEncoding);
    let lax = ServerOptions { allow_chunked_length: true, ..ServerOptions::default() };
    let parsed = good_with(&lax, &with("POST", &[cl, te].concat()));
    assert_eq!((parsed.framing, parsed.keep_alive), (framing::Framing::Chunked, false));
    assert_eq!(header(&parsed, "content-length"), None);
}

#[test]
fn h1_03_04_codings_other_than_one_chunked_are_refused() {
    let te = |v: &str| bad(&with("POST", &format!("Transfer-Encoding: {v}\r\n")));
    assert_eq!(te("chunked\r\nTransfer-Encoding: chunked"), BadTransferEncoding);
    assert_eq!(te("chunked, chunked"), BadTransferEncoding);
    assert_eq!(te("chunked\r\nTransfer-Encoding: identity"), BadTransferEncoding);
    for odd in ["identity", "gzip, chunked", "gzip", "", "xchunked", "chunked;q=1", "\"chunked\""] {
        assert_eq!(te(odd), UnsupportedTransferEncoding, "{odd}");
    }
    for fine in ["chunked", "ChuNked", " chunked \t"] {
        let parsed = good(&with("POST", &format!("Transfer-Encoding:{fine}\r\n")));
        assert_eq!(parsed.framing, framing::Framing::Chunked);
        assert_eq!(header(&parsed, "transfer-encoding"), None);
    }
}

#[test]
fn h1_05_coding_in_http_10_is_refused() {
    let opts = ServerOptions { accept_http_10: true, ..ServerOptions::default() };
    let head = b"POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(bad_with(&opts, head), BadTransferEncoding);
}

#[test]
fn h1_06_07_lengths_that_are_not_one_number_are_refused() {
    let cl = |v: &str| with("POST", &format!("Content-Length: {v}\r\n"));
    for odd in [
        "5\r\nContent-Length: 6",
        "5\r\nContent-Length: 5",
        "5, 5",
        "+5",
        "-5",
        "",
        "0x5",
        "5 5",
        "18446744073709551616",
    ] {
        assert_eq!(bad(&cl(odd)), BadContentLength, "{odd}");
    }
    assert_eq!(good(&cl("0005")).framing, framing::Framing::Length(5));
    assert_eq!(good(&cl("18446744073709551615")).framing, framing::Framing::Length(u64::MAX));
    let none = good(&cl("0"));
    assert!(none.head.ends);
    assert_eq!(header(&none, "content-length"), Some(&b"0"[..]));
}

#[test]
fn h1_08_underscores_never_frame() {
    let head = with("POST", "Content_Length: 44\r\nTransfer_Encoding: chunked\r\n");
    let parsed = good(&head);
    assert_eq!(parsed.framing, framing::Framing::Empty);
    assert_eq!(header(&parsed, "content_length"), Some(&b"44"[..]));
    let mut opts = ServerOptions { underscores: Underscores::Reject, ..ServerOptions::default() };
    assert_eq!(bad_with(&opts, &head), UnderscoreHeader);
    opts.underscores = Underscores::Drop;
    assert!(good_with(&opts, &head).head.headers.is_empty());
}

#[test]
fn h1_09_bare_lf_ends_a_line() {
    let parsed = good(b"GET /x HTTP/1.1\nHost: a\nx-b: c\n\n");
    assert_eq!(header(&parsed, "x-b"), Some(&b"c"[..]));
}

#[test]
fn h1_10_11_control_characters_are_refused() {
    assert_eq!(bad(&with("GET", "X: a\rTransfer-Encoding: chunked\r\n")), BadCharacter);
    assert_eq!(bad(&with("GET", "X: a\0b\r\n")), BadCharacter);
    assert_eq!(bad(&with("GET", "X\0: ab\r\n")), BadCharacter);
    assert_eq!(bad(&with("GET", "X: a\x01\r\n")), BadCharacter);
    assert_eq!(bad(&with("GET", "X: a\x7f\r\n")), BadCharacter);
    assert_eq!(bad(&line("GET /x\0 HTTP/1.1")), BadCharacter);
    assert_eq!(bad(&line("GET /x\x7f HTTP/1.1")), BadCharacter);
    assert_eq!(bad(&line("GET\0 /x HTTP/1.1")), BadCharacter);
    let parsed = good(&with("GET", "X: a\tb\r\n"));
    assert_eq!(header(&parsed, "x"), Some(&b"a\tb"[..]));
}

#[test]
fn h1_12_folded_lines_are_refused_unlike_envoy() {
    for folded in ["X: a\r\n b\r\n", "Transfer-Encoding:\r\n chunked\r\n", "X: a\r\n\tb\r\n"] {
        assert_eq!(bad(&with("POST", folded)), BadHeader, "{folded:?}");
    }
}

#[test]
fn h1_13_14_15_lines_that_are_no_fields_are_refused() {
    let lines =
        ["Content-Length : 5", "X-a\t: b", ": x", "a b: x", "é: x", "a\"b: x", "abc", "a(b): x"];
    for odd in lines {
        assert_eq!(bad(&with("POST", &format!("{odd}\r\n"))), BadHeader, "{odd}");
    }
    assert_eq!(bad(b"GET /x HTTP/1.1\r\n Content-Length: 5\r\nHost: a\r\n\r\n"), BadHeader);
}

#[test]
fn values_keep_their_inside_and_lose_their_margins() {
    let parsed = good(&with("GET", "X-a:\r\nX-b: \r\nX-c:   v w \t\r\nX-d: \u{e9}\r\n"));
    assert_eq!(header(&parsed, "x-a"), Some(&b""[..]));
    assert_eq!(header(&parsed, "x-b"), Some(&b""[..]));
    assert_eq!(header(&parsed, "x-c"), Some(&b"v w"[..]));
    assert_eq!(header(&parsed, "x-d"), Some("\u{e9}".as_bytes()));
}

#[test]
fn h1_16_a_missing_host_is_told_with_the_head() {
    match request_of(b"GET /x?y HTTP/1.1\r\nX: y\r\n\r\n", &ServerOptions::default()) {
        Step::Bad(MissingHost, Some(head)) => {
            assert_eq!((head.path.as_bytes(), head.headers.len()), (&b"/x?y"[..], 1));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn h1_17_several_or_odd_hosts_are_refused() {
    for odd in [
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host: a, b\r\n",
        "Host: a,b\r\n",
        "Host: a/b\r\n",
        "Host: a b\r\n",
        "Host: u@a\r\n",
        "Host: a:x\r\n",
        "Host: [::1\r\n",
        "Host: []:80\r\n",
        "Host: [::1]x\r\n",
        "Host: a:80:80\r\n",
        "Host: \u{e9}\r\n",
        "Host: a#b\r\n",
    ] {
        assert_eq!(bad(&host(odd)), BadHost, "{odd}");
    }
    for (fine, authority) in [
        ("Host: a:8080\r\n", "a:8080"),
        ("Host: [::1]:80\r\n", "[::1]:80"),
        ("Host: [::1]\r\n", "[::1]"),
        ("Host:   a  \r\n", "a"),
        ("Host: a%20b\r\n", "a%20b"),
        ("Host: a:\r\n", "a:"),
        ("Host: \r\n", ""),
    ] {
        let parsed = good(&host(fine));
        assert_eq!(parsed.head.authority.as_ref().unwrap(), authority);
        assert!(parsed.head.headers.is_empty());
    }
}

#[test]
fn h1_18_absolute_form_overrides_host() {
    for (target, scheme, authority, path) in [
        ("http://abs/y?q=1", "http", "abs", "/y?q=1"),
        ("http://abs", "http", "abs", "/"),
        ("http://abs?x=1", "http", "abs", "/?x=1"),
        ("https://abs:8/", "https", "abs:8", "/"),
        ("HTTP://abs/", "http", "abs", "/"),
        ("http://u:p@abs/", "http", "abs", "/"),
    ] {
        let head = good(&line(&format!("GET {target} HTTP/1.1"))).head;
        assert_eq!(head.scheme.unwrap(), scheme, "{target}");
        assert_eq!(head.authority.unwrap(), authority, "{target}");
        assert_eq!(head.path, path, "{target}");
    }
    for (target, error) in [
        ("ftp://abs/", BadScheme),
        ("http:///y", BadUrl),
        ("http://:80/y", BadUrl),
        ("http://a,b/y", BadUrl),
        ("http:/abs", BadTarget),
    ] {
        assert_eq!(bad(&line(&format!("GET {target} HTTP/1.1"))), error, "{target}");
    }
    let off = ServerOptions { allow_absolute_url: false, ..ServerOptions::default() };
    assert_eq!(bad_with(&off, &line("GET http://abs/ HTTP/1.1")), BadTarget);
    assert_eq!(
        bad(b"GET http://abs/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        BadHost,
        "an overridden Host still counts"
    );
}

#[test]
fn h1_19_targets_of_no_form_are_refused() {
    for (request_line, error) in [
        ("GET *", BadUrl),
        ("OPTIONS */x", BadUrl),
        ("GET admin", BadTarget),
        ("GET host:80", BadTarget),
        ("GET ?x", BadTarget),
        ("GET /\u{e9}", BadTarget),
        ("CONNECT /", BadUrl),
        ("CONNECT a", BadUrl),
        ("CONNECT http://a:80/", BadUrl),
        ("CONNECT a:x", BadUrl),
        ("CONNECT a:70000", BadUrl),
        ("CONNECT :80", BadUrl),
    ] {
        assert_eq!(bad(&line(&format!("{request_line} HTTP/1.1"))), error, "{request_line}");
    }
    assert_eq!(good(&line("OPTIONS * HTTP/1.1")).head.path, "*");
    assert_eq!(good(&line("GET /a\"<>\\^`{|} HTTP/1.1")).head.path, "/a\"<>\\^`{|}");
    let connect = good(b"CONNECT a:80 HTTP/1.1\r\nHost: b\r\n\r\n").head;
    assert_eq!(
        (connect.authority.unwrap(), connect.path),
        ("a:80".parse().unwrap(), "".parse().unwrap())
    );
    assert!(!connect.ends);
}

#[test]
fn connect_has_no_body() {
    let head = |lines: &str| format!("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n{lines}\r\n");
    assert_eq!(bad(head("Content-Length: 3\r\n").as_bytes()), BodyDisallowed);
    assert_eq!(bad(head("Transfer-Encoding: chunked\r\n").as_bytes()), UnsupportedTransferEncoding);
    good(head("Content-Length: 0\r\n").as_bytes());
}

#[test]
fn h1_20_request_lines_are_exact() {
    for odd in [
        "GET  /x HTTP/1.1",
        "GET /x  HTTP/1.1",
        "GET /a b HTTP/1.1",
        "GET /x HTTP/1.1 ",
        " GET /x HTTP/1.1",
        "GET /x http/1.1",
        "GET /x HTTP/1.10",
        "GET /x HTTP/1.",
        "GET /x HTTP/11",
        "GET /x XTTP/1.1",
        "GET  HTTP/1.1",
    ] {
        assert_eq!(bad(&line(odd)), BadRequestLine, "{odd:?}");
    }
    assert_eq!(bad(&line("GET\t/x HTTP/1.1")), BadMethod);
    assert_eq!(bad(&line("GET /x HTTP/2.0")), BadVersion);
    assert_eq!(bad(&line("GET /x HTTP/1.2")), BadVersion);
    for old in ["GET /x HTTP/1.0", "GET /x HTTP/0.9", "GET /x"] {
        assert_eq!(bad(&line(old)), Http10NotAccepted, "{old}");
    }
    good(b"\r\n\r\n\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn h1_21_methods_are_tokens_that_envoy_knows() {
    for known in ["GET", "PURGE", "PROPFIND", "MSEARCH", "TRACE", "PATCH"] {
        assert_eq!(good(&with(known, "")).head.method.as_str(), known);
    }
    for odd in ["get", "FOO", "QUERY", "G=\":<>", "M-SEARCH"] {
        assert_eq!(bad(&with(odd, "")), BadMethod, "{odd}");
    }
    let opts = ServerOptions { allow_custom_methods: true, ..ServerOptions::default() };
    assert_eq!(good_with(&opts, &with("get", "")).head.method.as_str(), "get");
    assert_eq!(bad_with(&opts, &with("G(", "")), BadMethod);
}

#[test]
fn h1_22_heads_beyond_the_limit_are_refused_early() {
    let long = "a".repeat(61 * 1024);
    assert_eq!(bad(format!("GET /{long}").as_bytes()), HeadersTooLarge);
    assert_eq!(bad(format!("M{}", long.to_uppercase()).as_bytes()), HeadersTooLarge);
    assert_eq!(bad(&with("GET", &format!("X: {long}\r\n"))), HeadersTooLarge);
    assert_eq!(bad(format!("GET / HTTP/1.1\r\nX{long}").as_bytes()), HeadersTooLarge);
    good(&with("GET", &format!("X: {}\r\n", "a".repeat(60_000))));
}

#[test]
fn h1_23_fields_beyond_the_limit_are_refused() {
    let lines = |n: usize| (0..n).map(|i| format!("x-{i}: a\r\n")).collect::<String>();
    good(&with("GET", &lines(99)));
    assert_eq!(bad(&with("GET", &lines(100))), TooManyHeaders);
    let opts = ServerOptions { max_headers_count: 300, ..ServerOptions::default() };
    good_with(&opts, &with("GET", &lines(299)));
    assert_eq!(bad_with(&opts, &with("GET", &lines(300))), TooManyHeaders);
}

#[test]
fn h1_34_fields_of_one_hop_are_gone() {
    let parsed = good(&with(
        "GET",
        "Connection: close, X-A\r\nConnection: X-B\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\n\
         Keep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: trailers, gzip\r\nUpgrade: foo\r\n",
    ));
    let names: Vec<_> = parsed.head.headers.keys().map(|n| n.as_str()).collect();
    assert_eq!(names, ["x-c", "te"]);
    assert_eq!(header(&parsed, "te"), Some(&b"trailers"[..]));
    assert!(!parsed.keep_alive);
    assert_eq!(parsed.head.upgrade, None, "Connection does not name it");
}

#[test]
fn h1_34_connection_cannot_remove_what_others_rely_on() {
    for name in ["x-forwarded-for", "X-Forwarded-Host", "x-forwarded-proto", ":path"] {
        assert_eq!(bad(&with("GET", &format!("Connection: {name}\r\n"))), BadConnectionHeader);
    }
    assert_eq!(bad(&with("GET", "Connection: a,b,c,d,e,f,g,h,i,j\r\n")), BadConnectionHeader);
    let parsed = good(&with("POST", "Connection: host, content-length\r\nContent-Length: 5\r\n"));
    assert_eq!(parsed.head.authority.as_ref().unwrap(), "a");
    assert_eq!(header(&parsed, "content-length"), Some(&b"5"[..]));
}

#[test]
fn h1_38_h2c_is_dropped() {
    let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n";
    let parsed = good(&with("GET", lines));
    assert_eq!((parsed.head.upgrade, parsed.head.headers.len()), (None, 0));
}

#[test]
fn h1_38_h2c_in_a_list_is_the_name_of_no_protocol() {
    for (lines, whole) in [
        ("Upgrade: h2c, websocket\r\n", "h2c, websocket"),
        ("Upgrade: h2c, h2c\r\n", "h2c, h2c"),
        ("Upgrade: websocket\r\nUpgrade: h2c\r\n", "websocket,h2c"),
        ("Upgrade: h2c\r\nUpgrade: websocket\r\n", "h2c,websocket"),
    ] {
        let parsed = good(&with("GET", &format!("Connection: Upgrade\r\n{lines}")));
        assert_eq!(parsed.head.upgrade.unwrap(), whole, "the whole list, which nobody allows");
    }
    let two = "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: other\r\n";
    assert_eq!(good(&with("GET", two)).head.upgrade.unwrap(), "websocket,other");
}

#[test]
fn h1_39_an_upgrade_with_chunks_or_connect_is_none() {
    let lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n";
    let parsed = good(&with("POST", lines));
    assert_eq!((parsed.head.upgrade, parsed.head.headers.len()), (None, 0));
    let connect = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    let parsed = good(connect);
    assert_eq!((parsed.head.upgrade, parsed.head.headers.len()), (None, 0));
}

#[test]
fn fields_of_one_hop_beside_an_upgrade_do_not_go_on() {
    let lines = "Connection: Upgrade, x-hop\r\nUpgrade: websocket\r\nx-hop: 1\r\n";
    let parsed = good(&with("GET", lines));
    assert_eq!(parsed.head.headers["connection"], "Upgrade");
    assert!(!parsed.head.headers.contains_key("x-hop"));
}

#[test]
fn h1_39_an_upgrade_needs_http_11_and_both_fields() {
    let lines = "Connection: Upgrade\r\nUpgrade: WebSocket\r\n";
    let parsed = good(&with("GET", lines));
    assert_eq!(parsed.head.upgrade.as_ref().unwrap(), "WebSocket");
    assert_eq!(parsed.head.headers["connection"], "Upgrade", "for matchers and filters");
    assert!(!parsed.head.ends);
    let old = ServerOptions { accept_http_10: true, ..ServerOptions::default() };
    let head = format!("GET /x HTTP/1.0\r\nHost: a\r\n{lines}\r\n");
    let parsed = good_with(&old, head.as_bytes());
    assert_eq!((parsed.head.upgrade.clone(), parsed.head.ends), (None, true));
}

#[test]
fn h1_42_other_protocols_are_refused_at_once() {
    assert_eq!(bad(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), BadMethod);
    bad(b"SSH-2.0-OpenSSH_8.9\r\n");
    assert_eq!(bad(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), BadVersion);
    bad(b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn http_10_keeps_alive_only_on_request_and_gets_the_default_host() {
    let opts = ServerOptions {
        accept_http_10: true,
        default_host_for_http_10: Some(HeaderValue::from_static("dflt")),
        ..ServerOptions::default()
    };
    let parsed = good_with(&opts, b"GET /x HTTP/1.0\r\n\r\n");
    assert_eq!(parsed.head.authority.as_ref().unwrap(), "dflt");
    assert_eq!((parsed.head.version, parsed.keep_alive), (Version::Http10, false));
    let parsed = good_with(&opts, b"GET /x HTTP/1.0\r\nHost: b\r\nConnection: Keep-Alive\r\n\r\n");
    assert!(parsed.keep_alive);
}

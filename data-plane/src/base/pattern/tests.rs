//! Patterns read as RE2 reads them; verdicts and outcomes are those of Envoy.

use super::*;

fn full(pattern: &str, text: &str) -> bool {
    Re2::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}")).is_match(text.as_bytes())
}

fn replace(pattern: &str, substitution: &str, text: &str) -> String {
    let pattern = Re2::new(pattern).expect("a valid pattern");
    let out = Substitution::new(pattern, substitution).replace_all(text.as_bytes());
    String::from_utf8(out).expect("text stays text")
}

#[test]
fn the_whole_text_must_match() {
    assert!(full("a|ab", "ab"));
    assert!(!full("a", "ab"));
    assert!(!full("a.c", "a\nc"));
    assert!(!full("a", "a\n"));
    assert!(full("(?i)ABC", "abc"));
    assert!(full("", ""));
}

#[test]
fn perl_classes_are_ascii_as_in_re2() {
    assert!(full(r"\d+", "123"));
    assert!(!full(r"\d", "٣"));
    assert!(!full(r"\w", "é"));
    assert!(full(r"\W", "é"));
    assert!(full(r"[\d.]+", "1.2"));
    assert!(full(r"[\D]+", "ab"));
    assert!(full(r"[^\d]+", "ab"));
    assert!(!full(r"\s", "\u{b}"));
    assert!(full(r"a\b b", "a b"));
}

#[test]
fn texts_that_only_re2_reads_so_are_rewritten() {
    assert!(full(r"a\<b", "a<b"));
    assert!(full("[[a]+", "a[a"));
    assert!(full("[a&&b]+", "a&b"));
    assert!(full("[]a]+", "]a"));
    assert!(full("[^]a]+", "xyz"));
    assert!(full("[[:alpha:]_]+", "ab_"));
    assert!(full(r"\Qa.b*\E+", "a.b**"));
    assert!(full(r"\101\x42\x{43}", "ABC"));
    assert!(full("a{,3}", "a{,3}"));
    assert!(full("{a}", "{a}"));
    assert!(full("a{2,3}", "aaa"));
    assert!(full(r"\p{Greek}+\pL", "αβγ"));
}

#[test]
fn what_re2_refuses_is_refused() {
    for bad in [
        "a**",
        "a{1001}",
        "(?x)a",
        r"\1",
        r"(a)\1",
        "(",
        "[a",
        "a\\",
        r"\h",
        "(?=a)",
        r"\Z",
        "*a",
        "(a{1000}){2}",
        "((a{10}){10}){11}",
        r"\Ea",
        "a{1000}{2}",
        "[z-a]",
    ] {
        assert!(Re2::new(bad).is_err(), "{bad}");
    }
    for good in ["a*?", "(a{10}){100}", "(a{1000}|b){0,1}", "^*", r"\b+"] {
        assert!(Re2::new(good).is_ok(), "{good}");
    }
    assert_eq!(Re2::new("(").expect_err("unclosed"), "unclosed group");
}

#[test]
fn replacing_follows_re2() {
    assert_eq!(
        replace("^/service/([^/]+)(/.*)$", r"\2/instance/\1", "/service/foo/v1/api"),
        "/v1/api/instance/foo"
    );
    assert_eq!(replace("one", "two", "/xxx/one/yyy/one/zzz"), "/xxx/two/yyy/two/zzz");
    assert_eq!(replace("^(.*?)one(.*)$", r"\1two\2", "/x/one/y/one/z"), "/x/two/y/one/z");
    assert_eq!(replace("(?i)/xxx/", "/yyy/", "/aaa/XxX/bbb"), "/aaa/yyy/bbb");
    assert_eq!(replace("b", r"[\0\\]", "abc"), r"a[b\]c");
    assert_eq!(replace("b", "$0", "abc"), "a$0c");
    assert_eq!(replace("a*", "x", "baaac"), "xbxcx");
}

#[test]
fn a_substitution_that_names_no_group_changes_nothing() {
    assert_eq!(replace("b", r"\1", "abc"), "abc");
    assert_eq!(replace("b", r"x\yz", "abc"), "axc");
}

#[test]
fn an_evil_expression_stays_linear() {
    let text = "a".repeat(60 << 10) + "b";
    assert!(!full("(a+)+$", &text));
}

#[test]
fn string_matchers_know_both_cases() {
    let matcher = |f: fn(Box<str>, Case) -> StringMatcher, text: &str, case| f(text.into(), case);
    let yes = [
        (matcher(StringMatcher::Exact, "Ab", Case::Ignore), "aB"),
        (matcher(StringMatcher::Prefix, "Ab", Case::Ignore), "abc"),
        (matcher(StringMatcher::Suffix, "bC", Case::Ignore), "abc"),
        (matcher(StringMatcher::Contains, "B", Case::Ignore), "abc"),
        (matcher(StringMatcher::Contains, "b", Case::Sensitive), "abc"),
        (matcher(StringMatcher::Exact, "", Case::Sensitive), ""),
    ];
    for (matcher, text) in yes {
        assert!(matcher.is_match(text.as_bytes()), "{matcher:?} {text}");
    }
    let no = [
        (matcher(StringMatcher::Exact, "Ab", Case::Sensitive), "ab"),
        (matcher(StringMatcher::Prefix, "abcd", Case::Sensitive), "abc"),
        (matcher(StringMatcher::Suffix, "abcd", Case::Sensitive), "abc"),
        (matcher(StringMatcher::Contains, "B", Case::Sensitive), "abc"),
    ];
    for (matcher, text) in no {
        assert!(!matcher.is_match(text.as_bytes()), "{matcher:?} {text}");
    }
}

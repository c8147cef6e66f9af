use super::*;
use crate::envoy::config::bootstrap::v3::Bootstrap;

fn read(file: &str, text: &str) -> Result<Read<Bootstrap>, Diagnostics> {
    parse(file, text.as_bytes(), &ReadOptions::default())
}

#[test]
fn a_typo_is_told_with_its_place_and_what_was_meant() {
    let text = "static_resources:\n  listenrs: []\n";
    let errors = read("boot.yaml", text).expect_err("a typo");
    let line = "boot.yaml:2:3: static_resources.listenrs: unknown field; \
        did you mean 'listeners'?";
    assert_eq!(errors.to_string(), line);
    assert_eq!(errors.long(), format!("{line}\n      listenrs: []\n      ^"));
}

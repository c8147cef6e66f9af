//! What conditions say of connections that no test of the whole proxy makes, and in which order
//! policies are asked.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, Method};
use proto::envoy::extensions::filters::http::rbac::v3::Rbac;
use proto::text::ReadOptions;

use super::config;
use super::denied;
use super::matching::{Asked, Verdict};
use crate::config::rbac::Rules;
use crate::config::resource::ParseCx;
use crate::http::conn::{ConnInfo, Peer, Transport};
use crate::http::metadata::{DynamicMetadata, Text, Told};
use crate::route::{NoRuntime, RouteInput};

const NAMESPACE: Text = Text::Fixed("f");
const KEY: Text = Text::Fixed("k");
const ALL: &str = "{permissions: [{any: true}], principals: [{any: true}]}";

fn rules(yaml: &str) -> Rules {
    let text = format!("{{rules: {yaml}}}");
    let read = proto::text::parse::<Rbac>("rules.yaml", text.as_bytes(), &ReadOptions::default());
    let read = read.unwrap_or_else(|error| panic!("{error}"));
    config::parse(read.message, &ParseCx::bare()).expect("good rules").rules.expect("rules")
}

fn with_permission(permission: &str) -> Rules {
    rules(&format!(
        "{{policies: {{p: {{permissions: [{permission}], principals: [{{any: true}}]}}}}}}"
    ))
}

fn ip(text: &str) -> Peer {
    Peer::Ip(SocketAddr::new(text.parse().unwrap(), 8000))
}

struct Scene {
    path: &'static str,
    remote: Peer,
    local: Peer,
    believed: Option<IpAddr>,
    metadata: DynamicMetadata,
}

impl Scene {
    fn new(path: &'static str) -> Self {
        Self {
            path,
            remote: ip("127.0.0.1"),
            local: ip("127.0.0.1"),
            believed: Some([127, 0, 0, 1].into()),
            metadata: DynamicMetadata::default(),
        }
    }

    fn judge<'r>(&self, rules: &'r Rules) -> Verdict<'r> {
        let conn = ConnInfo::new(1, self.remote.clone(), self.local.clone(), Transport::Plain);
        let (headers, method) = (HeaderMap::new(), Method::GET);
        let request = RouteInput {
            authority: Some(b"a.example"),
            path: self.path.as_bytes(),
            method: method.as_str().as_bytes(),
            scheme: b"http",
            headers: &headers,
            random: 0,
            runtime: &NoRuntime,
        };
        rules.judge(&Asked {
            request,
            conn: &conn,
            remote: self.believed,
            metadata: &self.metadata,
            route: None,
        })
    }

    fn allows(&self, permission: &str) -> bool {
        self.judge(&with_permission(permission)).allowed
    }
}

#[test]
fn policies_are_asked_in_the_order_of_their_names() {
    let rules = rules(&format!("{{policies: {{b: {ALL}, a: {ALL}, B: {ALL}}}}}"));
    let verdict = Scene::new("/").judge(&rules);
    assert_eq!(verdict.policy.map(|policy| &*policy.name), Some("B"));
}

#[test]
fn an_action_says_what_a_match_means() {
    let scene = Scene::new("/");
    let said = |action: &str, policies: &str| {
        let rules = rules(&format!("{{action: {action}, policies: {{{policies}}}}}"));
        scene.judge(&rules).allowed
    };
    let all = format!("p: {ALL}");
    assert!(said("ALLOW", &all) && !said("ALLOW", ""));
    assert!(!said("DENY", &all) && said("DENY", ""));
    assert!(said("LOG", &all) && said("LOG", ""));
}

#[test]
fn a_unix_socket_has_no_address_and_no_port() {
    let unix = || Peer::Unix("/run/in.sock".into());
    let scene = Scene { remote: unix(), local: unix(), believed: None, ..Scene::new("/") };
    for permission in [
        "{destination_ip: {address_prefix: 0.0.0.0, prefix_len: 0}}",
        "{destination_port_range: {start: 0, end: 65536}}",
    ] {
        assert!(!scene.allows(permission), "{permission}");
        assert!(scene.allows(&format!("{{not_rule: {permission}}}")));
    }
    for principal in ["source_ip", "direct_remote_ip", "remote_ip"] {
        let rules = rules(&format!(
            "{{policies: {{p: {{permissions: [{{any: true}}], principals: [{{{principal}: \
             {{address_prefix: 0.0.0.0, prefix_len: 0}}}}]}}}}}}"
        ));
        assert!(!scene.judge(&rules).allowed, "{principal}");
    }
}

#[test]
fn a_range_of_one_family_holds_no_address_of_the_other() {
    let v4 = "{destination_ip: {address_prefix: 0.0.0.0, prefix_len: 0}}";
    let v6 = "{destination_ip: {address_prefix: '::', prefix_len: 0}}";
    let scene = Scene { local: ip("::1"), ..Scene::new("/") };
    assert!(scene.allows(v6) && !scene.allows(v4));
    assert!(Scene::new("/").allows(v4) && !Scene::new("/").allows(v6));
}

#[test]
fn a_connect_without_a_path_matches_no_path() {
    let any = "{url_path: {path: {safe_regex: {regex: '.*'}}}}";
    assert!(!Scene::new("").allows(any));
    assert!(Scene::new("/").allows(any));
}

#[test]
fn query_and_fragment_are_no_part_of_the_path() {
    let exact = "{url_path: {path: {exact: /a}}}";
    for path in ["/a", "/a?b=/c", "/a#b", "/a?b#c"] {
        assert!(Scene::new(path).allows(exact), "{path}");
    }
    assert!(!Scene::new("/a/?b").allows(exact));
}

#[test]
fn dynamic_metadata_is_what_was_told_last() {
    let mut scene = Scene::new("/");
    let told = "{metadata: {filter: f, path: [{key: k}], value: {string_match: {exact: two}}}}";
    let deeper =
        "{metadata: {filter: f, path: [{key: k}, {key: k}], value: {present_match: true}}}";
    assert!(!scene.allows(told));
    for value in ["one", "two"] {
        scene.metadata.tell(&NAMESPACE, &KEY, Told::Text(Text::Fixed(value)));
    }
    assert!(scene.allows(told) && !scene.allows(deeper));
    scene.metadata.tell(&NAMESPACE, &KEY, Told::Flag(true));
    assert!(!scene.allows(told));
}

#[test]
fn white_space_of_a_name_does_not_split_the_log() {
    let rules = rules(&format!("{{action: DENY, policies: {{\"a b\\tc\\u000bd\": {ALL}}}}}"));
    let reply = denied(Scene::new("/").judge(&rules));
    assert_eq!(reply.details, "rbac_access_denied_matched_policy[a_b_c_d]");
}

//! Who this client says it is: `envoy.config.core.v3.Node` of the first request.
//!
//! Control planes branch on the user agent, which is Envoy's unless the bootstrap names another.
//! The features are those that this client really has (C12).

use proto::envoy::config::core::v3::node::UserAgentVersionType;
use proto::envoy::config::core::v3::{BuildVersion, Node};
use proto::envoy::r#type::v3::SemanticVersion;
use proto::prost::Message as _;

use crate::config::bootstrap::NodeConfig;

/// The version of Envoy whose behaviour control planes may expect.
const ENVOY_VERSION: SemanticVersion =
    SemanticVersion { major_number: 1, minor_number: 40, patch: 0 };

/// What this client can do beyond the basics, as servers look for it.
const FEATURES: [&str; 3] = [
    "envoy.config.supports-resource-ttl",
    "envoy.config.resource-in-sotw",
    "envoy.lb.does_not_support_overprovisioning",
];

/// The node message for `config`: as written, with what was overridden and what this client adds.
#[must_use]
pub fn build_node(config: &NodeConfig) -> Node {
    // The bytes come from a message that was parsed before; broken ones lose only what is added.
    let mut node = Node::decode(config.raw.as_slice()).unwrap_or_default();
    node.id = config.id.to_string();
    node.cluster = config.cluster.to_string();
    if node.user_agent_name.is_empty() {
        node.user_agent_name = "envoy".to_owned();
    }
    if node.user_agent_version_type.is_none() {
        let version = BuildVersion { version: Some(ENVOY_VERSION), metadata: None };
        node.user_agent_version_type = Some(UserAgentVersionType::UserAgentBuildVersion(version));
    }
    for feature in FEATURES {
        if !node.client_features.iter().any(|known| known == feature) {
            node.client_features.push(feature.to_owned());
        }
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_keeps_what_was_written_and_adds_the_user_agent_and_features() {
        let written = Node {
            user_agent_name: "mine".into(),
            client_features: vec![FEATURES[0].into(), "other".into()],
            ..Node::default()
        };
        let config = NodeConfig {
            id: "edge-1".into(),
            cluster: "edge".into(),
            raw: written.encode_to_vec(),
            ..NodeConfig::default()
        };
        let node = build_node(&config);
        assert_eq!((node.id.as_str(), node.cluster.as_str()), ("edge-1", "edge"));
        assert_eq!(node.user_agent_name, "mine");
        assert_eq!(node.client_features, [FEATURES[0], "other", FEATURES[1], FEATURES[2]]);
        assert!(node.user_agent_version_type.is_some());
    }
}

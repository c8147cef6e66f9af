//! Our own API, `gomesh.control.v1`: messages, gRPC stubs, and the same messages as JSON.
//!
//! Made by `build.rs` out of `proto/gomesh/`. As JSON, fields have the names of the proto, states
//! are words (`passing`), and a field that is not known is an error.

#[allow(
    clippy::all,
    clippy::allow_attributes,
    missing_docs,
    unreachable_pub,
    reason = "generated code follows its generator's style"
)]
pub mod v1 {
    tonic::include_proto!("gomesh.control.v1");
}

/// The encoded descriptor set of our own API, with comments.
pub static DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/gomesh.fds.bin"));

/// States as words, in JSON.
pub mod state_name {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use super::v1::InstanceState;

    /// Words and states; what is not said is the empty word.
    const NAMES: [(&str, InstanceState); 5] = [
        ("", InstanceState::Unspecified),
        ("passing", InstanceState::Passing),
        ("warning", InstanceState::Warning),
        ("critical", InstanceState::Critical),
        ("draining", InstanceState::Draining),
    ];

    /// The word of a state; empty for one that does not exist.
    #[must_use]
    pub fn name(state: i32) -> &'static str {
        NAMES.iter().find(|(_, known)| *known as i32 == state).map_or("", |(name, _)| name)
    }

    pub(super) fn serialize<S: Serializer>(state: &i32, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(name(*state))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i32, D::Error> {
        let text = String::deserialize(from)?;
        let found = NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, state)| *state as i32).ok_or_else(|| {
            D::Error::custom(format!("got '{text}'; must be passing, warning or critical"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::v1::{Instance, InstanceState, Registration};
    use super::*;

    #[test]
    fn json_has_the_names_of_the_proto() {
        let text = r#"{"address":"10.0.0.1","port":80,"labels":{"a":"b"},"state":"warning"}"#;
        let read: Registration = serde_json::from_str(text).unwrap();
        assert_eq!(read.state(), InstanceState::Warning);
        assert_eq!((read.port, read.labels["a"].as_str(), read.ttl.as_str()), (80, "b", ""));
        let instance = Instance { registration: Some(read), ..Default::default() };
        let json = serde_json::to_value(instance).unwrap();
        assert_eq!(json["registration"]["state"], "warning");
        assert_eq!(json["registration"].get("check"), None);
    }

    #[test]
    fn unknown_fields_and_states_are_refused() {
        let refused = |text: &str| serde_json::from_str::<Registration>(text).unwrap_err();
        assert!(refused(r#"{"adress":"x"}"#).to_string().contains("unknown field `adress`"));
        assert!(refused(r#"{"state":"fine"}"#).to_string().contains("must be passing"));
    }

    #[test]
    fn descriptors_have_the_services_and_comments() {
        let pool = prost_reflect::DescriptorPool::decode(DESCRIPTOR_SET).unwrap();
        let service = pool.get_service_by_name("gomesh.control.v1.Registry").unwrap();
        assert_eq!(service.methods().len(), 5);
    }
}

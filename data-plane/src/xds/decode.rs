//! From `config`'s verdict on a resource to the one that the protocol core takes.
//!
//! A parser that panics refuses its resource: one resource must not be able to end the
//! subscription of all others.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::TypeUrl;
use super::stream::{Decode, Decoded};
use crate::config::error::Reason;
use crate::config::resource::{self, Named, Notes, ResourceValue};

/// A decoder that reads resources with `read` (`config::resource::decode` and its context) and
/// tells `noted` what was accepted without effect.
pub fn decoder(
    read: impl Fn(&str, &[u8]) -> resource::Decoded<ResourceValue> + Send + Sync + 'static,
    noted: impl Fn(&TypeUrl, &str, &Notes) + Send + Sync + 'static,
) -> Decode<ResourceValue> {
    Arc::new(move |type_url, raw| {
        // Both are called anew for each resource and keep no state that a panic could tear.
        let caught = catch_unwind(AssertUnwindSafe(|| read(type_url.as_str(), raw)));
        match caught {
            Ok(resource::Decoded::Accepted(Named { name, value, notes, .. })) => {
                noted(type_url, &name, &notes);
                Decoded::Accepted { name: name.into(), value }
            }
            Ok(resource::Decoded::Rejected { name, problems }) => {
                Decoded::Rejected { name: name.into(), problems }
            }
            Ok(resource::Decoded::Undecodable(problem)) => Decoded::Undecodable(problem.into()),
            Err(_panic) => {
                let text = "the proxy failed to read it (a bug: see the log)";
                Decoded::Undecodable(Reason::Rule(text.into()).into())
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn xd07_panicking_parser_refuses_its_resource_alone() {
        let decode = decoder(|_, _| panic!("on purpose"), |_, _, _| {});
        let verdict = decode(&TypeUrl::CLUSTER, &Bytes::from_static(b"x"));
        assert!(matches!(verdict, Decoded::Undecodable(_)));
    }

    #[test]
    fn cluster_is_read_by_config_and_named() {
        use proto::envoy::config::cluster::v3::Cluster;
        use proto::prost::Message as _;

        let read = |url: &str, raw: &[u8]| resource::decode(url, raw, &resource::ParseCx::bare());
        let decode = decoder(read, |_, _, _| {});
        let good = Cluster { name: "a".into(), ..Default::default() }.encode_to_vec();
        let verdict = decode(&TypeUrl::CLUSTER, &Bytes::from(good));
        let Decoded::Accepted { name, value: ResourceValue::Cluster(_) } = verdict else {
            panic!("{verdict:?}")
        };
        assert_eq!(&*name, "a");
        let garbage = decode(&TypeUrl::CLUSTER, &Bytes::from_static(&[255]));
        assert!(matches!(garbage, Decoded::Undecodable(_)), "{garbage:?}");
    }
}

//! The descriptor set of Envoy's API and the reflection pool made of it.
//!
//! The set is `envoy-types`' own, without comments; `examples/descriptors.rs` makes the file and
//! a test compares it with the locked `envoy-types`. The pool takes about 18 MiB, so only a weak
//! reference is kept here: the last user's drop frees it.

use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prost_reflect::DescriptorPool;

/// The encoded `google.protobuf.FileDescriptorSet` of everything that `envoy-types` contains;
/// [`crate::supplement`] has a second one.
pub static DESCRIPTOR_SET: &[u8] = include_bytes!("envoy.fds.bin");

static CACHE: Mutex<Weak<DescriptorPool>> = Mutex::new(Weak::new());

/// A handle of the shared pool; the memory goes when the last handle goes.
#[derive(Clone, Debug)]
pub struct Descriptors(Arc<DescriptorPool>);

impl Deref for Descriptors {
    type Target = DescriptorPool;

    fn deref(&self) -> &DescriptorPool {
        &self.0
    }
}

/// The pool of all messages, decoded now unless someone still holds it (about 30 ms).
///
/// # Panics
/// Never with the set that is built in; a test decodes it.
#[must_use]
pub fn descriptors() -> Descriptors {
    let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = cache.upgrade() {
        return Descriptors(pool);
    }
    let mut pool =
        DescriptorPool::decode(DESCRIPTOR_SET).expect("the built-in set is valid: tested");
    pool.decode_file_descriptor_set(crate::supplement::supplement_descriptor_set())
        .expect("the supplement fits: tested");
    let pool = Arc::new(pool);
    *cache = Arc::downgrade(&pool);
    Descriptors(pool)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_set_decodes_and_is_shared_only_while_held() {
        let first = descriptors();
        let name = "envoy.config.bootstrap.v3.Bootstrap";
        assert!(first.get_message_by_name(name).is_some());
        assert!(Arc::ptr_eq(&first.0, &descriptors().0));
        let weak = Arc::downgrade(&first.0);
        drop(first);
        assert!(weak.upgrade().is_none(), "nothing but the handles keeps the pool");
    }
}

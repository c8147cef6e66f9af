//! What one stream wants of one type: names, everything, or both.
//!
//! Wildcards are per stream and type, in the two forms of xds-protocol C10, D6 and S6: the name
//! `*`, and the older form of naming nothing, which counts only until the client has named
//! something on this stream.

use std::collections::BTreeSet;
use std::sync::Arc;

/// The name that stands for all resources of a type.
pub const WILDCARD: &str = "*";

/// How everything is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Wildcard {
    /// It is not.
    #[default]
    No,
    /// By the name `*`.
    Named,
    /// By naming nothing (C10, D6).
    Legacy,
}

/// What a request changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// Names that must be answered: new ones, and on delta all that were subscribed to (S4).
    pub asked: Vec<Arc<str>>,
    /// Names that are no longer wanted by name.
    pub dropped: Vec<Arc<str>>,
    /// The wildcard began with this request.
    pub wildcard_began: bool,
    /// The wildcard ended with this request.
    pub wildcard_ended: bool,
}

/// The subscription of one stream to one type.
#[derive(Debug, Default)]
pub struct Subscription {
    wildcard: Wildcard,
    names: BTreeSet<Arc<str>>,
    /// A request of this type has been seen on the stream.
    spoken: bool,
    /// Some name was seen: naming nothing no longer means everything.
    ever_named: bool,
}

impl Subscription {
    /// Whether all resources are wanted.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.wildcard != Wildcard::No
    }

    /// Whether a resource of that name is wanted.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.is_wildcard() || self.names.contains(name)
    }

    /// Names that are wanted by name.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.iter()
    }

    /// How many names are wanted by name.
    #[must_use]
    pub fn names_len(&self) -> usize {
        self.names.len()
    }

    /// Takes the whole list of a SotW request (C8, C10).
    pub fn replace(&mut self, names: &[String]) -> Shift {
        self.ever_named |= !names.is_empty();
        let before = self.is_wildcard();
        self.wildcard = if names.iter().any(|name| name == WILDCARD) {
            Wildcard::Named
        } else if names.is_empty() && !self.ever_named {
            Wildcard::Legacy
        } else {
            Wildcard::No
        };
        self.spoken = true;
        let new: BTreeSet<Arc<str>> =
            names.iter().filter(|n| *n != WILDCARD).map(|n| n.as_str().into()).collect();
        let asked = new.difference(&self.names).cloned().collect();
        let dropped = self.names.difference(&new).cloned().collect();
        self.names = new;
        self.shift(before, asked, dropped)
    }

    /// Takes the two lists of a delta request (D1, D6, S4).
    pub fn change(&mut self, subscribe: &[String], unsubscribe: &[String]) -> Shift {
        let before = self.is_wildcard();
        if !self.spoken && subscribe.is_empty() && unsubscribe.is_empty() {
            self.wildcard = Wildcard::Legacy;
        }
        if !subscribe.is_empty() {
            if self.wildcard == Wildcard::Legacy {
                // S6: a subscribe, and nothing else, ends the older form.
                self.wildcard = Wildcard::No;
            }
            self.ever_named = true;
        }
        self.spoken = true;
        let mut asked = Vec::new();
        for name in subscribe {
            if name == WILDCARD {
                self.wildcard = Wildcard::Named;
                continue;
            }
            let name: Arc<str> = name.as_str().into();
            self.names.insert(name.clone());
            asked.push(name);
        }
        let mut dropped = Vec::new();
        for name in unsubscribe {
            if name == WILDCARD {
                self.wildcard = Wildcard::No;
            } else if let Some(name) = self.names.take(name.as_str()) {
                dropped.push(name);
            }
        }
        self.shift(before, asked, dropped)
    }

    fn shift(&self, before: bool, asked: Vec<Arc<str>>, dropped: Vec<Arc<str>>) -> Shift {
        let now = self.is_wildcard();
        Shift { asked, dropped, wildcard_began: now && !before, wildcard_ended: before && !now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn c10_sotw_wildcard_sequence() {
        let mut subscription = Subscription::default();
        assert!(subscription.replace(&[]).wildcard_began);
        assert!(subscription.covers("x"));
        let shift = subscription.replace(&list(&["*", "A"]));
        assert!(subscription.is_wildcard() && !shift.wildcard_began);
        assert_eq!(shift.asked, ["A".into()]);
        let shift = subscription.replace(&list(&["A"]));
        assert!(shift.wildcard_ended && subscription.covers("A") && !subscription.covers("x"));
        let shift = subscription.replace(&[]);
        assert_eq!(shift.dropped, ["A".into()]);
        assert!(!subscription.covers("A") && !subscription.is_wildcard());
    }

    #[test]
    fn s6_delta_subscribe_ends_legacy_wildcard() {
        let mut subscription = Subscription::default();
        assert!(subscription.change(&[], &[]).wildcard_began);
        assert!(!subscription.change(&[], &list(&["never-had"])).wildcard_ended);
        assert!(subscription.is_wildcard());
        assert!(subscription.change(&list(&["A"]), &[]).wildcard_ended);
        assert!(subscription.covers("A") && !subscription.covers("B"));
    }

    #[test]
    fn s6_delta_explicit_wildcard_keeps_names() {
        let mut subscription = Subscription::default();
        subscription.change(&[], &[]);
        assert!(!subscription.change(&list(&["*", "A"]), &[]).wildcard_ended);
        let shift = subscription.change(&[], &list(&["*"]));
        assert!(shift.wildcard_ended && subscription.covers("A"));
    }

    #[test]
    fn d9_subscribing_and_dropping_the_wildcard_at_once_is_nothing() {
        let mut subscription = Subscription::default();
        let shift = subscription.change(&list(&["*"]), &list(&["*"]));
        assert_eq!(shift, Shift::default());
        assert!(!subscription.covers("A"));
    }

    #[test]
    fn s4_delta_repeats_are_asked_again_and_unknown_drops_are_ignored() {
        let mut subscription = Subscription::default();
        subscription.change(&list(&["A"]), &[]);
        assert_eq!(subscription.change(&list(&["A"]), &[]).asked, ["A".into()]);
        assert_eq!(subscription.change(&[], &list(&["B"])), Shift::default());
    }
}

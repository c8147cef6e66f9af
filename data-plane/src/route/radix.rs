//! A radix tree over byte strings: built once from sorted keys, then only read.
//!
//! The nodes of one parent stand side by side, and all labels share one buffer, so that a walk
//! touches few cache lines. A walk costs the length of the text, whatever the number of keys.
//! Building is linear in the length of all keys and not recursive (keys may nest deeply).

use std::collections::{BTreeMap, VecDeque};

use crate::base::pattern::Case;

#[derive(Clone, Debug)]
pub(super) struct Radix<T> {
    nodes: Vec<Node>,
    labels: Vec<u8>,
    values: Vec<T>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    label: (u32, u32),
    children: (u32, u32),
    value: u32,
    first: u8,
}

/// No value.
const NONE: u32 = u32::MAX;

/// Keys that still have to become the descendants of a node.
struct Work {
    node: usize,
    keys: std::ops::Range<usize>,
    depth: usize,
}

impl<T> Radix<T> {
    pub(super) fn build(entries: BTreeMap<Vec<u8>, T>) -> Self {
        let (keys, values): (Vec<Vec<u8>>, Vec<T>) = entries.into_iter().unzip();
        let root = Node { label: (0, 0), children: (0, 0), value: NONE, first: 0 };
        let mut tree = Self { nodes: vec![root], labels: Vec::new(), values };
        let mut queue = VecDeque::from([Work { node: 0, keys: 0..keys.len(), depth: 0 }]);
        while let Some(work) = queue.pop_front() {
            tree.grow(&keys, work, &mut queue);
        }
        tree
    }

    fn grow(&mut self, keys: &[Vec<u8>], work: Work, queue: &mut VecDeque<Work>) {
        let Work { node, keys: mut range, depth } = work;
        // Sorted, so the key that ends here is the first.
        if range.start < range.end && keys[range.start].len() == depth {
            self.nodes[node].value = index(range.start);
            range.start += 1;
        }
        let first_child = self.nodes.len();
        while range.start < range.end {
            let first = keys[range.start][depth];
            let group = &keys[range.clone()];
            let size = group.partition_point(|key| key[depth] == first);
            // Sorted: what the first and the last share, all share.
            let shared = common(&group[0][depth..], &group[size - 1][depth..]);
            let start = self.labels.len();
            self.labels.extend_from_slice(&group[0][depth..depth + shared]);
            let label = (index(start), index(self.labels.len()));
            let child = self.nodes.len();
            self.nodes.push(Node { label, children: (0, 0), value: NONE, first });
            let keys = range.start..range.start + size;
            queue.push_back(Work { node: child, keys, depth: depth + shared });
            range.start += size;
        }
        self.nodes[node].children = (index(first_child), index(self.nodes.len()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Calls `visit` with the length and the value of every key that `text` begins with, the
    /// shortest first. With `Case::Ignore` the keys must be in lower case.
    pub(super) fn walk<'t>(&'t self, text: &[u8], case: Case, mut visit: impl FnMut(usize, &'t T)) {
        let mut node = &self.nodes[0];
        let mut depth = 0;
        loop {
            if let Some(value) = self.values.get(node.value as usize) {
                visit(depth, value);
            }
            let Some(&next) = text.get(depth) else { return };
            let next = if case == Case::Ignore { next.to_ascii_lowercase() } else { next };
            let children = &self.nodes[node.children.0 as usize..node.children.1 as usize];
            let Some(child) = child(children, next) else { return };
            let label = &self.labels[child.label.0 as usize..child.label.1 as usize];
            if !case.starts_with(&text[depth..], label) {
                return;
            }
            depth += label.len();
            node = child;
        }
    }
}

/// Few children are searched one by one, many by halves.
fn child(children: &[Node], first: u8) -> Option<&Node> {
    if children.len() <= 8 {
        return children.iter().find(|child| child.first == first);
    }
    let at = children.binary_search_by_key(&first, |child| child.first).ok()?;
    children.get(at)
}

fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Positions are `u32`: a route table is far smaller than 4 GiB (messages are bounded).
pub(super) fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(NONE - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(tree: &Radix<usize>, text: &str, case: Case) -> Vec<(usize, usize)> {
        let mut all = Vec::new();
        tree.walk(text.as_bytes(), case, |depth, &value| all.push((depth, value)));
        all
    }

    fn tree(keys: &[&str]) -> Radix<usize> {
        Radix::build(keys.iter().enumerate().map(|(i, k)| (k.as_bytes().to_vec(), i)).collect())
    }

    #[test]
    fn every_key_that_begins_the_text_is_visited() {
        let tree = tree(&["", "/", "/api", "/api/v1", "/apix", "/b"]);
        assert_eq!(found(&tree, "/api/v1/x", Case::Sensitive), [(0, 0), (1, 1), (4, 2), (7, 3)]);
        assert_eq!(found(&tree, "/ap", Case::Sensitive), [(0, 0), (1, 1)]);
        assert_eq!(found(&tree, "x", Case::Sensitive), [(0, 0)]);
        assert_eq!(found(&tree, "", Case::Sensitive), [(0, 0)]);
        assert_eq!(found(&tree, "/API/v1", Case::Ignore), [(0, 0), (1, 1), (4, 2), (7, 3)]);
    }

    #[test]
    fn many_children_are_found_by_halves() {
        let keys: Vec<String> = (b'a'..=b'z').map(|c| format!("/{}", c as char)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let tree = tree(&keys);
        for (i, key) in keys.iter().enumerate() {
            assert_eq!(found(&tree, key, Case::Sensitive), [(2, i)]);
        }
        assert!(found(&tree, "/A", Case::Sensitive).is_empty());
    }

    #[test]
    fn deeply_nested_keys_need_no_stack() {
        let keys: Vec<String> = (1..5000).map(|n| "a".repeat(n)).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        assert_eq!(found(&tree(&keys), &"a".repeat(6000), Case::Sensitive).len(), 4999);
    }
}

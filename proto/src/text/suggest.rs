//! "Did you mean": the known name nearest to a wrong one.

/// The candidate nearest to `wrong`, if it is near enough to be what was meant.
///
/// Case, `-` and `_` do not count as differences, so `StaticResources` finds `static_resources`.
#[must_use]
pub fn suggest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = fold(wrong);
    let limit = (folded.len() / 3).clamp(1, 4);
    candidates
        .into_iter()
        .map(|candidate| (distance(&folded, &fold(candidate), limit), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn fold(name: &str) -> Vec<char> {
    name.chars().filter(|c| !matches!(c, '_' | '-')).map(|c| c.to_ascii_lowercase()).collect()
}

/// Edits (insert, delete, replace, swap of neighbours) between two names; above `limit` any
/// number above it.
fn distance(a: &[char], b: &[char], limit: usize) -> usize {
    if a.len().abs_diff(b.len()) > limit {
        return limit + 1;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        let names = ["listeners", "clusters", "secrets", "static_resources"];
        assert_eq!(suggest("listenrs", names), Some("listeners"));
        assert_eq!(suggest("clutsers", names), Some("clusters"));
        assert_eq!(suggest("static-resources", names), Some("static_resources"));
        assert_eq!(suggest("StaticResources", names), Some("static_resources"));
        assert_eq!(suggest("routes", names), None);
        assert_eq!(suggest("", names), None);
    }
}

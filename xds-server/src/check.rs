//! Whether a set of resources may be served: complete in itself, no name twice.
//!
//! Refused is what would leave a client waiting for something that never comes. A route to a
//! cluster that is not in the set is only a warning: it may be static in the client's bootstrap.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::snapshot::{CLUSTER, ENDPOINT, Place, ROUTE, Resource};

/// Problems that are kept; one run should name them all, but within reason.
pub const PROBLEMS_MAX: usize = 100;

/// One thing that is wrong with what an operator wrote. Displays as `file:line:column: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, if it has a place.
    pub place: Option<Place>,
    /// What.
    pub message: String,
}

impl Problem {
    /// A problem at that place.
    pub fn new(place: Option<Place>, message: impl Into<String>) -> Self {
        Self { place, message: message.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Reasons not to serve the set.
    pub problems: Vec<Problem>,
    /// What to tell an operator all the same.
    pub warnings: Vec<Problem>,
}

/// Checks everything that is to be served.
#[must_use]
pub fn check(resources: &[Arc<Resource>]) -> Findings {
    let mut findings = Findings::default();
    let mut by_name: BTreeMap<(&str, &str), &Arc<Resource>> = BTreeMap::new();
    for resource in resources {
        let key = (resource.any.type_url.as_str(), &*resource.name);
        let Some(first) = by_name.insert(key, resource) else { continue };
        if !Arc::ptr_eq(first, resource) {
            let message = format!("{} stands twice{}", resource.title(), elsewhere(first));
            findings.problems.push(Problem::new(resource.place.clone(), message));
        }
    }
    for resource in resources {
        let mut problem = |message: String| {
            findings.problems.push(Problem::new(resource.place.clone(), message));
        };
        for name in &resource.references.endpoints {
            if !by_name.contains_key(&(ENDPOINT, &**name)) {
                let title = resource.title();
                problem(format!(
                    "{title} needs the ClusterLoadAssignment '{name}', not in the set"
                ));
            }
        }
        for name in &resource.references.routes {
            if !by_name.contains_key(&(ROUTE, &**name)) {
                let title = resource.title();
                problem(format!("{title} needs the RouteConfiguration '{name}', not in the set"));
            }
        }
        for name in &resource.references.clusters {
            if !by_name.contains_key(&(CLUSTER, &**name)) {
                let message = format!(
                    "{} sends to the cluster '{name}', not in the set; clients need it in their \
                     bootstrap",
                    resource.title()
                );
                findings.warnings.push(Problem::new(resource.place.clone(), message));
            }
        }
    }
    findings.problems.truncate(PROBLEMS_MAX);
    findings.warnings.truncate(PROBLEMS_MAX);
    findings
}

fn elsewhere(resource: &Resource) -> String {
    resource.place.as_ref().map(|place| format!("; first at {place}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::snapshot::{LISTENER, References};
    use proto::google::protobuf::Any;

    fn resource(url: &str, name: &str, references: References, line: usize) -> Arc<Resource> {
        let any = Any { type_url: url.into(), value: vec![] };
        let place = Place { file: Arc::new(PathBuf::from("a.yaml")), line, column: 3 };
        Arc::new(Resource::new(name, any, references, Some(place)))
    }

    fn texts(problems: &[Problem]) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn name_twice_is_refused_with_both_places() {
        let all = [1, 7].map(|line| resource(CLUSTER, "a", References::default(), line));
        let found = check(&all);
        assert_eq!(
            texts(&found.problems),
            ["a.yaml:7:3: Cluster 'a' stands twice; first at a.yaml:1:3"]
        );
        let shared = [all[0].clone(), all[0].clone()];
        assert_eq!(check(&shared), Findings::default());
    }

    #[test]
    fn dangling_references_are_refused_and_unknown_clusters_are_warned_of() {
        let eds = References { endpoints: vec!["e".into()], ..Default::default() };
        let rds = References { routes: vec!["r".into()], ..Default::default() };
        let to = References { clusters: vec!["c".into(), "a".into()], ..Default::default() };
        let mut all = vec![resource(CLUSTER, "a", eds, 1), resource(LISTENER, "l", rds, 2)];
        assert_eq!(
            texts(&check(&all).problems),
            [
                "a.yaml:1:3: Cluster 'a' needs the ClusterLoadAssignment 'e', not in the set",
                "a.yaml:2:3: Listener 'l' needs the RouteConfiguration 'r', not in the set",
            ]
        );
        all.push(resource(ENDPOINT, "e", References::default(), 3));
        all.push(resource(ROUTE, "r", to, 4));
        let found = check(&all);
        assert_eq!(found.problems, []);
        assert_eq!(found.warnings.len(), 1);
        assert!(found.warnings[0].to_string().contains("sends to the cluster 'c'"));
    }
}

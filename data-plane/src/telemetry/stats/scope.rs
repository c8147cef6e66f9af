//! A group's place in the tree: its prefix, and the same place without what Prometheus says by
//! tags.

/// Where a group stands: `cluster.local.`, family `cluster.`, tag `envoy.cluster_name=local`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Dotted prefix of the raw names, with its closing dot (empty for the root).
    pub(super) prefix: Box<str>,
    /// The prefix without the values of tags (`http.rds.` for `http.edge.rds.main.`).
    pub(super) family: Box<str>,
    /// Tags in the order in which Envoy prints them.
    pub(super) tags: Box<[(&'static str, Box<str>)]>,
}

impl Scope {
    /// A place without tags: `server.`.
    #[must_use]
    pub fn plain(prefix: &str) -> Self {
        Self { prefix: prefix.into(), family: prefix.into(), tags: Box::new([]) }
    }

    /// `cluster.<name>.`; `name` is the cluster's `alt_stat_name`, else its name.
    #[must_use]
    pub fn cluster(name: &str) -> Self {
        Self::tagged(&["cluster.", "."], "cluster.", &[("cluster_name", name)])
    }

    /// `http.<stat_prefix>.` of a connection manager.
    #[must_use]
    pub fn http(stat_prefix: &str) -> Self {
        Self::tagged(&["http.", "."], "http.", &[("http_conn_manager_prefix", stat_prefix)])
    }

    /// `http.<stat_prefix>.rds.<route_config>.`.
    #[must_use]
    pub fn rds(stat_prefix: &str, route_config: &str) -> Self {
        Self {
            prefix: format!("http.{}.rds.{}.", clean(stat_prefix), clean(route_config)).into(),
            family: "http.rds.".into(),
            tags: Box::new([
                ("rds_route_config", clean(route_config).into()),
                ("http_conn_manager_prefix", clean(stat_prefix).into()),
            ]),
        }
    }

    /// `http.<stat_prefix>.fault.<caller>.`: faults of the requests of one caller.
    #[must_use]
    pub fn fault_caller(stat_prefix: &str, caller: &str) -> Self {
        Self {
            prefix: format!("http.{}.fault.{}.", clean(stat_prefix), clean(caller)).into(),
            family: "http.fault.".into(),
            tags: Box::new([
                ("fault_downstream_cluster", clean(caller).into()),
                ("http_conn_manager_prefix", clean(stat_prefix).into()),
            ]),
        }
    }

    /// `tcp.<stat_prefix>.` of a TCP proxy.
    #[must_use]
    pub fn tcp(stat_prefix: &str) -> Self {
        Self::tagged(&["tcp.", "."], "tcp.", &[("tcp_prefix", stat_prefix)])
    }

    /// `listener.<name>.`; `name` is the `stat_prefix` of the listener, else its address.
    #[must_use]
    pub fn listener(name: &str) -> Self {
        Self::tagged(&["listener.", "."], "listener.", &[("listener_address", name)])
    }

    /// `listener.<name>.http.<stat_prefix>.`.
    #[must_use]
    pub fn listener_http(name: &str, stat_prefix: &str) -> Self {
        Self {
            prefix: format!("listener.{}.http.{}.", clean(name), clean(stat_prefix)).into(),
            family: "listener.http.".into(),
            tags: Box::new([
                ("http_conn_manager_prefix", clean(stat_prefix).into()),
                ("listener_address", clean(name).into()),
            ]),
        }
    }

    /// `listener.admin.http.admin.`, which has no address.
    #[must_use]
    pub fn admin_http() -> Self {
        Self {
            prefix: "listener.admin.http.admin.".into(),
            family: "listener.admin.http.".into(),
            tags: Box::new([("http_conn_manager_prefix", "admin".into())]),
        }
    }

    /// `<stat_prefix>.http_local_rate_limit.`.
    #[must_use]
    pub fn local_rate_limit(stat_prefix: &str) -> Self {
        Self {
            prefix: format!("{}.http_local_rate_limit.", clean(stat_prefix)).into(),
            family: "http_local_rate_limit.".into(),
            tags: Box::new([("local_http_ratelimit_prefix", clean(stat_prefix).into())]),
        }
    }

    /// `<prefix>worker_<index>.`: `Scope::worker("server.", 0)`.
    #[must_use]
    pub fn worker(prefix: &str, index: u16) -> Self {
        Self {
            prefix: format!("{prefix}worker_{index}.").into(),
            family: format!("{prefix}worker_").into(),
            tags: Box::new([("worker_id", index.to_string().into())]),
        }
    }

    /// `vhost.<host>.vcluster.<name>.`; `other` is the name of the catch-all.
    #[must_use]
    pub fn virtual_cluster(host: &str, name: &str) -> Self {
        Self {
            // Envoy leaves these names as they are, a `:` included.
            prefix: format!("vhost.{host}.vcluster.{name}.").into(),
            family: "vhost.vcluster.".into(),
            tags: Box::new([("virtual_cluster", name.into()), ("virtual_host", host.into())]),
        }
    }

    /// `vhost.<host>.route.<stat_prefix>.`.
    #[must_use]
    pub fn route(host: &str, stat_prefix: &str) -> Self {
        Self {
            prefix: format!("vhost.{host}.route.{stat_prefix}.").into(),
            family: "vhost.route.".into(),
            tags: Box::new([("virtual_host", host.into()), ("route", stat_prefix.into())]),
        }
    }

    /// `rbac.[<rules prefix>.]` below a connection manager.
    #[must_use]
    pub fn rbac(&self, rules_prefix: &str) -> Self {
        let below = self.join("rbac.");
        if rules_prefix.is_empty() {
            return below;
        }
        let prefix = clean(rules_prefix.strip_suffix('.').unwrap_or(rules_prefix));
        // As Envoy's tags are: the first part is the tag, the rest stays in the name.
        let (tag, rest) = prefix.split_once('.').unwrap_or((&prefix, ""));
        let rest = if rest.is_empty() { String::new() } else { format!("{rest}.") };
        below.tag_below(&format!("{prefix}."), &rest, ("rbac_http_prefix", tag))
    }

    /// `policy.<name>.` below what [`Scope::rbac`] gives.
    #[must_use]
    pub fn rbac_policy(&self, name: &str) -> Self {
        let below = self.join("policy.");
        if name.contains('.') {
            // Envoy finds no tag in such a name.
            return below.join(&format!("{name}."));
        }
        below.tag_below(&format!("{name}."), "", ("rbac_policy_name", name))
    }

    fn tag_below(&self, prefix: &str, family: &str, tag: (&'static str, &str)) -> Self {
        let Self { prefix: above, family: family_above, tags } = self;
        let own = (tag.0, Box::from(tag.1));
        Self {
            prefix: format!("{above}{prefix}").into(),
            family: format!("{family_above}{family}").into(),
            tags: std::iter::once(own).chain(tags.iter().cloned()).collect(),
        }
    }

    /// The same place, `part` deeper: `cluster.local.` with `http2.`.
    #[must_use]
    pub fn join(&self, part: &str) -> Self {
        Self {
            prefix: format!("{}{part}", self.prefix).into(),
            family: format!("{}{part}", self.family).into(),
            tags: self.tags.clone(),
        }
    }

    fn tagged(around: &[&str; 2], family: &str, tags: &[(&'static str, &str); 1]) -> Self {
        let [(tag, value)] = *tags;
        let value = clean(value);
        Self {
            prefix: format!("{}{value}{}", around[0], around[1]).into(),
            family: family.into(),
            tags: Box::new([(tag, value.into())]),
        }
    }
}

/// Envoy keeps `:` out of stat names.
fn clean(name: &str) -> String {
    name.replace(':', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Prefix, family and tags of a place.
    fn shown(scope: &Scope) -> String {
        let tags: Vec<_> = scope.tags.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
        format!("{} {} {}", scope.prefix, scope.family, tags.join(","))
    }

    #[test]
    fn verdicts_of_rbac_stand_where_envoys_do() {
        let of = |rules: &str| Scope::http("in").rbac(rules);
        let manager = "http_conn_manager_prefix=in";
        assert_eq!(shown(&of("")), format!("http.in.rbac. http.rbac. {manager}"));
        for rules in ["enf", "enf."] {
            let tags = format!("rbac_http_prefix=enf,{manager}");
            assert_eq!(shown(&of(rules)), format!("http.in.rbac.enf. http.rbac. {tags}"));
        }
        let policy = of("").rbac_policy("l1");
        let tags = format!("rbac_policy_name=l1,{manager}");
        assert_eq!(shown(&policy), format!("http.in.rbac.policy.l1. http.rbac.policy. {tags}"));
        let dotted = of("").rbac_policy("c.d");
        let name = "http.in.rbac.policy.c.d. http.rbac.policy.c.d.";
        assert_eq!(shown(&dotted), format!("{name} {manager}"));
    }
}

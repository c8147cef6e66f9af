//! Names by `/etc/hosts` and DNS, with the system's or configured servers.

use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RecordType;
use hickory_resolver::system_conf::read_system_conf;

use super::{Answer, Record, Resolve, ResolveError, Resolving};
use crate::config::cluster::DnsConfig;

/// A resolver of the control runtime. It remembers nothing between calls: how often to ask is the
/// cluster's decision.
pub struct SystemResolver(TokioResolver);

impl std::fmt::Debug for SystemResolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SystemResolver")
    }
}

impl SystemResolver {
    /// A resolver by the system's configuration, changed by what the cluster says.
    ///
    /// # Errors
    /// The system's configuration cannot be read.
    pub fn new(config: &DnsConfig) -> Result<Self, String> {
        // Without a resolv.conf there still is /etc/hosts.
        let (mut servers, mut options) = match read_system_conf() {
            Ok(conf) => conf,
            Err(_) if !config.resolvers.is_empty() => Default::default(),
            Err(error) => return Err(format!("system DNS configuration: {error}")),
        };
        if !config.resolvers.is_empty() {
            let own = config.resolvers.iter().map(|address| {
                let mut server = NameServerConfig::udp_and_tcp(address.ip());
                for connection in &mut server.connections {
                    connection.port = address.port();
                }
                server
            });
            servers = with_servers(servers, own.collect());
        }
        if config.use_tcp {
            let over_tcp = servers.name_servers().iter().map(only_tcp).collect();
            servers = with_servers(servers, over_tcp);
        }
        if config.no_default_search_domain {
            servers = ResolverConfig::from_parts(None, Vec::new(), servers.name_servers().to_vec());
        }
        set(&mut options);
        let provider = TokioRuntimeProvider::default();
        let builder = TokioResolver::builder_with_config(servers, provider).with_options(options);
        builder.build().map(Self).map_err(|error| error.to_string())
    }
}

fn with_servers(config: ResolverConfig, servers: Vec<NameServerConfig>) -> ResolverConfig {
    let (domain, search, _) = config.into_parts();
    ResolverConfig::from_parts(domain, search, servers)
}

/// The same server, asked over TCP alone.
fn only_tcp(server: &NameServerConfig) -> NameServerConfig {
    let mut tcp = NameServerConfig::tcp(server.ip);
    let port = server.connections.first().map(|connection| connection.port);
    for connection in &mut tcp.connections {
        connection.port = port.unwrap_or(connection.port);
    }
    tcp
}

fn set(options: &mut ResolverOpts) {
    options.use_hosts_file = ResolveHosts::Always;
    options.cache_size = 0;
}

impl Resolve for SystemResolver {
    fn resolve<'a>(&'a self, name: &'a Arc<str>, record: Record) -> Resolving<'a> {
        let kind = match record {
            Record::V4 => RecordType::A,
            Record::V6 => RecordType::AAAA,
        };
        Box::pin(async move {
            match self.0.lookup(&**name, kind).await {
                Ok(lookup) => {
                    let answers = lookup.answers();
                    let ttl = answers.iter().map(|record| record.ttl).min().unwrap_or(0);
                    let addresses = answers.iter().filter_map(|r| r.data.ip_addr()).collect();
                    Ok(Answer { addresses, ttl: Duration::from_secs(u64::from(ttl)) })
                }
                // The name does not exist or has no such record: an answer, as in Envoy.
                Err(error) if error.is_no_records_found() => Ok(Answer::default()),
                Err(error) => {
                    Err(ResolveError { name: Arc::clone(name), reason: error.to_string() })
                }
            }
        })
    }
}

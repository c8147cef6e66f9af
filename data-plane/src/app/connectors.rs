//! Ways to management servers.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::base::names::ClusterName;
use crate::codec::io::tls::{HandshakeError, TlsStream};
use crate::config::bootstrap::BootstrapConfig;
use crate::config::cluster::{ClusterConfig, UpstreamTransport};
use crate::config::error::{Problems, Reason};
use crate::config::source::GrpcServiceConfig;
use crate::telemetry::WorkerId;
use crate::telemetry::stats::{Registry, Scope};
use crate::tls::client::{Client, Offer};
use crate::tls::words;
use crate::xds;
use crate::xds::connect::{BoxedIo, Connect, Connecting, PlainConnector};

/// The static clusters of the bootstrap.
pub(super) struct StaticConnectors {
    clusters: HashMap<ClusterName, Arc<ClusterConfig>>,
    registry: Registry,
}

impl StaticConnectors {
    pub(super) fn new(config: &BootstrapConfig, registry: &Registry) -> Self {
        let clusters = config.clusters.iter();
        let clusters = clusters.map(|c| (c.value.name.clone(), Arc::clone(&c.value)));
        Self { clusters: clusters.collect(), registry: registry.clone() }
    }
}

impl xds::Connectors for StaticConnectors {
    fn connector(&self, service: &GrpcServiceConfig) -> Result<Arc<dyn Connect>, Problems> {
        let name = service.cluster.as_str();
        let unknown = || Problems::from(Reason::Unknown { kind: "cluster", name: name.to_owned() });
        let cluster = self.clusters.get(name).ok_or_else(unknown)?;
        let plain = PlainConnector::to_cluster(cluster)?;
        Ok(match &cluster.transport {
            UpstreamTransport::RawBuffer => Arc::new(plain),
            UpstreamTransport::Tls(tls) => {
                let scope = Scope::cluster(cluster.stat_name()).join("ssl.");
                let client = Client::new(tls, self.registry.group(scope));
                Arc::new(TlsConnector { plain, client })
            }
        })
    }
}

/// TLS around plain connections.
struct TlsConnector {
    plain: PlainConnector,
    client: Client,
}

impl Connect for TlsConnector {
    fn timeout(&self) -> Duration {
        self.plain.timeout()
    }

    fn connect(&self) -> Connecting<'_> {
        Box::pin(async {
            let plain = self.plain.connect().await?;
            let session = self.client.session(Offer::Http2).map_err(io::Error::other)?;
            match TlsStream::handshake(plain, session, &[]).await {
                Ok(mut stream) => {
                    self.client.recorder.done(WorkerId::CONTROL, stream.session());
                    Ok(Box::new(stream) as BoxedIo)
                }
                Err(HandshakeError::Tls(error)) => {
                    self.client.recorder.failed(WorkerId::CONTROL, &error);
                    Err(io::Error::other(words::reason(&error)))
                }
                Err(error @ HandshakeError::Io(_)) => Err(io::Error::other(error)),
            }
        })
    }
}

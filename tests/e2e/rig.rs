//! What tests of attacks have in common: a proxy, a backend, and a look at both afterwards.

use std::net::SocketAddr;

use serde_json::Value;
use tests::backend::{self, Backend, Reply};
use tests::client::{self, Connection};
use tests::proxy::{Kind, Proxy};
use tests::{setup, stats, wait};

/// A proxy in front of one backend.
pub(crate) struct Rig {
    pub(crate) backend: Backend,
    pub(crate) proxy: Proxy,
    pub(crate) listener: SocketAddr,
}

impl Rig {
    /// With more fields in the connection manager.
    pub(crate) fn start(manager: &Value) -> Self {
        let backend = Backend::start();
        let text = setup::bootstrap(Vec::new(), backend.address(), backend::dead_address());
        let proxy = Proxy::start(Kind::Ours, &setup::with_manager(&text, manager));
        Self { listener: proxy.listener("main"), backend, proxy }
    }

    /// An HTTP/1 client.
    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.listener).expect("connect")
    }

    /// A counter or gauge.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        stats::one(self.proxy.admin_address(), name)
    }

    /// Waits until it has that value.
    pub(crate) fn waits_for(&self, name: &str, value: u64) {
        wait::until(name, || (self.stat(name) == value).then_some(()));
    }

    /// Others are served, and nothing is left of the attack.
    pub(crate) fn recovers(mut self) {
        self.backend.always(Reply::ok("hello"));
        self.serves();
        self.waits_for("http.in.downstream_rq_active", 0);
        self.waits_for("http.in.downstream_cx_active", 0);
        self.waits_for("cluster.backend.upstream_rq_active", 0);
        assert_eq!(self.proxy.ended(), None);
    }

    /// Another client is served.
    pub(crate) fn serves(&self) {
        let answer = client::get(self.listener, "/after").expect("another client is answered");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "hello"));
    }
}

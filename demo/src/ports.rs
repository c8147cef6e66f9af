//! The mesh's ports: the ones that the files name, or others in their place.

use std::net::{Ipv4Addr, SocketAddr};

/// A port for each thing that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The edge, for clients.
    pub edge: u16,
    /// The edge's admin interface.
    pub edge_admin: u16,
    /// The backends: two of v1, then one of v2.
    pub backends: [u16; 3],
    /// The control plane, for proxies.
    pub xds: u16,
    /// The control plane, for people.
    pub xds_admin: u16,
}

/// The ports that `bootstrap/` and `demo/mesh.yaml` name.
pub const DEFAULT: Ports = Ports {
    edge: 8000,
    edge_admin: 9901,
    backends: [3000, 3001, 3002],
    xds: 18000,
    xds_admin: 19000,
};

impl Ports {
    /// The default ports, all moved up.
    ///
    /// # Errors
    /// A port would be above 65535.
    pub fn moved(by: u16) -> anyhow::Result<Self> {
        let mut ports = DEFAULT;
        for port in ports.each_mut() {
            *port = port.checked_add(by).ok_or_else(|| {
                anyhow::anyhow!("--port-offset {by}: port {port} would move beyond 65535")
            })?;
        }
        Ok(ports)
    }

    /// All of them, in one order.
    #[must_use]
    pub fn each(mut self) -> [u16; 7] {
        self.each_mut().map(|port| *port)
    }

    fn each_mut(&mut self) -> [&mut u16; 7] {
        let [one, two, three] = &mut self.backends;
        [&mut self.edge, &mut self.edge_admin, one, two, three, &mut self.xds, &mut self.xds_admin]
    }

    /// The text of a configuration file with these ports instead of the default ones.
    #[must_use]
    pub fn put_into(self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
            let (before, from) = rest.split_at(start);
            let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
            let (number, after) = from.split_at(end);
            out.push_str(before);
            out.push_str(&self.instead_of(number).unwrap_or_else(|| number.to_owned()));
            rest = after;
        }
        out.push_str(rest);
        out
    }

    fn instead_of(self, number: &str) -> Option<String> {
        let number: u16 = number.parse().ok()?;
        let at = DEFAULT.each().iter().position(|port| *port == number)?;
        self.each().get(at).map(ToString::to_string)
    }
}

/// An address on loopback.
#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_numbers_are_replaced() {
        let ports = Ports { edge: 1, xds: 2, ..DEFAULT };
        assert_eq!(ports.put_into("a:8000 b:18000 80001 0.5s"), "a:1 b:2 80001 0.5s");
    }

    #[test]
    fn an_offset_moves_all_or_is_refused() {
        let moved = Ports::moved(10_000).unwrap();
        assert_eq!((moved.edge, moved.backends[2], moved.xds_admin), (18_000, 13_002, 29_000));
        assert!(Ports::moved(60_000).unwrap_err().to_string().contains("65535"));
    }
}

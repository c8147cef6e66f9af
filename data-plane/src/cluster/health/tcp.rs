//! A check by a connection, and bytes over it.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::http::contains;
use super::record::{Failure, Verdict};
use super::session::{Probe, address};
use crate::cluster::connect::{Socket, connect};
use crate::cluster::host::Host;
use crate::config::cluster::health::TcpCheck;
use crate::telemetry::WorkerId;

/// Most that is kept of what a host says; from there on nothing is found any more.
const KEPT_MOST: usize = 1024 * 1024;

/// Asks once.
pub(super) async fn check(
    check: &TcpCheck,
    host: &Host,
    probe: &Probe,
    kept: &mut Option<Socket>,
) -> Verdict {
    let network = Verdict::Failed(Failure::Network);
    let mut socket = match kept.take() {
        Some(socket) => socket,
        None => match connect(address(host), &probe.connect, WorkerId::CONTROL).await {
            Ok(socket) => socket,
            Err(_) => return network,
        },
    };
    // Nothing is to be heard: the connection was the test, and ends. As in Envoy, nothing is said.
    if check.receive.is_empty() {
        return Verdict::Passed { degraded: false };
    }
    if !check.send.is_empty() {
        let said = socket.write_all(&check.send).await;
        if said.is_err() || socket.flush().await.is_err() {
            return network;
        }
    }
    let mut heard = Vec::new();
    while heard.len() < KEPT_MOST {
        match socket.read_buf(&mut heard).await {
            Ok(0) | Err(_) => return network,
            Ok(_) if contains(&heard, &check.receive) => {
                *kept = Some(socket);
                return Verdict::Passed { degraded: false };
            }
            Ok(_) => {}
        }
    }
    // It talks on without saying it; the check's time ends this.
    std::future::pending().await
}

/// Waits for the end of a connection between two checks.
pub(super) async fn lost(kept: &mut Option<Socket>) {
    let Some(socket) = kept else { return std::future::pending().await };
    let mut unasked = [0; 256];
    while socket.read(&mut unasked).await.is_ok_and(|read| read > 0) {}
    *kept = None;
}

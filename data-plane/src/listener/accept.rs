//! Accepting, for sockets of one worker and for those that all workers share.

use std::future::Future;
use std::io;
use std::time::Duration;

use crate::base::names::ListenerName;
use crate::base::task::Task;

/// Pause after an accept failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The next connection. What fails is tried again: nothing that one `accept` says ends a listener.
/// As safe to cancel as `accept` is.
pub(super) async fn next<T, F>(listener: &ListenerName, accept: impl Fn() -> F) -> T
where
    F: Future<Output = io::Result<T>>,
{
    loop {
        match accept().await {
            Ok(connection) => return connection,
            Err(error) => {
                tracing::warn!(%listener, %error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Ends tasks that accept: from this call on they take no connection, and when what it returns is
/// done, their sockets are closed.
pub(super) fn end(accepting: Vec<Task>) -> impl Future<Output = ()> {
    accepting.iter().for_each(Task::abort);
    async move {
        for task in accepting {
            task.join().await;
        }
    }
}

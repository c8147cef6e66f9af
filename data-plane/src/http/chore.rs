//! What filters do beside requests, again and again, while their chain is in use.
//!
//! A chore has a task on one worker, which holds nothing that would keep a listener that was
//! replaced: it ends by itself once its chain is gone. Some must have been done once before their
//! listener serves; whoever starts them hears of it.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::base::task;
use crate::cluster::ClusterMap;
use crate::http::manager::Manager;
use crate::http::router::AskCx;
use crate::http::worker::Worker;

/// A chore that is being done; it comes to when it is to be done again.
pub type Doing = Pin<Box<dyn Future<Output = Duration>>>;

/// Something that a filter does beside requests.
pub trait Chore: Send + Sync + fmt::Debug {
    /// Whether it must have been done once, however that ended, before its listener serves.
    fn holds_listener(&self) -> bool;

    /// Does it, with the clusters of this moment.
    fn run(self: Arc<Self>, cx: AskCx, clusters: Arc<ClusterMap>) -> Doing;
}

/// Starts the chores of a manager on this worker. What comes back ends when those that hold its
/// listener were done once.
pub fn start(manager: &Arc<Manager>, worker: &Rc<Worker>) -> impl Future<Output = ()> + use<> {
    let (held, mut free) = mpsc::channel(1);
    for chore in manager.cell.load().chains.chores() {
        let held = chore.holds_listener().then(|| held.clone());
        let (chore, manager) = (Arc::downgrade(&chore), Arc::downgrade(manager));
        task::spawn_local("chore", keep_up(chore, manager, Rc::clone(worker), held)).detach();
    }
    async move {
        // Nothing is ever sent: it ends with the last of those who hold it.
        let _free: Option<Infallible> = free.recv().await;
    }
}

async fn keep_up(
    chore: Weak<dyn Chore>,
    manager: Weak<Manager>,
    worker: Rc<Worker>,
    mut held: Option<mpsc::Sender<Infallible>>,
) {
    while let (Some(chore), Some(manager)) = (chore.upgrade(), manager.upgrade()) {
        let cx = AskCx { worker: Rc::clone(&worker), own: manager.stats.own.clone() };
        let clusters = Arc::clone(&manager.cell.load().clusters);
        drop(manager);
        let pause = chore.run(cx, clusters).await;
        drop(held.take());
        tokio::time::sleep(pause).await;
    }
}

//! Tasks that have a name and an owner.
//!
//! Every task of the program is started here. Its handle owns it: dropping the handle aborts the
//! task, so that nothing outlives the thing that it works for. A panic ends that task alone and is
//! logged with the task's name. A task that nobody needs to stop is let go with [`Task::detach`].

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;

/// A running task; it is aborted when this drops.
#[derive(Debug)]
#[must_use = "dropping the handle aborts the task"]
pub struct Task {
    handle: Option<JoinHandle<bool>>,
    name: &'static str,
}

impl Task {
    /// Name that the task was started with.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it ended, in whatever way.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end. Cancelling this aborts the task.
    ///
    /// False where it did not come to its own end: it panicked (which it has logged itself) or was
    /// aborted.
    pub async fn join(mut self) -> bool {
        match self.handle.as_mut() {
            Some(handle) => handle.await.unwrap_or(false),
            None => false,
        }
    }

    /// Ends it before its own end. What it holds is dropped by the time that [`Self::join`] returns
    /// and perhaps not sooner.
    pub fn abort(&self) {
        if let Some(handle) = &self.handle {
            handle.abort();
        }
    }

    /// Lets it run on by itself.
    pub fn detach(mut self) {
        self.handle = None;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Starts a task on the current runtime.
pub fn spawn<F>(name: &'static str, future: F) -> Task
where
    F: Future<Output = ()> + Send + 'static,
{
    let handle = tokio::spawn(Guarded { name, future: Box::pin(future) });
    Task { handle: Some(handle), name }
}

/// Starts a task that stays on this thread (a worker's runtime, or a `LocalSet` in tests).
pub fn spawn_local<F>(name: &'static str, future: F) -> Task
where
    F: Future<Output = ()> + 'static,
{
    let handle = tokio::task::spawn_local(Guarded { name, future: Box::pin(future) });
    Task { handle: Some(handle), name }
}

/// Catches the panic of a poll, so that it is logged under the task's name.
struct Guarded<F> {
    name: &'static str,
    future: Pin<Box<F>>,
}

impl<F: Future<Output = ()>> Future for Guarded<F> {
    /// Whether the future came to its end.
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<bool> {
        let future = self.future.as_mut();
        match std::panic::catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
            Ok(poll) => poll.map(|()| true),
            Err(panic) => {
                tracing::error!(task = self.name, panic = panic_text(&*panic), "task panicked");
                Poll::Ready(false)
            }
        }
    }
}

/// What a panic said, as far as it is text.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&'static str>() {
        text
    } else {
        panic.downcast_ref::<String>().map_or("(no text)", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn dropping_the_handle_aborts_the_task() {
        let (alive, gone) = oneshot::channel::<()>();
        let task = spawn("waits", async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        assert_eq!(task.name(), "waits");
        drop(task);
        assert!(gone.await.is_err());
    }

    #[tokio::test]
    async fn what_an_aborted_task_holds_is_gone_once_it_is_joined() {
        let (alive, mut gone) = oneshot::channel::<()>();
        let task = spawn("waits", async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        task.abort();
        assert!(!task.join().await);
        assert_eq!(gone.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[tokio::test]
    async fn a_detached_task_runs_on() {
        let (done, wait) = oneshot::channel();
        spawn("sends", async move { done.send(5).unwrap() }).detach();
        assert_eq!(wait.await.unwrap(), 5);
    }

    #[tokio::test]
    async fn a_panic_ends_only_its_task() {
        assert!(!spawn("panics", async { panic!("on purpose") }).join().await);
        assert!(spawn("works", async {}).join().await);
    }

    #[tokio::test(flavor = "local")]
    async fn a_local_task_may_hold_an_rc() {
        let count = std::rc::Rc::new(std::cell::Cell::new(0));
        let inside = std::rc::Rc::clone(&count);
        assert!(spawn_local("counts", async move { inside.set(1) }).join().await);
        assert_eq!(count.get(), 1);
    }
}

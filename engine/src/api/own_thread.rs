//! Calls that block, for tasks: each runs on a thread of its own.
//!
//! A commit that a task waits for is the log thread's. What takes longer than a commit, and comes
//! rarely, is not worth more than a thread: opening, closing, loading.
//!
//! Failure: if the call panics, so does the task that waits for it.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::thread::{self, Builder};

use crate::error::{Error, Result};
use crate::sync::{Rank, Ranked, lock};

/// What a task and the thread that works for it share.
struct Shared<T> {
    outcome: Option<thread::Result<Result<T>>>,
    waker: Option<Waker>,
}

/// Runs `call` on a thread of its own, from the first poll on, and waits for it without blocking.
/// If the task loses interest, the call goes on and its result is dropped.
pub(in crate::api) async fn on_own_thread<T: Send + 'static>(
    call: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let shared = Arc::new(Ranked::new(Rank::Leaf, Shared { outcome: None, waker: None }));
    let theirs = shared.clone();
    let work = move || {
        let outcome = catch_unwind(AssertUnwindSafe(call));
        let mut shared = lock(&theirs);
        shared.outcome = Some(outcome);
        let waker = shared.waker.take();
        drop(shared);
        // The task may be polled at once, on this thread.
        drop(theirs);
        waker.into_iter().for_each(Waker::wake);
    };
    Builder::new()
        .name("uarr-call".into())
        .spawn(work)
        .map_err(|error| Error::io("cannot start a thread for the call", error))?;
    let outcome = poll_fn(move |context| {
        // Cloning and dropping a waker is user code: neither happens under the lock.
        let waker = context.waker().clone();
        let mut shared = lock(&shared);
        let outcome = shared.outcome.take();
        let stale = shared.waker.replace(waker);
        drop(shared);
        drop(stale);
        outcome.map_or(Poll::Pending, Poll::Ready)
    });
    outcome.await.unwrap_or_else(|payload| resume_unwind(payload))
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::{Context, Wake};

    use super::*;

    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait<T>(task: impl Future<Output = T>) -> T {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        let mut task = pin!(task);
        loop {
            if let Poll::Ready(done) = task.as_mut().poll(&mut Context::from_waker(&waker)) {
                return done;
            }
            thread::park();
        }
    }

    #[test]
    fn a_call_runs_elsewhere_and_its_result_comes_back() {
        let (caller, ran) = (thread::current().id(), thread::current);
        let ran = wait(on_own_thread(move || Ok(ran().id()))).unwrap();
        assert_ne!(ran, caller);
        let failed: Result<()> = wait(on_own_thread(|| Err(Error::invalid("a test"))));
        assert_eq!(failed.unwrap_err().to_string(), "a test");
    }

    #[test]
    fn a_call_that_panics_panics_in_its_task() {
        let call = || -> Result<()> { resume_unwind(Box::new("a test")) };
        assert!(catch_unwind(|| wait(on_own_thread(call))).is_err());
    }

    #[test]
    fn a_call_begins_with_the_first_poll_and_outlives_its_task() {
        let (begun, begins) = mpsc::channel();
        let (ended, ends) = mpsc::channel::<()>();
        let mut task = Box::pin(on_own_thread(move || {
            begun.send(()).expect("the test waits");
            ends.recv().expect("the test lets it end");
            begun.send(()).expect("the test waits");
            Ok(())
        }));
        assert!(begins.try_recv().is_err());
        assert!(task.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        begins.recv().unwrap();
        drop(task);
        ended.send(()).unwrap();
        begins.recv().unwrap();
    }
}

//! The background threads of a database: started together, ended together.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{JoinHandle, ThreadId};

use uarr_uring::Storage;

use crate::core::{Core, Task};
use crate::error::{Error, ErrorKind, Result};
use crate::jobs::closing_wait::ClosingWait;
use crate::jobs::keeper::{REST, Step};
use crate::sync::{Rank, Ranked, Signal, lock};

const LOG_THREAD: &str = "uarr-log";

/// What one thread does.
type Job<S> = (&'static str, fn(&Core<S>));

/// The threads of a database.
pub(crate) struct Threads {
    ids: Vec<ThreadId>,
    running: Ranked<Vec<JoinHandle<()>>>,
}

impl Threads {
    /// Starts the keeper, the checkpointer, the mover, the sweeper and the log thread: all of them,
    /// or none and an error.
    pub fn start<S: Storage>(core: &Arc<Core<S>>) -> Result<Self> {
        Self::start_by(core, |name, run| std::thread::Builder::new().name(name.into()).spawn(run))
    }

    fn start_by<S: Storage>(
        core: &Arc<Core<S>>,
        spawn: impl Fn(&str, Box<dyn FnOnce() + Send>) -> io::Result<JoinHandle<()>>,
    ) -> Result<Self> {
        let jobs: [Job<S>; 5] = [
            ("uarr-keeper", Core::keep_space),
            ("uarr-checkpoint", |core| {
                core.repeat(Task::Checkpoint, Core::step_checkpoint);
            }),
            ("uarr-mover", |core| core.repeat(Task::Moves, Core::keep_moving)),
            ("uarr-sweeper", |core| core.repeat(Task::Sweep, Core::step_sweep)),
            (LOG_THREAD, |core| core.committer.keep_log()),
        ];
        let mut threads = Self { ids: Vec::new(), running: Ranked::new(Rank::Leaf, Vec::new()) };
        for (name, job) in jobs.into_iter().filter(|_| core.options().background) {
            let shared = core.clone();
            match spawn(name, Box::new(move || watch(&shared, name, job))) {
                Ok(thread) => {
                    threads.ids.push(thread.thread().id());
                    lock(&threads.running).push(thread);
                }
                Err(error) => {
                    core.committer.begin_closing();
                    threads.stop(core);
                    return Err(Error::io(format!("cannot start thread {name}"), error));
                }
            }
        }
        Ok(threads)
    }

    /// Forgets the threads, in a process forked from theirs. Takes no lock.
    pub fn forget(&mut self) {
        let running = self.running.get_mut();
        std::mem::forget(std::mem::take(running));
    }

    /// True if the calling thread is one of them.
    pub fn include_caller(&self) -> bool {
        self.ids.contains(&std::thread::current().id())
    }

    /// Waits for the threads, which end because the database is closing. If one of them calls this
    /// from a waker, it does not wait for itself, nor for one that waits for it in turn: these end
    /// when their wakers return.
    pub fn stop<S: Storage>(&self, core: &Core<S>) {
        assert!(core.committer.health.is_closing(), "threads end only then");
        core.committer.keeper.raise();
        core.committer.checkpointer.raise();
        core.committer.mover.raise();
        core.committer.sweeper.raise();
        let threads = std::mem::take(&mut *lock(&self.running));
        let (_wait, awaited) = ClosingWait::begin(threads.iter().map(|one| one.thread().id()));
        for thread in threads.into_iter().filter(|one| awaited.contains(&one.thread().id())) {
            // A panic was caught in the thread.
            let _ = thread.join();
        }
    }
}

/// Runs `job`. A panic poisons the database: no thread does that work from then on.
fn watch<S: Storage>(core: &Core<S>, name: &str, job: fn(&Core<S>)) {
    let poison = || {
        core.committer.poison_by(&Error::new(
            ErrorKind::Io,
            format!("the background thread {name} panicked"),
        ));
    };
    core.committer.adopt_thread();
    // Runs on, to wake tasks for threads that may not run wakers, until the database is closed.
    for _ in 0..2 {
        if catch_unwind(AssertUnwindSafe(|| job(core))).is_ok() {
            break;
        }
        poison();
    }
    match name {
        LOG_THREAD => core.committer.end_log_thread(),
        _ => core.committer.run_due_wakes(),
    }
}

impl<S: Storage> Core<S> {
    fn signal_of(&self, task: Task) -> &Signal {
        match task {
            Task::Space => &self.committer.keeper,
            Task::Checkpoint => &self.committer.checkpointer,
            Task::Moves => &self.committer.mover,
            Task::Sweep => &self.committer.sweeper,
        }
    }

    /// Repeats `step` of `task`, resting on its signal when there is nothing to do.
    #[expect(clippy::disallowed_methods, reason = "background threads rest by the real clock")]
    pub fn repeat(&self, task: Task, step: impl Fn(&Self) -> Result<Step>) {
        let signal = self.signal_of(task);
        #[cfg(feature = "tracing")]
        let mut seen = self.seen_at_opening();
        while !self.committer.health.is_closing() {
            let done = step(self);
            self.note_step(task, &done);
            #[cfg(feature = "tracing")]
            if task == Task::Space {
                seen.compare(&self.path, self.look());
            }
            match done {
                Ok(Step::More) => {}
                Ok(Step::Leisure(rest)) => std::thread::sleep(rest),
                Ok(Step::Idle) | Err(_) => signal.wait(REST),
            }
        }
    }

    /// As nothing had happened yet: much may before the keeper has its first look.
    #[cfg(feature = "tracing")]
    fn seen_at_opening(&self) -> crate::trace::Seen {
        let segment = &self.committer.counters.first_segment;
        crate::trace::Seen {
            segment: segment.load(std::sync::atomic::Ordering::Relaxed),
            ..crate::trace::Seen::default()
        }
    }

    /// What has happened under locks, for the log.
    #[cfg(feature = "tracing")]
    fn look(&self) -> crate::trace::Seen {
        use std::sync::atomic::Ordering;
        let counters = &self.committer.counters;
        let slowest_ns = counters.slowest_ns.swap(0, Ordering::Relaxed);
        crate::trace::Seen {
            segment: self.committer.log_end().segment,
            poison: self.committer.health.poison(),
            slow_count: counters.slow_count.swap(0, Ordering::Relaxed),
            slowest: std::time::Duration::from_nanos(slowest_ns),
        }
    }

    /// A writer gets the lack of room itself, a failed flush has poisoned the database; `stats`
    /// shows the rest until a later attempt of the same task succeeds.
    fn note_step(&self, task: Task, done: &Result<Step>) {
        let mut errors = lock(&self.background_errors);
        match done {
            Ok(Step::More) => drop(errors.remove(&task)),
            Ok(Step::Leisure(_) | Step::Idle) => {}
            Err(error) => drop(errors.insert(task, error.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use uarr_disk_sim::Memory;

    use super::*;
    use crate::commit::wakes::{Place, Wakes};

    fn open(disk: &Memory) -> Result<Arc<Core<Memory>>> {
        crate::recovery::open::open_small(disk.clone()).map(Arc::new)
    }

    #[test]
    fn a_thread_that_cannot_be_started_leaves_none_and_no_lock() {
        let disk = Memory::new();
        for count in 0..5 {
            let core = open(&disk).unwrap();
            let left = AtomicUsize::new(count);
            let started = Threads::start_by(&core, |_, run| {
                match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                {
                    Ok(_) => Ok(std::thread::spawn(run)),
                    Err(_) => Err(io::ErrorKind::WouldBlock.into()),
                }
            });
            assert!(started.is_err_and(|error| error.to_string().contains("thread uarr-")));
            assert_eq!(Arc::strong_count(&core), 1, "{count} threads were started and have ended");
        }
        let core = open(&disk).unwrap();
        let threads = Threads::start(&core).unwrap();
        assert_eq!(threads.ids.len(), 5);
        core.committer.begin_closing();
        threads.stop(&core);
    }

    #[test]
    fn what_failed_is_shown_until_it_succeeds_whatever_others_do() {
        let core = open(&Memory::new()).unwrap();
        let failed = Err(Error::invalid("a test".to_owned()));
        core.note_step(Task::Checkpoint, &failed);
        core.note_step(Task::Space, &Ok(Step::More));
        core.note_step(Task::Checkpoint, &Ok(Step::Idle));
        assert!(core.stats().background_error.is_some());
        core.note_step(Task::Checkpoint, &Ok(Step::More));
        assert!(core.stats().background_error.is_none());
    }

    struct Tells(std::sync::mpsc::Sender<()>);

    impl std::task::Wake for Tells {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(());
        }
    }

    /// A thread that led hands wakers on when the log thread has ended already.
    #[test]
    fn who_is_woken_late_is_woken_all_the_same() {
        let core = open(&Memory::new()).unwrap();
        let threads = Threads::start(&core).unwrap();
        core.committer.begin_closing();
        threads.stop(&core);
        let (sender, woken) = std::sync::mpsc::channel();
        let mut wakes = Wakes::new(Place::LogThread);
        wakes.push(Some(Arc::new(Tells(sender)).into()));
        core.committer.hand_on(&mut wakes);
        woken.recv().unwrap();
    }

    #[test]
    fn a_thread_that_panics_poisons_the_database() {
        let core = open(&Memory::new()).unwrap();
        watch(&core, "uarr-test", |_| std::panic::resume_unwind(Box::new("a test")));
        let poison = core.committer.health.poison().expect("the database is poisoned");
        assert!(poison.to_string().contains("uarr-test"), "{poison}");
        assert!(core.committer.sync().is_err());
    }
}

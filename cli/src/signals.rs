//! Ctrl-C, SIGTERM and SIGHUP: what a command does before a signal ends it, and how the shell goes
//! on behind one.
//!
//! 1. A command that has something to lose says what to do ([`before_end`]). The first that does so
//!    starts the thread that waits for signals; other commands end by a signal as any program does.
//! 2. At the first signal that thread does it all, for at most [`PATIENCE`].
//! 3. Then it ends the process by that signal, so a shell sees 128 and its number.
//!
//! A second signal ends the process at once. A signal that was ignored when the command began (as
//! `nohup` has it) still is.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{flag, low_level};

use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::output::{Form, warn};

/// How long the end may be held up: a device that does not answer is no reason to stay for ever.
const PATIENCE: Duration = Duration::from_secs(10);
const SIGNALS: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

type Action = Box<dyn FnOnce() + Send>;

/// What is to be done before a signal ends the command, with numbers to find it by.
struct Pending {
    actions: Vec<(u64, Action)>,
    next: u64,
    /// For whom warnings are printed.
    form: Form,
}

static PENDING: Mutex<Pending> =
    Mutex::new(Pending { actions: Vec::new(), next: 0, form: Form::Text });
/// A signal is about to end the process.
static ENDS: AtomicBool = AtomicBool::new(false);
/// Ctrl-C ends what the shell does, and not the shell.
static CANCELS: AtomicBool = AtomicBool::new(false);
/// What the shell does is to end.
static CANCELLED: AtomicBool = AtomicBool::new(false);

fn pending() -> MutexGuard<'static, Pending> {
    // Each change is complete before a panic is possible.
    PENDING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the action back when it is dropped.
#[must_use = "dropping it takes the action back"]
pub struct BeforeEnd(u64);

impl Drop for BeforeEnd {
    fn drop(&mut self) {
        let mut pending = pending();
        let taken = pending.actions.iter().position(|(number, _)| *number == self.0);
        let taken = taken.map(|at| pending.actions.swap_remove(at));
        // What it holds, such as a database, is dropped without the lock.
        drop(pending);
        drop(taken);
    }
}

/// Has a signal do `action` before it ends the process.
pub fn before_end(form: Form, action: impl FnOnce() + Send + 'static) -> BeforeEnd {
    static IS_WATCHED: OnceLock<()> = OnceLock::new();
    IS_WATCHED.get_or_init(|| {
        if let Err(error) = watch() {
            let lost = "one may lose what is not durable yet";
            warn(form, &format!("cannot wait for signals ({error}): {lost}"));
        }
    });
    let mut pending = pending();
    pending.form = form;
    let number = pending.next;
    pending.next += 1;
    pending.actions.push((number, Box::new(action)));
    BeforeEnd(number)
}

/// For the end of `main`: a process that a signal is about to end reports nothing more.
pub fn stay_if_ending() {
    while ENDS.load(Ordering::SeqCst) {
        thread::park();
    }
}

/// From now on Ctrl-C ends what the shell does. A second one before [`begin`] ends the shell.
pub fn cancel_by_interrupt() {
    CANCELS.store(true, Ordering::SeqCst);
}

/// What the shell does begins: no earlier Ctrl-C was meant for it.
pub fn begin() {
    CANCELLED.store(false, Ordering::SeqCst);
}

/// For loops over many records: fails if Ctrl-C was meant to end them.
#[inline]
pub fn check() -> Result<()> {
    match CANCELLED.load(Ordering::Relaxed) {
        true => Err(Failure::new(Exit::Io, "interrupted", "interrupted").into()),
        false => Ok(()),
    }
}

fn watch() -> io::Result<()> {
    let ignored = ignored_signals();
    let wanted = SIGNALS.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let wanted: Vec<_> = wanted.collect();
    let is_second = Arc::new(AtomicBool::new(false));
    for signal in &wanted {
        flag::register_conditional_default(*signal, is_second.clone())?;
    }
    let mut signals = Signals::new(&wanted)?;
    thread::Builder::new().name("uarr-signals".into()).spawn(move || {
        for signal in signals.forever() {
            let cancels = signal == SIGINT && CANCELS.load(Ordering::SeqCst);
            if cancels && !CANCELLED.swap(true, Ordering::SeqCst) {
                continue;
            }
            is_second.store(true, Ordering::SeqCst);
            end(signal);
        }
    })?;
    Ok(())
}

/// Does what is to be done, and ends the process.
fn end(signal: i32) {
    ENDS.store(true, Ordering::SeqCst);
    let (actions, form) = {
        let mut pending = pending();
        (std::mem::take(&mut pending.actions), pending.form)
    };
    let (done, is_done) = mpsc::channel::<()>();
    let doing = thread::Builder::new().spawn(move || {
        actions.into_iter().for_each(|(_, action)| action());
        drop(done);
    });
    let in_time = is_done.recv_timeout(PATIENCE) != Err(mpsc::RecvTimeoutError::Timeout);
    if doing.is_err() || !in_time {
        let what = "interrupted, and the device did not answer in time";
        warn(form, &format!("{what}: what was not durable may be lost"));
    }
    // It fails for signals that end no process, which these do.
    let _ = low_level::emulate_default_handler(signal);
}

/// The signals that this process ignores, a bit each; none if the kernel does not say.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_taken_back() {
        let held = Arc::new(());
        let (one, other) = (held.clone(), held.clone());
        let first = before_end(Form::Text, move || drop(one));
        let second = before_end(Form::Text, move || drop(other));
        assert_eq!(Arc::strong_count(&held), 3);
        drop(first);
        assert_eq!(Arc::strong_count(&held), 2);
        drop(second);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}

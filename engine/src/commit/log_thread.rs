//! The log thread: writes groups that no caller leads, and wakes tasks for others.

use std::time::Duration;

use uarr_uring::Storage;

use crate::commit::committer::Committer;
use crate::commit::lead::Stint;
use crate::commit::wakes::Wakes;
use crate::options::Durability;
use crate::sync::{Rank, holds_only, lock};

impl<S: Storage> Committer<S> {
    /// Writes groups that no caller leads, and wakes tasks for threads that may not run wakers,
    /// until it is stopped.
    pub fn keep_log(&self) {
        let mut wakes = Wakes::default();
        let interval = match self.options.durability {
            Durability::Interval(interval) => interval,
            _ => Duration::MAX,
        };
        let mut staging = lock(&self.staging);
        let mut deadline = None;
        while !self.health.is_closing() {
            if !staging.due_wakes.is_empty() {
                wakes.take_all(&mut staging.due_wakes);
                self.leave_log(&mut staging);
                drop(staging);
                wakes.run();
                staging = lock(&self.staging);
                assert!(staging.log_thread_is_out, "no other thread calls it back");
                staging.log_thread_is_out = false;
                continue;
            }
            let now = self.storage.now();
            let due = *deadline.get_or_insert_with(|| now.saturating_add(interval));
            let is_urgent = self.has_urgent_group(&staging);
            // A thread that leads already goes on to the next group, or wakes this one for it.
            let is_due = is_urgent || (staging.has_work() && now >= due);
            if is_due && let Some(lead) = staging.take_lead() {
                // Full groups are older than the open one: its time runs out with theirs.
                if !is_urgent && staging.sealed.is_empty() {
                    deadline = None;
                }
                drop(staging);
                // A failure poisons the database: writers and `sync` report it.
                self.lead(lead, Stint::Backlog, &mut wakes);
                staging = lock(&self.staging);
                wakes.hand_to(&mut staging.due_wakes);
                continue;
            }
            assert!(!staging.log_thread_rests, "there is one log thread");
            assert!(holds_only(&[Rank::Staging]), "writers need what it held");
            staging.log_thread_rests = true;
            staging = if staging.has_work() && !staging.is_led() {
                crate::sync::wait_for(&self.log_work, staging, due - now)
            } else {
                deadline = None;
                crate::sync::wait(&self.log_work, staging)
            };
            staging.log_thread_rests = false;
        }
    }
}

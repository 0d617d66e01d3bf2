//! Replay of the log: one thread reads groups and checks them while another applies those before,
//! so that opening waits for the slower of the two, and not for both.
//!
//! Groups are handed over as copies, some at a time. Databases without threads of their own read
//! and apply in turn.

use std::mem;
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use uarr_layout::group::GroupHeader;
use uarr_layout::superblock::Superblock;
use uarr_uring::Storage;

use crate::error::{Error, ErrorKind, Result};
use crate::log::position::LogPosition;
use crate::log::reader::{LoggedGroup, Next, ReadEnd};
use crate::recovery::replay::Replay;
use crate::recovery::tail::LogSource;

const READER_THREAD: &str = "uarr-log-reader";
/// Groups are handed over when they have so many bytes.
const COPIES_BYTES: usize = 256 << 10;
/// So many times that may be read ahead.
const COPIES_COUNT_MAX: usize = 4;
/// For a shorter log no thread is worth while.
const LOG_BYTES_MIN: u64 = 1 << 20;

/// The log behind a checkpoint, up to where [`crate::recovery::tail::read_log`] found it to end.
pub(crate) struct FoundLogSource<'a, S: Storage> {
    pub source: &'a LogSource<'a, S>,
    pub root: &'a Superblock,
    pub end: LogPosition,
    /// How long it is.
    pub bytes: u64,
}

/// Copies of groups that follow each other.
#[derive(Default)]
struct GroupCopies {
    bodies: Vec<u8>,
    groups: Vec<(GroupHeader, Range<usize>, LogPosition)>,
}

impl GroupCopies {
    fn push(&mut self, group: &LoggedGroup<'_>) {
        let start = self.bodies.len();
        self.bodies.extend_from_slice(group.body);
        self.groups.push((group.header.clone(), start..self.bodies.len(), group.end));
    }

    fn groups(&self) -> impl Iterator<Item = LoggedGroup<'_>> {
        self.groups.iter().map(|(header, range, end)| LoggedGroup {
            header: header.clone(),
            body: &self.bodies[range.clone()],
            end: *end,
        })
    }

    fn clear(&mut self) {
        self.bodies.clear();
        self.groups.clear();
    }
}

/// Applies `log`. With `has_threads` another thread may read it.
pub(crate) fn replay_log<S: Storage>(
    log: &FoundLogSource<'_, S>,
    replay: &mut Replay<S>,
    has_threads: bool,
) -> Result<()> {
    if !has_threads || log.bytes < LOG_BYTES_MIN {
        return each_group(log, |group| replay.apply_group(group));
    }
    let (full, copies) = sync_channel(COPIES_COUNT_MAX);
    let (spent, empty) = channel();
    thread::scope(|scope| {
        let reader = thread::Builder::new().name(READER_THREAD.into());
        match reader.spawn_scoped(scope, move || read_copies(log, &full, &empty)) {
            Ok(_) => {
                let end = apply_copies(replay, copies, &spent)?;
                assert_eq!(end, Some(log.end), "the reader sends all of it, or an error");
                Ok(())
            }
            // The process has reached its limit of threads. Opening fails later if the engine's own
            // threads cannot be started either.
            Err(_) => each_group(log, |group| replay.apply_group(group)),
        }
    })
}

/// Gives `each` the groups of `log`.
fn each_group<S: Storage>(
    log: &FoundLogSource<'_, S>,
    mut each: impl FnMut(&LoggedGroup<'_>) -> Result<()>,
) -> Result<()> {
    let FoundLogSource { source, root, end, .. } = *log;
    let mut reader = source.reader(root);
    while reader.position().lsn < end.lsn {
        match reader.next()? {
            Next::Group(group) => each(&group)?,
            Next::End(ReadEnd { position, .. }) => {
                return Err(position.behind().damage("it changed while the database was opened"));
            }
        }
    }
    assert_eq!(reader.position(), end, "the same log ends where it ended before");
    Ok(())
}

/// Reads `log` and sends copies of its groups, or an error. Ends early when the receiver is gone.
fn read_copies<S: Storage>(
    log: &FoundLogSource<'_, S>,
    full: &SyncSender<Result<GroupCopies>>,
    empty: &Receiver<GroupCopies>,
) {
    let mut copied = GroupCopies::default();
    let read = each_group(log, |group| {
        copied.push(group);
        if copied.bodies.len() < COPIES_BYTES {
            return Ok(());
        }
        let next = empty.try_recv().unwrap_or_default();
        let sent = full.send(Ok(mem::replace(&mut copied, next)));
        sent.map_err(|_| Error::new(ErrorKind::Io, "replay has ended with an error of its own"))
    });
    // What was read before an error is applied before it. If the receiver is gone, its own error
    // counts.
    let _ = full.send(Ok(copied));
    if let Err(error) = read {
        let _ = full.send(Err(error));
    }
}

/// Applies the groups it receives, and returns the end of the last one. It takes the receiver: when
/// it ends with an error, the reader must not wait for room.
fn apply_copies<S: Storage>(
    replay: &mut Replay<S>,
    copies: Receiver<Result<GroupCopies>>,
    spent: &Sender<GroupCopies>,
) -> Result<Option<LogPosition>> {
    let mut end: Option<LogPosition> = None;
    for copied in copies {
        let mut copied = copied?;
        for group in copied.groups() {
            let follows = |end: LogPosition| group.header.previous_lsn.get() == end.lsn;
            assert!(end.is_none_or(follows), "no group is left out, and none comes twice");
            replay.apply_group(&group)?;
            end = Some(group.end);
        }
        copied.clear();
        // The reader may have ended.
        let _ = spent.send(copied);
    }
    Ok(end)
}

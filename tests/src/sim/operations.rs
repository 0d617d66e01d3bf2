//! What users do to a database, and what happens around it meanwhile.
//!
//! An operation does its work, notes it in the model, and checks at once what it can. It returns
//! an error of the engine unchanged: `life` judges it.

use std::ops::Bound;
use std::time::Duration;

use uarr::{Db, ErrorKind, KeyKind, WriteOptions};
use uarr_disk_sim::{Fault, FaultKind, Memory};
use uarr_uring::Storage;

use super::altered;
use super::clock::{Presence, seen};
use super::conditional;
use super::expire;
use super::kept::Kept;
use super::menu::Act;
use super::model::{Change, Done, get, number};
use super::plan::Faults;
use super::records;
use super::run::Run;
use super::tables::{Handles, WITNESS, drop_table};
use super::transacted;
use super::write::{write, write_with};
use crate::violation::Violation;

/// Does `act`.
pub(super) fn perform<'a>(
    act: Act,
    run: &mut Run,
    handles: &'a Handles,
    kept: &mut Kept<'a>,
) -> Done {
    let db = handles.newest();
    match act {
        Act::Put => put(run, db),
        Act::DurablePut => durable_put(run, db),
        Act::Delete => delete(run, db),
        Act::Batch => batch(run, db),
        Act::LargeBatch => large_batch(run, db),
        Act::PutRecord => put_record(run, db),
        Act::Patch => patch(run, db),
        Act::Conditional => conditional::put(run, db),
        Act::Count => conditional::count(run, db),
        Act::Transact => transacted::transact(run, db),
        Act::Expire => expire::expire(run, db),
        Act::Ingest => ingest(run, db),
        Act::Sync => sync(run, db),
        Act::Checkpoint => checkpoint(run, db),
        Act::Step => step(run, db),
        Act::Get => look_up(run, db),
        Act::Range => range(run, db),
        Act::Compact => compact(run, db),
        Act::Hold => kept.hold(run, db),
        Act::Look => {
            kept.look(run, db);
            Ok(())
        }
        Act::DropTable => drop_table(run, handles),
        Act::AlterTable => altered::alter(run, handles),
        Act::ClockJump => clock_jump(run, db),
        Act::Fault => fault(run, db),
        Act::FullDisk => full_disk(run, db),
        Act::SecondOpener => second_opener(run, db),
    }
}

fn put(run: &mut Run, db: &Db<Memory>) -> Done {
    let change = run.put();
    write(run, db, vec![change])
}

fn durable_put(run: &mut Run, db: &Db<Memory>) -> Done {
    let change = run.put();
    write_with(run, db, vec![change], WriteOptions::new().durable())
}

fn delete(run: &mut Run, db: &Db<Memory>) -> Done {
    let change = Change::delete(run.key());
    write(run, db, vec![change])
}

fn batch(run: &mut Run, db: &Db<Memory>) -> Done {
    let count = 2 + run.plan.random.below(5);
    let changes = changes(run, count);
    write(run, db, changes)
}

fn large_batch(run: &mut Run, db: &Db<Memory>) -> Done {
    let count = 20 + run.plan.random.below(40);
    let changes = changes(run, count);
    write(run, db, changes)
}

/// A UArr record with a filler as long as the run's values.
fn put_record(run: &mut Run, db: &Db<Memory>) -> Done {
    let change = run.put_record();
    write(run, db, vec![change])
}

/// A patch of anything: it fits, or changes nothing.
fn patch(run: &mut Run, db: &Db<Memory>) -> Done {
    let key = run.key();
    let patch = records::patch(&mut run.plan.random);
    let old = run.model.live.get(&key);
    let fits = old.map(|(old, _)| Change::patch(key.clone(), patch.clone(), old));
    if let Some(Some(change)) = &fits {
        run.model.begin(vec![change.clone()]);
    }
    let done = match db.key_kind() {
        KeyKind::Bytes => db.patch(&key, &patch),
        _ => db.patch(number(&key), &patch),
    };
    match (done, fits) {
        (Ok(commit), Some(Some(_))) => Ok(run.model.acknowledge(commit.lsn, commit.is_durable)?),
        (Err(error), Some(Some(_))) if error.kind() == ErrorKind::NoSpace => {
            run.model.refuse();
            Ok(())
        }
        (Err(error), None) if error.kind() == ErrorKind::KeyNotFound => Ok(()),
        (Err(error), Some(None)) if error.kind() == ErrorKind::InvalidArgument => Ok(()),
        (Err(error), _) => Err(error.into()),
        (Ok(_), _) => {
            let text = format!("key {key:?} was patched, but the patch does not fit its value");
            Err(Violation(text).into())
        }
    }
}

/// Several pieces, several groups in flight; any number of the records may be there if it fails.
fn ingest(run: &mut Run, db: &Db<Memory>) -> Done {
    let count = 1 + run.plan.random.below(run.plan.ingest_count_max);
    let records: Vec<_> = (0..count).map(|_| run.put()).collect();
    let pair = |change: &Change| (change.key.clone(), change.value.clone().unwrap_or_default());
    let pairs: Vec<_> = records.iter().map(pair).collect();
    run.model.begin_all(records.into_iter().map(|record| vec![record]));
    let ingested = match db.key_kind() {
        KeyKind::Bytes => db.ingest(pairs)?,
        _ => db.ingest(pairs.into_iter().map(|(key, value)| (number(&key), value)))?,
    };
    if ingested != count {
        return Err(Violation(format!("{ingested} of {count} records were ingested")).into());
    }
    run.model.ingested();
    Ok(())
}

/// Puts, deletes and patches, each of what the ones before it have made of its key.
fn changes(run: &mut Run, count: u64) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for _ in 0..count {
        let change = match run.plan.random.below(8) {
            0 | 1 => Change::delete(run.key()),
            2 | 3 => patch_after(run, &changes).unwrap_or_else(|| run.put()),
            4 => run.put_record(),
            _ => run.put(),
        };
        changes.push(change);
    }
    changes
}

/// A patch that fits what `changes` have made of a key.
fn patch_after(run: &mut Run, changes: &[Change]) -> Option<Change> {
    let key = run.key();
    let patch = records::patch(&mut run.plan.random);
    let last = changes.iter().rfind(|change| change.key == key);
    let present = match last {
        Some(change) => change.value.as_ref(),
        None => run.model.live.get(&key).map(|(value, _)| value),
    };
    Change::patch(key, patch, present?)
}

fn sync(run: &mut Run, db: &Db<Memory>) -> Done {
    db.sync()?;
    run.model.all_durable();
    Ok(())
}

fn checkpoint(run: &mut Run, db: &Db<Memory>) -> Done {
    let earliest = run.clock.earliest();
    match db.checkpoint() {
        Ok(()) => {
            run.model.all_durable();
            if !run.is_illegal() {
                run.clock.note_durable(earliest);
            }
        }
        Err(error) if error.kind() == ErrorKind::NoSpace => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn step(_run: &mut Run, db: &Db<Memory>) -> Done {
    match db.step() {
        Err(error) if error.kind() != ErrorKind::NoSpace => Err(error.into()),
        _ => Ok(()),
    }
}

fn compact(run: &mut Run, db: &Db<Memory>) -> Done {
    match db.compact() {
        Ok(_) => run.model.all_durable(),
        Err(error) if error.kind() == ErrorKind::NoSpace => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn look_up(run: &mut Run, db: &Db<Memory>) -> Done {
    let key = run.key();
    let found = get(db, &key)?;
    let found = found.map(|record| (record.bytes().to_vec(), record.version()));
    match (run.model.live.get(&key), found) {
        (None, None) => Ok(()),
        (Some((value, lsn)), Some((bytes, version)))
            if *value == bytes && (*lsn == 0 || *lsn == version) =>
        {
            Ok(())
        }
        (expected, found) => {
            let (expected, found) = (expected.map(|e| e.1), found.map(|f| f.1));
            let text = format!("key {key:?}: expected LSN {expected:?}, found LSN {found:?}");
            Err(Violation(text).into())
        }
    }
}

fn range(run: &mut Run, db: &Db<Memory>) -> Done {
    let (mut low, mut high) = (run.key(), run.key());
    if low > high {
        (low, high) = (high, low);
    }
    if run.plan.is_unordered {
        return walk_unordered(run, db, low);
    }
    let walk = match db.key_kind() {
        KeyKind::Bytes => db.range(low.clone()..high.clone())?,
        _ => db.range(number(&low)..number(&high))?,
    };
    let bounds = (Bound::Included(low), Bound::Excluded(high.clone()));
    let is_empty = bounds.0 == Bound::Included(high);
    let live = if is_empty { Default::default() } else { run.model.live.clone() };
    let mut expected = live
        .into_iter()
        .filter(|(key, _)| std::ops::RangeBounds::contains(&bounds, key))
        .map(|(key, (value, _))| (key, value));
    for record in walk {
        let record = record?;
        if expected.next() != Some((record.key().to_vec(), seen(&record))) {
            let text = format!("a range has another record at {:?}", record.key());
            return Err(Violation(text).into());
        }
    }
    match expected.next() {
        Some((key, _)) => Err(Violation(format!("a range lacks key {key:?}")).into()),
        None => Ok(()),
    }
}

/// In a table without order: a range is refused, and a walk finds all.
fn walk_unordered(run: &mut Run, db: &Db<Memory>, low: Vec<u8>) -> Done {
    match db.range(low..) {
        Err(error) if error.kind() == ErrorKind::InvalidArgument => {}
        Err(error) => return Err(error.into()),
        Ok(_) => return Err(Violation("a table without order has a range".into()).into()),
    }
    let mut left = run.model.live.clone();
    left.remove(WITNESS);
    let before = run.clock;
    for record in db.iter() {
        let record = record?;
        if left.remove(record.key()).map(|(value, _)| value) != Some(seen(&record)) {
            let text = format!("a walk has another record at {:?}", record.key());
            return Err(Violation(text).into());
        }
    }
    run.clock.look(&run.disk);
    // What has expired may be missing.
    let clock = before.until(&run.clock);
    left.retain(|key, (value, _)| clock.judge(key, value) == Presence::There);
    match left.pop_first() {
        Some((key, _)) => Err(Violation(format!("a walk lacks key {key:?}")).into()),
        None => Ok(()),
    }
}

fn clock_jump(run: &mut Run, _db: &Db<Memory>) -> Done {
    let days = run.plan.random.below(2000) as i64 - 1000;
    run.clock.jump(&run.disk, |disk| disk.shift_wall_ns(days * 86_400_000_000_000));
    let ms = run.plan.random.below(300);
    run.clock.advance(&run.disk, ms, |disk| disk.advance(Duration::from_millis(ms)));
    Ok(())
}

/// The device fails once, for a while, or from some moment on.
fn fault(run: &mut Run, db: &Db<Memory>) -> Done {
    if run.plan.refuses_groups {
        let nth = 1 + run.plan.random.below(3);
        run.disk.fail(Fault::new(FaultKind::LogRefused, nth).errno(libc::ENOSPC));
        if nth == 1 {
            // The places of its records stay empty, and nothing is written behind them.
            large_batch(run, db)?;
            return checkpoint(run, db);
        }
        return Ok(());
    }
    if run.plan.faults == Faults::Legal {
        let fault = run.fault(40);
        let fault = match run.plan.random.below(4) {
            0 => fault.lasting(),
            1 => fault.times(1 + run.plan.random.below(5)),
            _ => fault,
        };
        run.disk.fail(fault);
    }
    Ok(())
}

/// The device is nearly full, or there is room again.
fn full_disk(run: &mut Run, _db: &Db<Memory>) -> Done {
    let quarter = run.plan.random.below(4).checked_sub(1);
    run.disk.set_capacity(quarter.map(|quarter| run.disk.used_bytes() + quarter * (1 << 17)));
    Ok(())
}

/// Another opener finds the database locked, even if the lock file was removed.
fn second_opener(run: &mut Run, _db: &Db<Memory>) -> Done {
    if run.plan.random.below(2) == 0 {
        // It may fail, as other calls do.
        let _ = run.disk.remove("lock");
    }
    let may_fail = run.disk.has_faults();
    match run.plan.builder().open_on(run.disk.clone()) {
        Ok(_) => Err(Violation("a second opener got in".into()).into()),
        Err(error) if error.kind() == ErrorKind::Locked => Ok(()),
        Err(error) if may_fail && is_fault(&error) => Ok(()),
        Err(error) => {
            Err(Violation(format!("a second opener got past the lock: {error:?}")).into())
        }
    }
}

/// Whether `error` can come from a fault of the device.
pub(super) fn is_fault(error: &uarr::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Io | ErrorKind::NoSpace | ErrorKind::PermissionDenied | ErrorKind::Poisoned
    )
}

type Write = fn(&Db<Memory>) -> uarr::Result<()>;

/// Every way to write, and to make what was written durable.
const WRITES: &[Write] = &[
    |db| put_zeros(db, WriteOptions::new()),
    |db| put_zeros(db, WriteOptions::new().durable()),
    |db| match db.key_kind() {
        KeyKind::Bytes => db.delete("key-").map(drop),
        _ => db.delete(0u64).map(drop),
    },
    |db| match db.key_kind() {
        KeyKind::Bytes => db.ingest([("key-", "")]).map(drop),
        _ => db.ingest([(0u64, "")]).map(drop),
    },
    |db| db.sync(),
    |db| db.checkpoint(),
    |db| db.compact().map(drop),
];

fn put_zeros(db: &Db<Memory>, options: WriteOptions) -> uarr::Result<()> {
    match db.key_kind() {
        KeyKind::Bytes => db.with(options).put("key-", [0; 100]).map(drop),
        _ => db.with(options).put(0u64, [0; 100]).map(drop),
    }
}

impl Run {
    /// After a failure: if the database takes no more writes, then it takes none of any kind, and
    /// reads go on.
    pub(super) fn check_poison(&mut self, db: &Db<Memory>) -> Done {
        match db.checkpoint() {
            Ok(()) => self.model.all_durable(),
            Err(error) if error.kind() == ErrorKind::Poisoned => {
                for (index, write) in WRITES.iter().enumerate() {
                    let kind = write(db).map_err(|error| error.kind());
                    if kind != Err(ErrorKind::Poisoned) {
                        let text = format!("write {index} on a poisoned database: {kind:?}");
                        return Err(Violation(text).into());
                    }
                }
                let key = self.key();
                get(db, &key)?;
            }
            Err(_) => {}
        }
        Ok(())
    }

    /// A fault of some kind, at one of the next `range` calls.
    pub(super) fn fault(&mut self, range: u64) -> Fault {
        const ERRNOS: [i32; 7] = [
            libc::EIO,
            libc::EIO,
            libc::ENOSPC,
            libc::EDQUOT,
            libc::EFBIG,
            libc::ENOMEM,
            libc::EROFS,
        ];
        let errno = ERRNOS[self.plan.random.below(ERRNOS.len() as u64) as usize];
        let kind = self.fault_kind();
        self.write_back_failed |= kind == FaultKind::WriteBack;
        Fault::new(kind, 1 + self.plan.random.below(range)).errno(errno)
    }

    fn fault_kind(&mut self) -> FaultKind {
        let kinds = [
            FaultKind::LogWrite,
            FaultKind::LogFlush,
            FaultKind::Write,
            FaultKind::Allocate,
            FaultKind::Deallocate,
            FaultKind::MakeDurable,
            FaultKind::MakeDirDurable,
            FaultKind::Name,
            FaultKind::Any,
            FaultKind::WriteBack,
            FaultKind::LogAbandoned,
        ];
        kinds[self.plan.random.below(kinds.len() as u64) as usize]
    }

    /// A random key.
    pub(super) fn key(&mut self) -> Vec<u8> {
        let number = self.plan.random.below(self.plan.key_count);
        match self.plan.kind {
            KeyKind::Bytes => {
                format!("key-{}-{number}", "x".repeat(number as usize % 7)).into_bytes()
            }
            _ => number.wrapping_mul(0x0123_4567_89ab_cdef).to_be_bytes().to_vec(),
        }
    }

    /// A random value of a random key.
    pub(super) fn put(&mut self) -> Change {
        let key = self.key();
        Change::put(key, self.filler())
    }

    /// The same as a record.
    fn put_record(&mut self) -> Change {
        let (key, filler) = (self.key(), self.filler());
        Change::put(key, records::record(&mut self.plan.random, &filler))
    }

    pub(super) fn filler(&mut self) -> Vec<u8> {
        let len = self.plan.value_len();
        let byte = self.plan.random.next() as u8;
        (0..len).map(|index| byte.wrapping_add(index as u8)).collect()
    }
}

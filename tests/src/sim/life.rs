//! The run: one life of the database after the other, on what the last death has left.

use uarr::{Db, ErrorKind};
use uarr_disk_sim::{Death, Lie, Memory};
use uarr_uring::{OpenMode, Storage, StorageFile};

use super::altered;
use super::audit::audit;
use super::clock::{Bounds, expires_ms};
use super::kept::Kept;
use super::menu::MENU;
use super::model::{Done, Look, Model, State, Unreadable, contents};
use super::operations::{is_fault, perform};
use super::options::Altered;
use super::plan::{CHUNK_BYTES, Plan};
use super::readers::Readers;
use super::run::{Outcome, Run};
use super::tables::{Handles, WITNESS, table, witness};
use crate::violation::{Checked, Violation, violated};

/// How many other remains of a death are tried, at most, after a life that ended by loss of power.
const FORK_COUNT_MAX: u64 = 5;
/// Openings of one disk that may fail by injected faults or deaths, one after the other.
const OPEN_ATTEMPT_COUNT_MAX: u64 = 6;

/// More than a record takes beside key and value.
const RECORD_OVERHEAD_BYTES: u64 = 128;
/// Chunks that are in use beside those that are full: the open ones, of records written and moved.
const SPARE_CHUNK_COUNT: u64 = 4;

/// How an attempt to open ended.
enum Opened {
    Db(Db<Memory>),
    /// The disk died; its remains have replaced it.
    Died,
    /// An injected fault was hit.
    Failed,
    /// A lie was noticed.
    Detected,
}

pub(super) fn run(plan: Plan, prepare: &dyn Fn(&Memory)) -> Checked<Outcome> {
    let disk = plan.disk();
    // Some file systems give space in units of several places.
    disk.set_space_unit(if plan.seed.is_multiple_of(3) { 4 * CHUNK_BYTES } else { 1 });
    prepare(&disk);
    let (model, outcome) = (Model::default(), Outcome::default());
    let mut run = Run {
        plan,
        disk,
        model,
        clock: Bounds::default(),
        blow_count: 0,
        misplaced_ahead: 0,
        got_around: false,
        write_back_failed: false,
        witness_count: 0,
        altered: Altered::default(),
        default: None,
        look_count: 0,
        outcome,
    };
    for life in 0..run.plan.life_count {
        let last = life + 1 == run.plan.life_count;
        if !run.live(last)? {
            break;
        }
    }
    run.outcome.step_count += run.disk.step_count();
    run.outcome.trace_hash = run.disk.trace_hash();
    Ok(run.outcome)
}

impl Run {
    /// One life. `false`: the run is over.
    fn live(&mut self, last: bool) -> Checked<bool> {
        let mut attempt = 0;
        let db = loop {
            attempt += 1;
            match self.open(attempt < OPEN_ATTEMPT_COUNT_MAX)? {
                Opened::Db(db) => break db,
                Opened::Died => {}
                Opened::Failed => self.die_afterwards(),
                Opened::Detected => return Ok(false),
            }
        };
        let thorough = last || self.below(3) == 0;
        if !self.check(&db, thorough)? {
            return Ok(false);
        }
        if last {
            self.check_space(db)?;
            return Ok(false);
        }
        self.arm();
        self.default = Some(db.clone());
        let handles = Handles::new(db);
        let worked = self.work(&handles);
        let Handles { db, .. } = handles;
        self.default = None;
        if !worked? {
            return Ok(!self.outcome.detected);
        }
        if self.below(4) == 0 {
            self.close(db)?;
        } else {
            self.fork()?;
            // The run continues on a copy, which the old process cannot change.
            self.die_afterwards();
        }
        if self.is_illegal() && self.plan.lies && self.below(3) == 0 {
            self.rot();
        }
        Ok(true)
    }

    fn close(&mut self, db: Db<Memory>) -> Checked<()> {
        self.clock.look(&self.disk);
        let earliest = self.clock.earliest();
        let closed = db.close();
        self.tell(|| format!("close: {closed:?}"));
        match closed {
            Ok(()) => {
                self.model.all_durable();
                if !self.is_illegal() {
                    self.clock.note_durable(earliest);
                }
            }
            Err(error) => self.expect_fault(&error)?,
        }
        match self.disk.remains() {
            Some(remains) => {
                self.bury(remains);
                self.outcome.crash_in_operation_count += 1;
            }
            // The process ends in order, and the machine goes on.
            None if self.below(3) == 0 => {
                let seed = self.plan.random.next();
                let next = self.disk.kill_with(seed);
                self.outcome.step_count += self.disk.step_count();
                self.disk = next;
            }
            None => self.die_afterwards(),
        }
        Ok(())
    }

    /// The next life begins with `remains`.
    fn bury(&mut self, remains: Memory) {
        self.tell(|| "the disk has died".to_owned());
        self.outcome.crash_count += 1;
        self.outcome.step_count += self.disk.step_count();
        self.disk = remains;
    }

    /// The disk dies between two operations.
    fn die_afterwards(&mut self) {
        let seed = self.plan.random.next();
        let (name, remains) = match self.below(6) {
            0 => ("all that is volatile is lost", self.disk.crash()),
            1 | 2 => ("kill", self.disk.kill_with(seed)),
            _ => ("loss of power", self.disk.crash_with(seed)),
        };
        self.tell(|| name.to_owned());
        self.bury(remains);
    }

    /// Makes the disk die at some later call, or lie from some later write on.
    fn arm(&mut self) {
        let (seed, death) = (self.plan.random.next(), self.death());
        let range = [20, 120, 600][self.below(3) as usize];
        let step = 1 + self.below(range);
        if self.below(5) > 0 {
            self.disk.die_at(step, death, seed);
        }
        if self.is_illegal() && self.plan.lies {
            let after = self.below(60);
            match self.below(3) {
                0 => self.disk.lie(Lie::WriteLost { after }),
                1 => self.disk.lie(Lie::WriteMisdirected { after, salt: seed }),
                _ => return,
            }
            self.blow_count += 1;
        }
    }

    fn death(&mut self) -> Death {
        match self.below(3) {
            0 => Death::Kill,
            _ if self.plan.kills_only => Death::Kill,
            _ => Death::PowerLoss,
        }
    }

    /// Opens the database. With `may_fail` the disk may die or fail meanwhile.
    fn open(&mut self, may_fail: bool) -> Checked<Opened> {
        if self.plan.audits {
            // A copy: looking at it changes nothing of what the run goes on with.
            audit(&self.disk.kill_with(0))?;
        }
        self.look_before_opening(&self.disk.clone())?;
        let mut fails = false;
        if may_fail && self.below(3) == 0 {
            let (seed, death) = (self.plan.random.next(), self.death());
            let step = 1 + self.below(80);
            self.disk.die_at(step, death, seed);
        } else if may_fail && !self.is_illegal() && self.below(6) == 0 {
            let fault = self.fault(24);
            self.disk.fail(fault);
            fails = true;
        }
        self.misplaced_ahead = self.disk.misplaced_ahead();
        self.clock.open(&self.disk);
        let opened = self.plan.builder().open_on(self.disk.clone());
        self.tell(|| match &opened {
            Ok(db) => format!("opened {:?}", db.recovery_report()),
            Err(error) => format!("not opened: {error}"),
        });
        if let Some(remains) = self.disk.remains() {
            drop(opened);
            self.bury(remains);
            self.outcome.crash_in_open_count += 1;
            return Ok(Opened::Died);
        }
        match opened {
            Ok(db) => {
                self.disk.forget_faults();
                Ok(Opened::Db(db))
            }
            Err(error) if fails && is_fault(&error) => Ok(Opened::Failed),
            // A write-back had failed before this process began, and the kernel reported it here.
            Err(error) if std::mem::take(&mut self.write_back_failed) && is_fault(&error) => {
                Ok(Opened::Failed)
            }
            Err(error) if self.is_noticed(&error) => Ok(Opened::Detected),
            Err(error) => violated!("cannot be opened: {error:?}"),
        }
    }

    /// Whether `error` is the right answer to a disk that lies.
    fn is_noticed(&mut self, error: &uarr::Error) -> bool {
        let noticed = self.is_illegal() && error.corruption().is_some();
        self.outcome.detected |= noticed;
        noticed
    }

    /// Everything must be there. `false`: a lie was noticed.
    fn check(&mut self, db: &Db<Memory>, thorough: bool) -> Checked<bool> {
        // Opening does not repair what it bypasses: `verify` still lists the image or the log that
        // a lost superblock slot had named.
        self.got_around |= !db.recovery_report().notes.is_empty();
        self.outcome.got_around = self.got_around;
        let before = self.clock;
        let found = match self.contents(db, thorough) {
            Ok(found) => found,
            Err(Unreadable::Failed(error)) if self.is_noticed(&error) => return Ok(false),
            Err(unreadable) => return Err(violation(unreadable)),
        };
        self.clock.look(&self.disk);
        self.clock.note_used(found.iter().any(|(key, (value, _))| expires_ms(key, value) > 0));
        let clock = before.until(&self.clock);
        self.model.recovered(found, self.blow_count, &clock)?;
        // What opening has written belongs to the life that begins: the copy of the log's end, the
        // header in front of the first group, the slot with the next LSN.
        self.blow_count = self.misplaced_ahead;
        Ok(true)
    }

    /// No place is lost for ever: when all is given back that can be, chunks take no more than what
    /// lives in them and a few.
    fn check_space(&mut self, db: Db<Memory>) -> Checked<()> {
        if self.is_illegal() {
            return Ok(());
        }
        self.disk.set_capacity(None);
        self.disk.forget_faults();
        let report = match db.compact() {
            Ok(report) => report,
            // What the kernel failed to write back in an earlier life it may report now.
            Err(error) if std::mem::take(&mut self.write_back_failed) && is_fault(&error) => {
                return Ok(());
            }
            Err(error) => violated!("cannot be compacted: {error:?}"),
        };
        let before = self.clock;
        let found = self.contents(&db, true).map_err(violation)?;
        self.clock.look(&self.disk);
        self.model.clone().recovered(found, 0, &before.until(&self.clock))?;
        let may_fail = std::mem::take(&mut self.write_back_failed);
        let used_bytes = db.stats().data_bytes;
        let bytes_max = self.model.live.iter().map(|(key, (value, _))| {
            let record_bytes = (key.len() + value.len()) as u64 + RECORD_OVERHEAD_BYTES;
            // A long one takes whole chunks, and two half ones do not fit into one.
            if record_bytes > CHUNK_BYTES / 3 {
                record_bytes.next_multiple_of(CHUNK_BYTES)
            } else {
                record_bytes
            }
        });
        let bytes_max = bytes_max.sum::<u64>() * 3 / 2 + SPARE_CHUNK_COUNT * CHUNK_BYTES;
        if report.waiting_bytes > 0 || used_bytes > bytes_max {
            violated!("{used_bytes} bytes are in use for at most {bytes_max}: {report:?}");
        }
        match db.close() {
            Ok(()) => audit(&self.disk.crash()),
            Err(error) if may_fail && is_fault(&error) => Ok(()),
            Err(error) => violated!("cannot be closed: {error:?}"),
        }
    }

    /// Operations until the life is over. `false`: the disk has died, and its remains are in its
    /// place; or a lie was noticed.
    fn work(&mut self, handles: &Handles) -> Checked<bool> {
        let db = &handles.db;
        let total: u64 = self.plan.weights.iter().sum();
        let (mut kept, mut readers) = (Kept::default(), Readers::default());
        let made = self.make_table(handles);
        let made = made.and_then(|()| match self.plan.uses_table {
            true => altered::make(self, handles),
            false => Ok(()),
        });
        if let Some(over) = self.judge("make table", made, db)? {
            return Ok(over);
        }
        for _ in 0..self.below(self.plan.operation_count_max) {
            let mut left = self.below(total);
            let chosen = MENU.iter().zip(&self.plan.weights).find(|(_, weight)| {
                let found = left < **weight;
                left = left.saturating_sub(**weight);
                found
            });
            let choice = chosen.expect("the number is below the sum of the weights").0;
            self.outcome.operation_count += 1;
            self.tell(|| choice.name.to_owned());
            self.clock.look(&self.disk);
            let (earliest, durable) = (self.clock.earliest(), self.model.durable_call_count);
            let done = perform(choice.act, self, handles, &mut kept);
            if self.model.durable_call_count > durable && !self.is_illegal() {
                self.clock.note_durable(earliest);
            }
            let done = done.and_then(|()| kept.check(self));
            let done = done.and_then(|()| readers.read(self));
            let retains = kept.has_pins() && db.stats().space.retained_bytes > 0;
            self.outcome.retaining_count += u64::from(retains);
            self.tell(|| format!("  {}", shown(&done)));
            if let Some(over) = self.judge(choice.name, done, db)? {
                return Ok(over);
            }
        }
        Ok(true)
    }

    /// What becomes of the life behind operation `name`: `None`, it goes on; or as for
    /// [`Run::work`].
    fn judge(&mut self, name: &str, done: Done, db: &Db<Memory>) -> Checked<Option<bool>> {
        if self.disk.is_dead() {
            let remains = self.disk.remains().expect("it has died");
            self.bury(remains);
            self.outcome.crash_in_operation_count += 1;
            return Ok(Some(false));
        }
        let judged = match done {
            Ok(()) => return Ok(None),
            Err(Unreadable::Failed(error)) => self.expect_fault(&error),
            Err(unreadable) => Err(violation(unreadable)),
        };
        judged.map_err(|Violation(text)| Violation(format!("{name}: {text}")))?;
        self.after_failure(db).map(Some)
    }

    /// An operation has failed. `false`: the disk has died, or a lie was noticed.
    fn after_failure(&mut self, db: &Db<Memory>) -> Checked<bool> {
        if self.is_illegal() || self.below(2) == 0 {
            return Ok(!self.outcome.detected);
        }
        let checked = self.check_poison(db);
        if self.disk.is_dead() {
            let remains = self.disk.remains().expect("it has died");
            self.bury(remains);
            self.outcome.crash_in_operation_count += 1;
            return Ok(false);
        }
        match checked {
            Err(Unreadable::Failed(error)) => self.expect_fault(&error)?,
            checked => checked.map_err(violation)?,
        }
        Ok(true)
    }

    /// All injected faults have the same few right answers.
    fn expect_fault(&mut self, error: &uarr::Error) -> Checked<()> {
        if !is_fault(error) && error.kind() != ErrorKind::Closed && !self.is_noticed(error) {
            violated!("an error of the wrong kind: {error:?}");
        }
        Ok(())
    }

    /// The same moment with other remains: each is opened and checked, and given up.
    fn fork(&mut self) -> Checked<()> {
        if self.is_illegal() {
            return Ok(());
        }
        for _ in 0..self.below(FORK_COUNT_MAX + 1) {
            let seed = self.plan.random.next();
            let remains = self.disk.crash_with(seed);
            self.outcome.crash_count += 1;
            if self.plan.audits {
                audit(&remains)?;
            }
            self.look_before_opening(&remains)?;
            let mut clock = self.clock;
            clock.open(&remains);
            let before = clock;
            let db = match self.plan.builder().open_on(remains.clone()) {
                Ok(db) => db,
                Err(error) => violated!("cannot be opened: {error:?}"),
            };
            let found = self.contents(&db, false).map_err(violation)?;
            clock.look(&remains);
            self.model.clone().recovered(found, 0, &before.until(&clock))?;
        }
        Ok(())
    }

    /// Everything that the model knows, as it is found in `db`.
    pub fn contents(&self, db: &Db<Memory>, thorough: bool) -> Result<State, Unreadable> {
        let mut found = match table(self, db)? {
            Some(table) => {
                let (records_only, is_ordered) = (self.got_around, !self.plan.is_unordered);
                contents(&table, Look { thorough, records_only, is_ordered })?
            }
            None => State::new(),
        };
        if self.plan.uses_table {
            found.extend(witness(db)?.map(|versioned| (WITNESS.to_vec(), versioned)));
        }
        Ok(found)
    }

    /// One bit of one file flips.
    fn rot(&mut self) {
        let mut paths = vec!["superblock".to_owned()];
        for directory in ["data", "index", "wal"] {
            let names = self.disk.list(directory).unwrap_or_default();
            paths.extend(names.into_iter().map(|name| format!("{directory}/{name}")));
        }
        let path = paths[self.below(paths.len() as u64) as usize].clone();
        let Ok(file) = self.disk.open(&path, OpenMode::Mapped) else { return };
        let near = [8192, u64::MAX][self.below(2) as usize];
        let len = file.len().expect("lengths can always be asked for").min(near);
        if len == 0 {
            return;
        }
        let (offset, bit) = (self.below(len), self.below(8));
        let mut byte = [0];
        let rotten = file.read_at(&mut byte, offset).and_then(|_| {
            byte[0] ^= 1 << bit;
            file.write_at(&byte, offset)?;
            file.make_durable()
        });
        rotten.expect("the disk lives and no fault waits");
        self.blow_count += 1;
    }
}

fn shown(done: &Result<(), Unreadable>) -> String {
    match done {
        Ok(()) => "ok".to_owned(),
        Err(Unreadable::Failed(error)) => error.to_string(),
        Err(Unreadable::Violated(Violation(text))) => text.clone(),
    }
}

fn violation(unreadable: Unreadable) -> Violation {
    match unreadable {
        Unreadable::Violated(violation) => violation,
        Unreadable::Failed(error) => Violation(format!("cannot be read: {error:?}")),
    }
}

//! The operations of one thread, each of which checks what it reads.

use std::hint::black_box;
use std::ops::Range;
use std::time::Instant;

use crate::error::BenchError;
use crate::measure::clock::Clock;
use crate::measure::job::{Job, PATIENCE, Work, nanos};
use crate::measure::keys::KeyOrder;
use crate::measure::mix::{Chooser, Chosen, Mix};
use crate::measure::sample::Modified;
use crate::measure::stopwatch::Stopwatch;
use crate::measure::store::{Contender, Session};
use crate::measure::workload::{Random, VALUE_BYTES, fill, is_right, version_of};

/// Operations between two readings of the clock when operations are not timed one by one.
const BURST_OPS: u64 = 64;
/// Each thread writes record numbers from its own range of this size.
const LANE_NUMBERS: u64 = 1 << 40;
const LOST: &str = "lost a record that it had acknowledged";
/// Record numbers from here on are never written.
const ABSENT_NUMBER_FIRST: u64 = 1 << 63;

/// What one thread did.
pub(super) struct Lane {
    pub op_count: u64,
    pub start: Instant,
    pub end: Instant,
    pub stopwatch: Option<Stopwatch>,
    pub modified: Option<Modified>,
    pub written: Option<Range<u64>>,
}

/// Whose records they are, and how large.
#[derive(Clone, Copy)]
pub(super) struct Whose {
    pub contender: Contender,
    pub value_bytes: usize,
    pub order: KeyOrder,
}

impl Whose {
    /// The key of the record with this number.
    #[inline]
    const fn key_of(self, number: u64) -> u64 {
        self.order.key_of(number)
    }

    #[inline]
    fn is_right(self, key: u64, value: &[u8]) -> bool {
        match self.value_bytes {
            // The usual size is known to the compiler.
            VALUE_BYTES => is_right(key, value, VALUE_BYTES),
            bytes => is_right(key, value, bytes),
        }
    }
}

/// The sequence of operations of one thread.
pub(super) struct Operations {
    whose: Whose,
    /// Of the thread.
    number: u32,
    work: Work,
    chooser: Option<Chooser>,
    first: u64,
    next: u64,
    random: Random,
    value: Vec<u8>,
    batch: Vec<(u64, Vec<u8>)>,
    modified: Option<Modified>,
}

impl Operations {
    pub fn new(whose: Whose, job: &Job, number: u32) -> Self {
        let first = match job.work {
            Work::Put { first } | Work::Batches { first, .. } | Work::Mix(Mix { first, .. }) => {
                first + u64::from(number) * LANE_NUMBERS
            }
            Work::Get { .. } | Work::Miss | Work::Scan { .. } | Work::Mixed { .. } => 0,
        };
        let seed = job.seed ^ (u64::from(number) << 32);
        let chooser = match job.work {
            Work::Mix(mix) => Some(Chooser::new(mix, first, seed)),
            _ => None,
        };
        Self {
            whose,
            number,
            work: job.work,
            chooser,
            first,
            next: first,
            random: Random::new(seed),
            value: vec![0; whose.value_bytes],
            batch: Vec::new(),
            modified: None,
        }
    }

    pub fn run<S: Session>(
        &mut self,
        session: &mut S,
        job: &Job,
        clock: &impl Clock,
    ) -> Result<Lane, BenchError> {
        let start = clock.now();
        let (deadline, end_of_patience) = (start + job.duration, start + job.duration * PATIENCE);
        let op_count_max = (job.op_count_max / u64::from(job.threads)).max(1);
        let op_count_min = job.op_count_min.div_ceil(u64::from(job.threads));
        let mut stopwatch = Stopwatch::new(job, self.number, clock);
        let mut op_count = 0;
        let mut end;
        loop {
            if let Some(stopwatch) = &mut stopwatch {
                let chosen = self.chooser.as_mut().map(Chooser::choose);
                let begin;
                (begin, end) = stopwatch.time(clock, || self.step(session, chosen))?;
                if let (Some(Chosen::Modify(_)), Some(modified)) = (chosen, &mut self.modified) {
                    modified.latencies.saturating_record(nanos(end - begin));
                }
                if let Some(times) = session.take_put_times() {
                    stopwatch.phases.get_or_insert_default().record(times);
                }
                op_count += 1;
            } else if matches!(self.work, Work::Batches { .. } | Work::Scan { .. }) {
                self.step(session, None)?;
                end = clock.now();
                op_count += 1;
            } else {
                self.burst(session)?;
                end = clock.now();
                op_count += BURST_OPS;
            }
            let is_enough = end >= deadline && op_count >= op_count_min;
            if is_enough || end >= end_of_patience || op_count >= op_count_max {
                break;
            }
        }
        let written = (self.next > self.first).then_some(self.first..self.next);
        let modified = self.modified.take();
        Ok(Lane { op_count, start, end, stopwatch, modified, written })
    }

    /// [`BURST_OPS`] operations, none of them timed. Gets have a loop of their own: to ask before
    /// each what the work is took as long as a third of a get.
    fn burst<S: Session>(&mut self, session: &mut S) -> Result<(), BenchError> {
        if let Work::Get { record_count } = self.work {
            return (0..BURST_OPS).try_for_each(|_| {
                read_checked(session, self.whose, self.random.below(record_count))
            });
        }
        for _ in 0..BURST_OPS {
            let chosen = self.chooser.as_mut().map(Chooser::choose);
            self.step(session, chosen)?;
        }
        Ok(())
    }

    #[inline]
    fn step<S: Session>(
        &mut self,
        session: &mut S,
        chosen: Option<Chosen>,
    ) -> Result<(), BenchError> {
        match self.work {
            Work::Put { .. } => self.put_next(session),
            Work::Mix(mix) => match chosen {
                Some(chosen) => self.perform(session, mix, chosen),
                None => unreachable!("each operation of a mix is chosen"),
            },
            Work::Batches { records, .. } => {
                let whose = self.whose;
                let keys = (self.next..self.next + records).map(|number| whose.key_of(number));
                load_keys(session, &mut self.batch, self.whose.value_bytes, keys)?;
                self.next += records;
                Ok(())
            }
            Work::Get { record_count } => {
                read_checked(session, self.whose, self.random.below(record_count))
            }
            Work::Miss => read_absent(session, self.whose, self.random.next_u64()),
            Work::Scan { record_count, records } => {
                let is_whole = records == record_count;
                let number = self.random.below(record_count);
                let from = if is_whole { 0 } else { self.whose.key_of(number) };
                let seen = scan_checked(session, self.whose, from, records)?;
                match is_whole && seen < records {
                    true => Err(wrong(self.whose.contender, from, "left records out of a scan")),
                    false => Ok(()),
                }
            }
            Work::Mixed { record_count, version } => {
                let number = self.random.below(record_count);
                if self.random.below(5) > 0 {
                    return read_checked(session, self.whose, number);
                }
                self.put(session, number, version)
            }
        }
    }

    fn perform<S: Session>(
        &mut self,
        session: &mut S,
        mix: Mix,
        chosen: Chosen,
    ) -> Result<(), BenchError> {
        match chosen {
            Chosen::Get(number) => read_checked(session, self.whose, number),
            Chosen::Miss(random) => read_absent(session, self.whose, random),
            Chosen::Update(number) => self.put(session, number, mix.version),
            Chosen::GetUpdate(number) => {
                read_checked(session, self.whose, number)?;
                self.put(session, number, mix.version)
            }
            Chosen::Modify(number) => self.modify(session, number),
            Chosen::Insert(number) => {
                assert_eq!(number, self.next);
                self.put_next(session)
            }
            Chosen::Scan { number, records } => {
                scan_checked(session, self.whose, self.whose.key_of(number), records).map(drop)
            }
        }
    }

    #[inline]
    fn put<S: Session>(
        &mut self,
        session: &mut S,
        number: u64,
        version: u64,
    ) -> Result<(), BenchError> {
        let key = self.whose.key_of(number);
        fill(key, version, &mut self.value);
        session.put(key, &self.value)
    }

    /// Counts the version of a record up, in one transaction.
    fn modify<S: Session>(&mut self, session: &mut S, number: u64) -> Result<(), BenchError> {
        let (whose, key) = (self.whose, self.whose.key_of(number));
        let mut is_right = true;
        let retries = session.modify(key, |old| {
            is_right &= whose.is_right(key, old);
            let mut new = vec![0; whose.value_bytes];
            fill(key, version_of(old).wrapping_add(1), &mut new);
            new
        })?;
        let retries = retries.ok_or_else(|| wrong(whose.contender, key, LOST))?;
        if !is_right {
            return Err(wrong(whose.contender, key, "returned other bytes than were written"));
        }
        let modified = self.modified.get_or_insert_default();
        modified.count += 1;
        modified.retry_count += retries;
        Ok(())
    }

    /// Writes a record that was never written.
    #[inline]
    fn put_next<S: Session>(&mut self, session: &mut S) -> Result<(), BenchError> {
        self.put(session, self.next, 0)?;
        self.next += 1;
        Ok(())
    }
}

/// Writes the records of `keys` as one batch.
pub(super) fn load_keys<S: Session>(
    session: &mut S,
    batch: &mut Vec<(u64, Vec<u8>)>,
    value_bytes: usize,
    keys: impl Iterator<Item = u64>,
) -> Result<(), BenchError> {
    batch.clear();
    batch.extend(keys.map(|key| {
        let mut value = vec![0; value_bytes];
        fill(key, 0, &mut value);
        (key, value)
    }));
    session.load(batch)
}

/// Reads record `number`, which must exist, and checks every byte.
#[inline]
pub(super) fn read_checked<S: Session>(
    session: &mut S,
    whose: Whose,
    number: u64,
) -> Result<(), BenchError> {
    let key = whose.key_of(number);
    match session.get(key, |value| whose.is_right(key, value))? {
        Some(true) => Ok(()),
        Some(false) => Err(wrong(whose.contender, key, "returned other bytes than were written")),
        None => Err(wrong(whose.contender, key, LOST)),
    }
}

/// The version of record `number`, which must exist.
pub(super) fn read_version<S: Session>(
    session: &mut S,
    whose: Whose,
    number: u64,
) -> Result<u64, BenchError> {
    let key = whose.key_of(number);
    session.get(key, version_of)?.ok_or_else(|| wrong(whose.contender, key, LOST))
}

/// Reads a record that does not exist.
#[inline]
fn read_absent<S: Session>(session: &mut S, whose: Whose, random: u64) -> Result<(), BenchError> {
    let key = whose.key_of(ABSENT_NUMBER_FIRST | random);
    match session.get(key, |_| ())? {
        Some(()) => Err(wrong(whose.contender, key, "has a record that was never written")),
        None => Ok(()),
    }
}

/// Reads up to `records` records in key order from `from` on, and returns how many there were.
/// Reads every byte, checks the order, and checks every byte of the last record.
fn scan_checked<S: Session>(
    session: &mut S,
    whose: Whose,
    from: u64,
    records: u64,
) -> Result<u64, BenchError> {
    let mut next = Some(from);
    let (mut is_ordered, mut is_last_right, mut sum) = (true, true, 0_u64);
    let mut left = records;
    let seen = session.scan(from, records, |key, value| {
        is_ordered &= next.is_some_and(|next| next <= key);
        next = key.checked_add(1);
        let (words, _) = value.as_chunks::<8>();
        sum = words.iter().fold(sum, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)));
        left -= 1;
        if left == 0 {
            is_last_right = whose.is_right(key, value);
        }
    })?;
    black_box(sum);
    if !is_ordered {
        return Err(wrong(whose.contender, from, "scanned out of order"));
    }
    if !is_last_right {
        return Err(wrong(whose.contender, from, "scanned other bytes than were written"));
    }
    Ok(seen)
}

#[cold]
fn wrong(contender: Contender, key: u64, what: &str) -> BenchError {
    BenchError::WrongData(format!("{contender} {what} (key {key:#018x})"))
}

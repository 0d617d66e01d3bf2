//! [`Log`]: what was written, in order, and what the database must hold behind each frame.

use std::ops::Range;

use super::chunk::{Place, Stream};
use super::record::{Address, ChunkNumber, Key, Lsn, Patch, State, Value, Version};

/// What a frame says.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    /// Chunk-open frame: a chunk number has a place, or two numbers have two.
    Open(Opening),
    /// A record, and where it goes.
    Write(Write),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    pub chunk: ChunkNumber,
    pub place: Place,
    pub width: usize,
    pub stream: Stream,
}

#[derive(Clone, Copy, Debug)]
pub struct Write {
    pub key: Key,
    pub address: Address,
    /// `None`: the key is deleted.
    pub value: Option<Value>,
    /// How the value came about, if it was a patch.
    pub patch: Option<Patch>,
}

#[derive(Clone, Copy, Debug)]
pub struct Frame {
    pub lsn: Lsn,
    pub change: Change,
    pub ends_batch: bool,
    /// The oracle: what the database holds after this frame.
    state: State,
}

impl Frame {
    pub fn opening(&self) -> Option<Opening> {
        match self.change {
            Change::Open(opening) => Some(opening),
            Change::Write(_) => None,
        }
    }

    pub fn opens(&self, chunk: ChunkNumber) -> bool {
        self.opening().is_some_and(|opening| opening.chunk == chunk)
    }

    pub fn writes_to(&self, key: Key) -> bool {
        matches!(self.change, Change::Write(write) if write.key == key)
    }
}

/// The log of all lives; segments and their recycling are not modelled.
#[derive(Debug, Default)]
pub struct Log {
    frames: Vec<Frame>,
    /// So many frames surely survive.
    settled: usize,
}

impl Log {
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    pub fn settled(&self) -> usize {
        self.settled
    }

    pub fn frame(&self, index: usize) -> &Frame {
        &self.frames[index]
    }

    /// The frames that surely survive.
    pub fn settled_frames(&self) -> &[Frame] {
        &self.frames[..self.settled]
    }

    /// The frames that stand behind the first `count`.
    pub fn behind(&self, count: usize) -> &[Frame] {
        &self.frames[count..]
    }

    /// The last LSN of the first `count` frames.
    pub fn lsn_at(&self, count: usize) -> Lsn {
        count.checked_sub(1).map_or(0, |last| self.frames[last].lsn)
    }

    /// The state after the first `count` frames.
    pub fn state_at(&self, count: usize) -> State {
        count.checked_sub(1).map_or_else(State::default, |last| self.frames[last].state)
    }

    pub fn settled_lsn(&self) -> Lsn {
        self.lsn_at(self.settled)
    }

    /// How many frames have LSNs up to `lsn`.
    pub fn count_to(&self, lsn: Lsn) -> usize {
        self.frames.partition_point(|frame| frame.lsn <= lsn)
    }

    /// The end of the last batch that ends at or before `count`; `least` is one.
    pub fn batch_end(&self, count: usize, least: usize) -> usize {
        let ends = |count: &usize| *count == least || self.frames[*count - 1].ends_batch;
        (least..=count).rev().find(ends).unwrap_or(least)
    }

    /// The end of the first batch that ends behind `count`.
    pub fn next_batch_end(&self, count: usize) -> usize {
        let last = self.behind(count).iter().position(|frame| frame.ends_batch);
        last.map_or(self.len(), |last| count + last + 1)
    }

    pub fn append(&mut self, lsn: Lsn, change: Change, ends_batch: bool) {
        assert!(lsn > self.lsn_at(self.len()), "LSNs rise");
        self.frames.push(Frame { lsn, change, ends_batch, state: State::default() });
        self.note_states(self.len() - 1);
    }

    pub fn settle(&mut self, count: usize) {
        assert!(count <= self.len(), "only what was written can be settled");
        self.settled = self.settled.max(count);
    }

    /// The log goes on without these frames, which no reader has seen.
    pub fn refuse(&mut self, frames: Range<usize>) -> Vec<Frame> {
        assert!(frames.start >= self.settled, "what is settled stays");
        let first = frames.start;
        let refused = self.frames.drain(frames).collect();
        self.note_states(first);
        refused
    }

    /// Whether a chunk is named on both sides of an end of the log that is not settled.
    pub fn is_between_openings(&self, count: usize) -> bool {
        let left = &self.frames[self.settled..count];
        let mut lost = self.behind(count).iter().filter_map(Frame::opening);
        lost.any(|opening| left.iter().any(|frame| frame.opens(opening.chunk)))
    }

    /// Power was lost: the log ends here.
    pub fn cut(&mut self, count: usize) {
        assert!(count >= self.settled, "what is settled stays");
        self.frames.truncate(count);
    }

    /// The oracle: states from frame `first` on.
    fn note_states(&mut self, first: usize) {
        for index in first..self.len() {
            let mut state = self.state_at(index);
            let frame = &mut self.frames[index];
            if let Change::Write(Write { key, value, .. }) = frame.change {
                state[key] = value.map(|value| Version { lsn: frame.lsn, value });
            }
            frame.state = state;
        }
    }
}

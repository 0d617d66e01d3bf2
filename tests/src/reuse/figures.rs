//! [`Figures`]: what a run has done, counted.

use std::fmt::{self, Display, Formatter};
use std::ops::AddAssign;

/// What is counted. Without each of them a run would prove less than it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A place was given back.
    PlaceFreed,
    /// A version that a pin needs was copied.
    VersionRetained,
    /// A loss of power.
    PowerLost,
    /// One inside of a recovery.
    PowerLostInRecovery,
    /// A recovery used an older checkpoint than the newest, or the other slot.
    Fallback,
    /// The superblock that names a checkpoint is durable.
    Checkpoint,
    /// A checkpoint would have changed nothing.
    Skipped,
    /// A batch has records in several chunks.
    BatchOverChunks,
    /// A batch named a chunk that another had named before.
    OpeningRepeated,
    /// A batch that named a chunk was refused.
    OpeningRefused,
    /// All batches that named a chunk were refused, until it was full.
    NeverOpened,
    /// A loss of power took some of the frames that open a chunk, and left others.
    LostBetweenOpenings,
    /// Replay began between two of them: the chunk is in the table.
    StartBetweenOpenings,
    /// Replay found one of a chunk that was open.
    OpeningReplayedAgain,
    /// A chunk number was given out that a life before had given out.
    NumberGivenAgain,
}

impl Event {
    /// All that is counted.
    pub const ALL: [Self; 15] = [
        Self::PlaceFreed,
        Self::VersionRetained,
        Self::PowerLost,
        Self::PowerLostInRecovery,
        Self::Fallback,
        Self::Checkpoint,
        Self::Skipped,
        Self::BatchOverChunks,
        Self::OpeningRepeated,
        Self::OpeningRefused,
        Self::NeverOpened,
        Self::LostBetweenOpenings,
        Self::StartBetweenOpenings,
        Self::OpeningReplayedAgain,
        Self::NumberGivenAgain,
    ];

    /// What a number of them is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::PlaceFreed => "places freed",
            Self::VersionRetained => "versions retained",
            Self::PowerLost => "losses of power",
            Self::PowerLostInRecovery => "of them in recoveries",
            Self::Fallback => "fallbacks",
            Self::Checkpoint => "checkpoints",
            Self::Skipped => "skipped",
            Self::BatchOverChunks => "batches over several chunks",
            Self::OpeningRepeated => "openings repeated",
            Self::OpeningRefused => "openings refused",
            Self::NeverOpened => "chunks never opened",
            Self::LostBetweenOpenings => "losses between openings",
            Self::StartBetweenOpenings => "starts between openings",
            Self::OpeningReplayedAgain => "openings replayed again",
            Self::NumberGivenAgain => "numbers given again",
        }
    }
}

/// How often each event happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures([u64; Event::ALL.len()]);

impl Figures {
    /// An event has happened.
    pub(super) fn note(&mut self, event: Event) {
        self.note_times(event, 1);
    }

    /// An event has happened `count` times.
    pub(super) fn note_times(&mut self, event: Event, count: u64) {
        self.0[event as usize] += count;
    }

    /// How often it has happened.
    pub fn count(&self, event: Event) -> u64 {
        self.0[event as usize]
    }
}

impl AddAssign for Figures {
    fn add_assign(&mut self, other: Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }
}

impl Display for Figures {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let texts = Event::ALL.map(|event| format!("{} {}", self.count(event), event.name()));
        formatter.write_str(&texts.join(", "))
    }
}

//! Which checkpoint opening starts from, and whether the log has to be read: what is asked of the
//! files before the first write, by recovery and by who only reads.

use uarr_layout::superblock::{Checkpoint, Superblock};
use uarr_uring::{OpenMode, Storage};

use crate::checkpoint::root::SlotsSay;
use crate::error::{Error, ErrorKind, Result};
use crate::key::KeyKind;
use crate::log::reader::Next;
use crate::options::{Options, RecoveryMode};
use crate::recovery::decision::{
    Behind, ImageState, LastOpen, Newest, OpenFacts, OpenStep, ReplayPlan, Slots, next_step,
};
use crate::recovery::tail::LogSource;
use crate::report::RecoveryReport;
use crate::structure::Structure;

/// What recovery starts from.
pub(crate) struct Start<I> {
    pub step: Opening,
    pub checkpoint: Checkpoint,
    /// `None`: the empty database, which has no image.
    pub image: Option<I>,
}

/// How the database is opened.
#[derive(Clone, Copy)]
pub(crate) enum Opening {
    Clean,
    Replayed(ReplayPlan),
}

/// What opening starts from, and how it is asked.
pub(crate) struct Question<'a, S: Storage> {
    pub storage: &'a S,
    pub named: SlotsSay<'a>,
    /// Numbers of the segment files, ascending.
    pub present: &'a [u64],
    pub mode: RecoveryMode,
    /// How the log is opened.
    pub log_mode: OpenMode,
}

/// Takes the steps that [`next_step`] names, up to the last one. Writes nothing; what is damaged is
/// noted in `report`. `read_image` reads the image of a checkpoint; its damage is an answer.
pub(crate) fn find_start<S: Storage, I>(
    question: &Question<'_, S>,
    mut read_image: impl FnMut(&Checkpoint) -> Result<I>,
    report: &mut RecoveryReport,
) -> Result<Start<I>> {
    let block = question.named.block;
    let mut facts = facts_of(question, &report.notes);
    let (mut read, mut cause) = (None, None);
    let (used, step) = loop {
        match next_step(&facts) {
            OpenStep::ReadImage(index) => {
                assert_eq!(facts.images[index], ImageState::Unread, "an image is read once");
                match read_image(&block.checkpoints[index]) {
                    Ok(image) => {
                        facts.images[index] = ImageState::Whole;
                        read = Some(image);
                    }
                    Err(error) if error.kind() == ErrorKind::Corruption => {
                        facts.images[index] = ImageState::Damaged;
                        report.notes.push(error.clone());
                        cause.get_or_insert(error);
                    }
                    Err(error) => return Err(error),
                }
            }
            OpenStep::LookBehind => {
                assert_eq!(facts.behind, Behind::Unknown, "the log is looked at once");
                facts.behind = Behind::Nothing;
                if goes_on(question)? {
                    facts.behind = Behind::Groups;
                    let what = "it says that the database was closed, but the log goes on: a newer \
                                one is lost";
                    let lost = Structure::superblock().damage(what);
                    report.notes.push(lost.clone());
                    cause.get_or_insert(lost);
                }
            }
            OpenStep::Refuse => {
                return Err(cause
                    .or(report.notes.first().cloned())
                    .unwrap_or_else(|| Structure::superblock().damage("it names no checkpoint")));
            }
            OpenStep::GoOn => break (0, Opening::Clean),
            OpenStep::Replay(plan) => break (plan.used, Opening::Replayed(plan)),
        }
    };
    assert_eq!(
        read.is_some(),
        facts.images[used] == ImageState::Whole,
        "the used image was read last"
    );
    Ok(Start { step, checkpoint: block.checkpoints[used], image: read })
}

/// What is known before anything but the superblock was read.
fn facts_of<S: Storage>(question: &Question<'_, S>, notes: &[Error]) -> OpenFacts {
    let block = question.named.block;
    let first = block.checkpoints[0].number;
    let is_newest = question.named.checkpoints().all(|named| named.number <= first);
    let image = |checkpoint: Checkpoint| match (checkpoint.number.get(), checkpoint.segment.get()) {
        (0, 1) => ImageState::Empty,
        (0, _) => ImageState::Unnamed,
        _ => ImageState::Unread,
    };
    OpenFacts {
        mode: question.mode,
        slots: if notes.is_empty() { Slots::Readable } else { Slots::OneUnreadable },
        images: block.checkpoints.map(image),
        last_open: if block.closed.get() == 1 { LastOpen::Closed } else { LastOpen::Unclosed },
        newest: if is_newest { Newest::InForce } else { Newest::Elsewhere },
        behind: Behind::Unknown,
    }
}

/// Whether the log goes on behind the newest checkpoint of the slot in force.
fn goes_on<S: Storage>(question: &Question<'_, S>) -> Result<bool> {
    let Question { storage, present, log_mode, named, .. } = *question;
    let block = named.block;
    let source = LogSource { storage, present, checkpoint: block.checkpoints[0], mode: log_mode };
    let mut reader = source.reader(block);
    Ok(matches!(reader.advance()?, Next::Group(_)))
}

/// The kind of the keys of the default table, which has to be the one that was asked for.
pub(crate) fn key_kind(root: &Superblock, options: &Options) -> Result<KeyKind> {
    let kind = KeyKind::from_number(root.key_kind.get())
        .ok_or_else(|| Structure::superblock().damage("unknown kind of keys"))?;
    match options.keys {
        Some(asked) if asked != kind => Err(Error::invalid(format!(
            "the database was created with {kind} keys, but {asked} keys were asked for; ask for \
             {kind}, or for no kind"
        ))),
        _ => Ok(kind),
    }
}

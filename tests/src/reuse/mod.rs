//! The rule by which places of the data file are used again, as a model that runs.
//!
//! The data file is made of *places*. A *chunk* is a number, used once, that has a place for a
//! while; addresses name chunks, so an old address can miss, and never mean something new. When
//! most of a chunk is dead, the *mover* copies what lives in it to a chunk of its own (cold)
//! stream: it is *evacuated*. Then it waits in *quarantine* until nothing can reach it, is
//! *cleared*, and its place is free for the next number. A *chunk-open* frame of the log says which
//! number got which place. Moves are not logged; each checkpoint writes the whole index, *fuzzy*.
//!
//! A place that is used again too early is lost data, found only after a crash, perhaps only in
//! the older checkpoint. So the rule is a model before it is code.
//!
//! # The rule
//!
//! 1. **A group names its chunks.** A writer that needs a chunk takes a number and a place. Every
//!    group that places a record in a chunk of which no chunk-open frame is settled when the record
//!    is staged, has such a frame in front of it; all of them say the same place. So a refused
//!    group takes no chunk away: later ones name it themselves. Passed is not settled: the frame of
//!    a refused group opens nothing. The mover logs no records, so it stages a chunk-open frame
//!    alone, and appends to the chunk only after one is settled.
//! 2. **Evacuate sealed chunks alone.** A chunk is sealed when it is full and every frame that
//!    names it is settled, each of its chunk-open frames included. Applied is not enough. Frames
//!    that were refused name nothing: a chunk that only these have named is evacuated like others.
//!    The mover swaps an index entry only if it still names what was copied.
//! 3. **Clear when the older checkpoint lists it.** An evacuation ends when no index entry names
//!    the chunk; *e* is the last LSN applied at that moment. The chunk is cleared when the older
//!    of the two kept checkpoints lists it (after a fallback: the only one), that checkpoint's
//!    superblock is durable, and no pin is older than *e*, or what pins need is retained (10). Its
//!    place is free when no reader holds a record in it.
//! 4. **List, then note the start, then walk.** A checkpoint first lists the chunks whose
//!    evacuation has ended, then notes *s*, the end of the settled log (not of the applied one),
//!    then walks the index and leaves tombstones out. It is skipped only if there was no frame, no
//!    move and no end of an evacuation since the newest one took its list, and the older one lists
//!    every chunk in quarantine: else these would wait until something is written.
//! 5. **Seal, log, data, superblock.** Behind the walk the page that each stream appends to is
//!    sealed, and the durable lengths of the stream's chunks are noted at that moment; a chunk that
//!    is opened later has none. Everything staged when the user's page is sealed is applied, and
//!    durable in the log, before the chunk table is read and the data file is made durable; that is
//!    done before the superblock is written.
//! 6. **The chunk table comes last.** It is read behind start, walk, seals and log, and has only
//!    chunks of which a chunk-open frame is settled when it is read. So all that the image names is
//!    durable where the table says, before anything is replayed. At replay a chunk-open frame of a
//!    chunk that has this very place changes nothing; of one that has another, it is damage. Else
//!    it takes the place of a chunk in quarantine; any other owner of the place is damage.
//! 7. **A rejected checkpoint never comes back.** Before replay writes a byte of the data file, no
//!    slot of the superblock names a checkpoint newer than the one in use. If one does, or the slot
//!    in force could not be read, both slots are written, the unreadable one first, naming the one
//!    in use alone; at each open again, while a slot names a newer one.
//! 8. **Replay everything, compare nothing.** Every frame behind *s* is applied, in order,
//!    chunk-open frames among them. Addresses say nothing about age.
//! 9. **What is durable is not written again.** A record before the durable length of its chunk is
//!    only indexed, any other is written to its address again. A patch names its base by LSN; the
//!    base is the state replayed so far.
//!
//! 10. **What pins need is retained.** When the older checkpoint lists a chunk, no pin that comes
//!     is older than *e*. For each pin that is, and each record of the chunk: if the pin finds its
//!     version of that key here, it is copied to a cold chunk, and *kept*: noted with the LSNs at
//!     which readers find it, until the next version. If the pin's version lies behind the record,
//!     it is kept where it lies, or that there was none: the links end here. A reader asks for
//!     what is kept before it follows links. A chunk in which a version is kept is not cleared
//!     before that was copied again; a jumbo is not copied, and waits. What no pin needs is
//!     dropped.
//!
//! After recovery the user's stream goes on behind the last record replayed, the cold one at its
//! durable length. Cold chunks that no index entry names are ready; surplus ones go to quarantine.
//! A number that only lost groups have named may be given out again, with any place.
//!
//! # The world
//!
//! A seed is one database of six keys: some hundred steps of writers, applier, log, mover,
//! checkpoints, keeper, readers, write-back by the kernel and losses of power, chosen by chance.
//! Long actions are machines that stand between two steps; everything else, and a loss of power,
//! may come there. Each batch is a group. A crash leaves each page old, new or torn, so too a
//! superblock slot that was under way, and the log cut behind any whole batch that is not settled.
//! A batch that is not applied may be refused, and the others go on. An opening may find the slot
//! in force or the newest image unreadable, and find it readable the next time.
//!
//! `check` looks after each step and each recovery: every pinned LSN and every new reader finds the
//! state that an oracle notes behind each frame; each place has one owner; held bytes stay.
//! `Checkpoint::check_table` looks at each chunk table, recovery at each image. At the end
//! `check_quiet` looks for leaks. A long run without one of the events of `figures` fails.
//!
//! [`MUTANTS`] lists what shows that each part is needed: worlds in which it does not hold.
//! Not modelled: segments of the log and when they are given back, other damage, threads inside of
//! one step, an orderly end, zeros in the gaps between records.
//!
//! | module | what it holds |
//! |---|---|
//! | `record` | keys, versions, addresses, records, patches |
//! | `kept` | old versions that pins need |
//! | `chunk` | a chunk's life |
//! | `log` | frames, and the oracle of states behind them |
//! | `map` | the data file in memory, over its medium |
//! | `superblock`, `naming` | two slots that name checkpoints; a write to one |
//! | `world` | what goes on from life to life: the disk, chance |
//! | `figures` | what is counted |
//! | `database` | one life: what memory holds |
//! | `writer`, `keeper`, `replay` | what writers, keeper and recovery do to it |
//! | `mover`, `retain`, `checkpoint`, `recovery`, `step` | the long actions, step by step |
//! | `check` | what must hold |
//! | `life`, `run` | what may happen, how often, and a run |
//! | `mutations` | the must-be-caught list |

mod check;
mod checkpoint;
mod chunk;
mod database;
mod figures;
mod keeper;
mod kept;
mod life;
mod log;
mod map;
mod mover;
mod mutations;
mod naming;
mod record;
mod recovery;
mod replay;
mod retain;
mod run;
mod step;
mod superblock;
mod world;
mod writer;

pub use figures::{Event, Figures};
pub use mutations::{MUTANTS, Mutant};
pub use run::run;

//! What users may do, and how often. A line here and one in [`super::operations::perform`] add an
//! act.

/// What a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Put,
    DurablePut,
    Delete,
    Batch,
    LargeBatch,
    PutRecord,
    Patch,
    Conditional,
    Count,
    Transact,
    Expire,
    Ingest,
    Sync,
    Checkpoint,
    Step,
    Get,
    Range,
    Compact,
    Hold,
    Look,
    DropTable,
    AlterTable,
    ClockJump,
    Fault,
    FullDisk,
    SecondOpener,
}

/// One thing that may happen.
pub(super) struct Choice {
    pub act: Act,
    pub name: &'static str,
    /// How often, compared to the others.
    pub weight: u64,
}

/// All of them. The first is a part of every run.
pub(super) const MENU: &[Choice] = &[
    Choice { act: Act::Put, name: "put", weight: 30 },
    Choice { act: Act::DurablePut, name: "durable put", weight: 3 },
    Choice { act: Act::Delete, name: "delete", weight: 10 },
    Choice { act: Act::Batch, name: "batch", weight: 12 },
    Choice { act: Act::LargeBatch, name: "large batch", weight: 2 },
    Choice { act: Act::PutRecord, name: "put record", weight: 4 },
    Choice { act: Act::Patch, name: "patch", weight: 6 },
    Choice { act: Act::Conditional, name: "conditional put", weight: 4 },
    Choice { act: Act::Count, name: "count", weight: 4 },
    Choice { act: Act::Transact, name: "transaction", weight: 4 },
    Choice { act: Act::Expire, name: "expire", weight: 6 },
    Choice { act: Act::Ingest, name: "ingest", weight: 2 },
    Choice { act: Act::Sync, name: "sync", weight: 4 },
    Choice { act: Act::Checkpoint, name: "checkpoint", weight: 4 },
    Choice { act: Act::Step, name: "step", weight: 10 },
    Choice { act: Act::Get, name: "get", weight: 8 },
    Choice { act: Act::Range, name: "range", weight: 3 },
    Choice { act: Act::Compact, name: "compact", weight: 1 },
    Choice { act: Act::Hold, name: "hold", weight: 2 },
    Choice { act: Act::Look, name: "look", weight: 1 },
    Choice { act: Act::DropTable, name: "drop table", weight: 0 },
    Choice { act: Act::AlterTable, name: "alter table", weight: 0 },
    Choice { act: Act::ClockJump, name: "clock jump", weight: 1 },
    Choice { act: Act::Fault, name: "fault", weight: 4 },
    Choice { act: Act::FullDisk, name: "full disk", weight: 1 },
    Choice { act: Act::SecondOpener, name: "second opener", weight: 1 },
];

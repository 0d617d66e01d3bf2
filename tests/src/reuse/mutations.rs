//! The must-be-caught list: for each part of the rule a world in which it does not hold.

/// A part of the rule that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    OpenNotSettled,
    SealedWhenApplied,
    FreedEarly,
    KeptBeforeAnswer,
    PinsIgnored,
    HoldsIgnored,
    MoveWithoutCas,
    StartAtApplied,
    ListedAfterStart,
    ListedAfterWalk,
    UnchangedSkipped,
    WaitingSkipped,
    UserNotSealed,
    ColdNotSealed,
    LengthsTooLate,
    LogShort,
    LogLate,
    DataLate,
    TableBeforeStart,
    TableAheadOfLog,
    OwnerStays,
    RejectedRevived,
    RenamedAfterReplay,
    RenamedInOneSlot,
    AddressesCompared,
    OpensIgnored,
    OpensLast,
    PutAgain,
    BaseByAddress,
}

/// A mutation as tests know it.
#[derive(Debug)]
pub struct Mutant {
    pub(super) mutation: Mutation,
    /// Its name.
    pub name: &'static str,
    /// The number of the rule.
    pub rule: u8,
    /// What happens instead.
    pub instead: &'static str,
    /// It must be caught within so many seeds.
    pub seed_count_max: u64,
}

const fn mutant(
    mutation: Mutation,
    name: &'static str,
    rule: u8,
    instead: &'static str,
    seed_count_max: u64,
) -> Mutant {
    Mutant { mutation, name, rule, instead, seed_count_max }
}

/// The list, by rules.
pub const MUTANTS: [Mutant; 29] = [
    mutant(
        Mutation::OpenNotSettled,
        "open-not-settled",
        1,
        "chunks are used before the frame that opens them is settled",
        300,
    ),
    mutant(
        Mutation::SealedWhenApplied,
        "sealed-when-applied",
        2,
        "chunks are evacuated when their frames are applied",
        5000,
    ),
    mutant(
        Mutation::MoveWithoutCas,
        "move-without-cas",
        2,
        "the mover points the index to its copy whatever it names",
        300,
    ),
    mutant(
        Mutation::FreedEarly,
        "freed-early",
        3,
        "chunks are cleared when the newest checkpoint lists them",
        300,
    ),
    mutant(
        Mutation::KeptBeforeAnswer,
        "kept-before-answer",
        3,
        "chunks are cleared before the superblock that allows it is durable",
        20000,
    ),
    mutant(Mutation::PinsIgnored, "pins-ignored", 3, "chunks are cleared under pins", 300),
    mutant(Mutation::HoldsIgnored, "holds-ignored", 3, "places are free while held", 2000),
    mutant(
        Mutation::StartAtApplied,
        "start-at-applied",
        4,
        "replay starts behind what is applied, settled or not",
        300,
    ),
    mutant(
        Mutation::ListedAfterStart,
        "listed-after-start",
        4,
        "chunks are listed behind the start, before the walk",
        3000,
    ),
    mutant(
        Mutation::ListedAfterWalk,
        "listed-after-walk",
        4,
        "chunks are listed behind the walk",
        300,
    ),
    mutant(
        Mutation::UnchangedSkipped,
        "unchanged-skipped",
        4,
        "no checkpoint without new frames, whatever was moved",
        300,
    ),
    mutant(
        Mutation::WaitingSkipped,
        "waiting-skipped",
        4,
        "an unchanged checkpoint is skipped though chunks in quarantine wait for it",
        300,
    ),
    mutant(Mutation::UserNotSealed, "user-not-sealed", 5, "the user page goes on", 300),
    mutant(Mutation::ColdNotSealed, "cold-not-sealed", 5, "the cold page goes on", 3000),
    mutant(
        Mutation::LengthsTooLate,
        "lengths-too-late",
        5,
        "lengths are noted after the seal of the cold page",
        300,
    ),
    mutant(
        Mutation::LogShort,
        "log-short",
        5,
        "the log is durable as far as it was applied, not staged",
        300,
    ),
    mutant(Mutation::LogLate, "log-late", 5, "the superblock does not wait for the log", 300),
    mutant(Mutation::DataLate, "data-late", 5, "the superblock does not wait for the data", 300),
    mutant(
        Mutation::TableBeforeStart,
        "table-before-start",
        6,
        "the chunk table is read when the list is taken",
        300,
    ),
    mutant(
        Mutation::TableAheadOfLog,
        "table-ahead-of-log",
        6,
        "the chunk table has chunks whose chunk-open frame may be lost",
        3000,
    ),
    mutant(
        Mutation::OwnerStays,
        "owner-stays",
        6,
        "a quarantined chunk keeps its place when replay opens another there",
        300,
    ),
    mutant(
        Mutation::RejectedRevived,
        "rejected-revived",
        7,
        "a checkpoint that could not be read stays named",
        300,
    ),
    mutant(
        Mutation::RenamedAfterReplay,
        "renamed-after-replay",
        7,
        "slots are renamed after replay",
        1000,
    ),
    mutant(
        Mutation::RenamedInOneSlot,
        "renamed-in-one-slot",
        7,
        "one slot is renamed before replay",
        5000,
    ),
    mutant(
        Mutation::AddressesCompared,
        "addresses-compared",
        8,
        "frames with a lower address than the index has are not replayed",
        300,
    ),
    mutant(Mutation::OpensIgnored, "opens-ignored", 8, "chunk-open frames are not replayed", 300),
    mutant(Mutation::OpensLast, "opens-last", 8, "chunk-open frames are replayed last", 300),
    mutant(
        Mutation::PutAgain,
        "put-again",
        9,
        "records that are durable where they are, are written again",
        5000,
    ),
    mutant(
        Mutation::BaseByAddress,
        "base-by-address",
        9,
        "the base of a patch is what lies at the address that the frame names",
        300,
    ),
];

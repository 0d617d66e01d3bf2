//! A writer held up in the middle of a change of shape, beside a reader that came meanwhile.
//!
//! A node that is retired while a word still leads to it may be freed under a reader: the garbage
//! is sealed with the epoch of that moment, a reader that pins one epoch later still finds the
//! node, and nothing waits for it. Chance rarely shows that, so each step is forced here, in every
//! change of shape:
//!
//! 1. the writer's bag of garbage is filled up to the last few places, so that it overflows in the
//!    change;
//! 2. at one allocation of the change, each in turn, the allocator turns the epochs as far as they
//!    go, and lets a reader come in and stop in the middle of its work;
//! 3. the writer ends the change, and all garbage is freed: filled with a pattern and not used
//!    again;
//! 4. the reader goes on, and has to answer as of before or after the change.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use uarr_index::{ByteIndex, ByteIndexOptions, IntIndex, KeySource, Memory};

/// Places in a thread's bag of garbage.
const BAG: usize = 64;
/// Most nodes that one change retires, about.
const RETIRED_MAX: usize = 5;
/// Pins after which nothing is left that may be freed.
const TURNS: usize = 40;
/// What freed memory is filled with.
const FREED: u8 = 0xDB;
/// A reader that does not get in, because the writer is held up with a lock, is not waited for
/// longer.
const PATIENCE: Duration = Duration::from_secs(2);

type Visit = Box<dyn FnOnce()>;

thread_local! {
    static COUNTDOWN: Cell<Option<usize>> = const { Cell::new(None) };
    static VISIT: RefCell<Option<Visit>> = const { RefCell::new(None) };
    static KEEPS_FREED: Cell<bool> = const { Cell::new(false) };
}

struct Allocator;

// SAFETY: memory comes from `System` and goes back to it, or is kept for ever.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let left = COUNTDOWN.try_with(Cell::get).unwrap_or(None);
        if let Some(left) = left {
            COUNTDOWN.set(left.checked_sub(1));
            if left == 0 {
                let visit = VISIT.take();
                visit.unwrap()();
            }
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if KEEPS_FREED.try_with(Cell::get).unwrap_or(false) {
            // SAFETY: the block has this length, has no other user any more, and is not given
            // back.
            unsafe { block.write_bytes(FREED, layout.size()) };
        } else {
            // SAFETY: as the caller promises.
            unsafe { System.dealloc(block, layout) };
        }
    }
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Frees all that no thread may still hold.
fn turn_epochs() {
    let kept = KEEPS_FREED.replace(true);
    for _ in 0..TURNS {
        crossbeam_epoch::pin().flush();
    }
    KEEPS_FREED.set(kept);
}

/// Where a reader is: on its way, stopped in the middle, or allowed to go on.
#[derive(Default)]
struct Stop(AtomicU32);

impl Stop {
    /// The reader stops here, once.
    fn stop(&self) {
        if self.0.compare_exchange(0, 1, SeqCst, SeqCst).is_ok() {
            while self.0.load(SeqCst) != 2 {
                std::thread::yield_now();
            }
        }
    }

    fn wait_until_stopped(&self, ended: &AtomicBool) {
        let begun = Instant::now();
        while self.0.load(SeqCst) == 0 && !ended.load(SeqCst) && begun.elapsed() < PATIENCE {
            std::thread::yield_now();
        }
    }

    fn go_on(&self) {
        self.0.store(2, SeqCst);
    }
}

/// Does `change` with room for `room` nodes in the bag of garbage, and lets `read` come in at its
/// allocation number `at`. Returns what `read` returned, or `None` if there are fewer allocations.
fn visited<T: Send + 'static>(
    room: usize,
    at: usize,
    read: impl FnOnce(&Stop) -> T + Send + 'static,
    change: impl FnOnce(),
) -> Option<T> {
    let stop = Arc::new(Stop::default());
    let reader: Arc<std::sync::Mutex<Option<JoinHandle<T>>>> = Arc::default();
    let visit: Visit = {
        let (stop, reader) = (Arc::clone(&stop), Arc::clone(&reader));
        Box::new(move || {
            let ended = Arc::new(AtomicBool::new(false));
            let (stop_inside, ended_inside) = (Arc::clone(&stop), Arc::clone(&ended));
            *reader.lock().unwrap() = Some(std::thread::spawn(move || {
                turn_epochs();
                let seen = read(&stop_inside);
                ended_inside.store(true, SeqCst);
                seen
            }));
            stop.wait_until_stopped(&ended);
        })
    };
    crossbeam_epoch::pin().flush();
    let guard = crossbeam_epoch::pin();
    (room..BAG).for_each(|_| guard.defer(|| ()));
    drop(guard);
    VISIT.set(Some(visit));
    COUNTDOWN.set(Some(at));
    change();
    COUNTDOWN.set(None);
    VISIT.set(None);
    let reader = reader.lock().unwrap().take()?;
    turn_epochs();
    stop.go_on();
    Some(reader.join().expect("the reader fails, see above"))
}

/// Records by payload, whose reader may be stopped while it holds one.
struct Records<'a> {
    keys: &'a [Vec<u8>],
    stop: Option<&'a Stop>,
}

impl KeySource for Records<'_> {
    type Error = Infallible;

    fn key(&self, payload: u64) -> Result<&[u8], Infallible> {
        self.stop.iter().for_each(|stop| stop.stop());
        // Not an error, which the index would pass over.
        let key = self.keys.get(payload as usize);
        Ok(key.unwrap_or_else(|| panic!("no record was ever at {payload:#x}")))
    }
}

fn key(number: usize) -> Vec<u8> {
    format!("town/{number:07}").into_bytes()
}

/// A byte index before one change, as numbers of keys.
struct Case {
    name: &'static str,
    /// Numbers that are bulk loaded: 56 in each leaf, 56 leaves below each branch.
    loaded: usize,
    /// Odd numbers that are inserted then, and even ones that are removed.
    inserted: Vec<usize>,
    removed: Vec<usize>,
    /// The change: an odd number comes, or an even one goes.
    change: usize,
}

/// Even numbers of the loaded leaf `leaf`, from its entry `first` on.
fn of_leaf(leaf: usize, entries: std::ops::Range<usize>) -> Vec<usize> {
    entries.map(|entry| 2 * (56 * leaf + entry)).collect()
}

/// Odd numbers that fill `leaf` up.
fn filling(leaf: usize) -> Vec<usize> {
    of_leaf(leaf, 20..28).into_iter().map(|number| number + 1).collect()
}

fn cases() -> Vec<Case> {
    let case = |name, loaded, inserted: Vec<usize>, removed: Vec<usize>, change| Case {
        name,
        loaded,
        inserted,
        removed,
        change,
    };
    let splits = (0..8).flat_map(|leaf| {
        let mut splitting = filling(2 * leaf + 10);
        splitting.push(2 * (56 * (2 * leaf + 10) + 40) + 1);
        splitting
    });
    let branch_full: Vec<usize> = splits.chain(filling(3)).collect();
    let middle = |leaf: usize| 2 * (56 * leaf + 30) + 1;
    let few = |leaf: usize| of_leaf(leaf, 16..56);
    let both = |a: Vec<usize>, b: Vec<usize>| a.into_iter().chain(b).collect::<Vec<usize>>();
    vec![
        case("an entry more", 56, vec![], vec![], middle(0)),
        case("an entry more below a branch", 560, vec![], vec![], middle(4)),
        case("the first leaf is cut", 56, filling(0), vec![], middle(0)),
        case("a leaf is cut", 560, filling(4), vec![], middle(4)),
        case("a branch is cut", 56 * 56, branch_full.clone(), vec![], middle(3)),
        case("a branch below another is cut", 4 * 56 * 56, branch_full, vec![], middle(3)),
        case("an entry less", 560, vec![], vec![], 2 * (56 * 4 + 7)),
        case("a leaf goes", 560, vec![], of_leaf(4, 1..56), 2 * 56 * 4),
        case("a root goes with a leaf", 112, vec![], of_leaf(1, 1..56), 2 * 56),
        case("the last entry goes", 56, vec![], of_leaf(0, 1..56), 0),
        case("a leaf joins the one before", 560, vec![], both(few(3), few(4)), 2 * 56 * 4),
        case("a leaf joins the one behind", 560, vec![], both(few(1), few(0)), 0),
        case("a root goes with a join", 112, vec![], both(few(0), few(1)), 2 * 56),
    ]
}

fn check_case(case: &Case, backwards: bool) -> usize {
    let keys: Vec<Vec<u8>> = (0..2 * case.loaded + 2).map(key).collect();
    let keys = Arc::new(keys);
    let mut visits = 0;
    for room in 0..=RETIRED_MAX {
        for at in 0.. {
            let records = Records { keys: &keys, stop: None };
            let options = ByteIndexOptions { ordered: true, hash_seed: 11 };
            let loaded = (0..case.loaded).map(|i| (key(2 * i), 2 * i as u64));
            let index = Arc::new(ByteIndex::from_sorted(&Memory::new(), options, loaded));
            let insert = |&n: &usize| index.insert(&keys[n], n as u64, &records).unwrap().is_none();
            let remove = |&n: &usize| index.remove(&keys[n], &records).unwrap().is_some();
            assert!(case.inserted.iter().all(insert));
            assert!(case.removed.iter().all(remove));
            // A neighbour of the change that is there before and after, in the same leaf if
            // possible.
            let all = |index: &ByteIndex| {
                let mut all = Vec::new();
                index.scan(Bound::Unbounded, usize::MAX, &records, &mut all);
                all
            };
            let before = all(&index);
            let place = before.partition_point(|&payload| payload < case.change as u64);
            let start = before[place.saturating_sub(usize::from(place == before.len()))];
            let read = {
                let (index, keys) = (Arc::clone(&index), Arc::clone(&keys));
                move |stop: &Stop| {
                    let records = Records { keys: &keys, stop: Some(stop) };
                    let from = Bound::Included(keys[start as usize].as_slice());
                    let mut out = Vec::new();
                    if backwards {
                        index.scan_rev(from, usize::MAX, &records, &mut out);
                    } else {
                        index.scan(from, usize::MAX, &records, &mut out);
                    }
                    out
                }
            };
            let change = || match case.change % 2 {
                0 => assert!(remove(&case.change)),
                _ => assert!(insert(&case.change)),
            };
            let Some(seen) = visited(room, at, read, change) else { break };
            visits += 1;
            let after = all(&index);
            let legal = [before, after].map(|mut all| {
                all.retain(|&n| if backwards { n <= start } else { n >= start });
                if backwards {
                    all.reverse();
                }
                all
            });
            assert!(
                legal.contains(&seen),
                "{}: room for {room}, allocation {at}: a scan gives {seen:x?}",
                case.name
            );
        }
    }
    visits
}

/// Bags of all threads fill up in one place: one test at a time.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

#[test]
fn a_scan_beside_a_writer_that_is_held_up_reads_no_freed_node() {
    let _alone = ALONE.lock();
    for case in cases() {
        for backwards in [false, true] {
            let visits = check_case(&case, backwards);
            assert!(visits >= 10, "{}: only {visits} readers came in", case.name);
        }
    }
}

/// Changes of an integer index, each an insert or a removal.
fn int_changes(kind: &str) -> Vec<(u64, bool)> {
    let scattered = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let added: Vec<u64> = match kind {
        "scattered" => (1..3000).map(scattered).collect(),
        "ascending" => (0..6000).map(|i| (1 << 40) + i * 10 + 1).collect(),
        "descending" => (0..6000).map(|i| (1 << 40) - i * 10 - 1).collect(),
        "further out each time" => {
            (20..60).flat_map(|e| (0..60).map(move |i| (1 << e) + 2 * i + 1)).collect()
        }
        "clusters in clusters" => (0..4000).map(|i| (scattered(i) >> (i % 60)) | 1).collect(),
        other => unreachable!("no keys are called {other}"),
    };
    let gone: Vec<(u64, bool)> = added.iter().rev().map(|&key| (key, false)).collect();
    added.into_iter().map(|key| (key, true)).chain(gone).collect()
}

/// Lets a reader in at an allocation of every change that has enough of them. Returns how many
/// came.
fn check_ints(kind: &str) -> usize {
    let index = Arc::new(IntIndex::new(&Memory::new()));
    // Even keys stay throughout.
    let stays = |place: u64| (place + 1) << 36;
    let staying: Arc<Vec<u64>> = Arc::new((0..64).map(stays).collect());
    staying.iter().for_each(|&key| assert_eq!(index.insert(key, !key), None));
    let mut visits = 0;
    for (number, &(key, is_added)) in int_changes(kind).iter().enumerate() {
        let read = {
            let (index, staying) = (Arc::clone(&index), Arc::clone(&staying));
            move |stop: &Stop| {
                // The changed key, its neighbours that stay, and others.
                let near = staying.partition_point(|&stays| stays < key).min(55);
                let mut keys = staying[near.saturating_sub(7)..near + 8].to_vec();
                keys.push(key);
                index.get_many(&keys, |place, payload| {
                    stop.stop();
                    let stays = keys[place] % 2 == 0;
                    assert!(payload.is_some() || !stays, "a key that stays was not found");
                    assert!(payload.is_none_or(|found| found == !keys[place]), "{payload:x?}");
                });
            }
        };
        let change = || match is_added {
            true => drop(index.insert(key, !key)),
            false => drop(index.remove(key)),
        };
        let (room, at) = (number % RETIRED_MAX, number / RETIRED_MAX % 4);
        visits += usize::from(visited(room, at, read, change).is_some());
    }
    index.verify();
    visits
}

#[test]
fn lookups_beside_a_writer_that_is_held_up_read_no_freed_node() {
    let _alone = ALONE.lock();
    for kind in
        ["scattered", "ascending", "descending", "further out each time", "clusters in clusters"]
    {
        let visits = check_ints(kind);
        println!("{kind}: {visits} readers came in");
        assert!(visits >= 10, "{kind}: only {visits} readers came in");
    }
}

//! [`Held`]: bytes of a map that stay as they are for as long as a reader keeps them.
//!
//! A hold is one word of memory with the address of the first byte (a hazard pointer). Before
//! a place of a file is given to another chunk, the words of all threads are looked at, and those
//! that point into the place are found by their addresses.
//!
//! Words lie in lines of the processor's cache. A thread has lines of its own, so to hold is to
//! find a word that is 0 and to store there; a hold that went to another thread is ended by that
//! one. Lines live as long as the process; those of threads that have ended are used again.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;
use std::slice;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::pin::MapPin;

/// Words of a line, beside two links.
const WORD_COUNT: usize = 6;
/// Lines that are looked at before a new one is made. The next search goes on where this one ended,
/// so a thread has a few times the lines that its kept holds fill, at most.
const LOOK_COUNT_MAX: usize = 16;

type Word = AtomicPtr<u8>;

/// Words of one thread.
#[derive(Default)]
#[repr(align(64))]
struct Line {
    words: [Word; WORD_COUNT],
    /// The next line of the same thread, in a ring.
    next_own: AtomicPtr<Line>,
    /// The line that was made before this one.
    next_made: AtomicPtr<Line>,
}

const _: () = assert!(size_of::<Line>() == 64);

/// The line that was made last: all lines hang on it.
static MADE: AtomicPtr<Line> = AtomicPtr::new(ptr::null_mut());

/// Rings of threads that have ended.
static LEFT: Mutex<Vec<&'static Line>> = Mutex::new(Vec::new());

thread_local! {
    /// The line that this thread last found a word in.
    static CURRENT: Cell<Option<&'static Line>> = const { Cell::new(None) };
    /// The line where the last search for a word ended.
    static SEARCHED: Cell<Option<&'static Line>> = const { Cell::new(None) };
    /// Leaves the ring to other threads when this one ends.
    static LEAVING: Leaving = const { Leaving };
}

struct Leaving;

impl Drop for Leaving {
    fn drop(&mut self) {
        SEARCHED.take();
        if let Some(ring) = CURRENT.take() {
            LEFT.lock().expect("no code of others runs under it").push(ring);
        }
    }
}

/// Bytes of a map under a pin.
#[derive(Clone, Copy)]
pub struct Pinned<'p> {
    bytes: &'p [u8],
}

impl<'p> Pinned<'p> {
    /// The caller has found `bytes` in a map under a pin that lives for `'p`.
    #[inline]
    pub(super) fn new(bytes: &'p [u8]) -> Self {
        Self { bytes }
    }

    /// The bytes, for as long as the pin lives.
    #[inline]
    pub fn bytes(self) -> &'p [u8] {
        self.bytes
    }

    /// The first `len` of them, if there are so many.
    #[inline]
    pub fn first(self, len: usize) -> Option<Self> {
        self.bytes.get(..len).map(Self::new)
    }
}

/// Bytes that stay as they are while this lives, whatever the writer of the map does. Their chunk
/// is not given back meanwhile, and no other is delayed. It may go to other threads.
pub struct Held<'m> {
    start: *const u8,
    len: usize,
    word: &'static Word,
    map: PhantomData<&'m [u8]>,
}

// SAFETY: the bytes are not written while the hold lasts, whichever thread has it, and any thread
// may end it: the word is atomic.
unsafe impl Send for Held<'_> {}
// SAFETY: as above; a shared hold only lends bytes.
unsafe impl Sync for Held<'_> {}

impl<'m> Held<'m> {
    /// Holds `pinned`, of a map that lives for `'m`.
    #[inline]
    pub(super) fn new(pinned: Pinned<'_>, _pin: &MapPin) -> Self {
        let (start, len) = (pinned.bytes.as_ptr(), pinned.bytes.len());
        let current = CURRENT.get().and_then(|line| line.claim(start));
        let word = current.unwrap_or_else(|| claim_elsewhere(start));
        Self { start, len, word, map: PhantomData }
    }

    /// The bytes.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: these are published bytes of a mapping that lives for `'m`. They were found under
        // a pin that was still there when the word was stored, so the thread that wants to give the
        // place to another chunk waits for that pin, then sees the word, and leaves the bytes alone
        // until the word is 0 again, which only the end of `self` makes it.
        unsafe { slice::from_raw_parts(self.start, self.len) }
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: what read the bytes comes before.
        self.word.store(ptr::null_mut(), Ordering::Release);
    }
}

impl Line {
    /// Stores `start` in a word that is 0. Only the line's thread does this.
    #[inline]
    fn claim(&'static self, start: *const u8) -> Option<&'static Word> {
        // Acquire: the end of a hold in another thread comes before what this one publishes.
        let word = self.words.iter().find(|word| word.load(Ordering::Acquire).is_null())?;
        word.store(start.cast_mut(), Ordering::Release);
        Some(word)
    }

    /// The next line of the ring.
    fn next_own(&self) -> &'static Line {
        let next = self.next_own.load(Ordering::Relaxed);
        // SAFETY: the pointer was stored when the line joined a ring, of a line, and lines live as
        // long as the process.
        unsafe { &*next }
    }
}

/// Claims a word in another line of the thread's ring, or in a new one, which joins it.
#[cold]
fn claim_elsewhere(start: *const u8) -> &'static Word {
    let mut line = SEARCHED.get().or_else(|| CURRENT.get()).unwrap_or_else(ring_of_thread);
    let mut middle = line;
    for look in 0..LOOK_COUNT_MAX {
        if let Some(word) = line.claim(start) {
            CURRENT.set(Some(line));
            SEARCHED.set(Some(line));
            return word;
        }
        if look < LOOK_COUNT_MAX / 2 {
            middle = line;
        }
        line = line.next_own();
    }
    // New lines have so little distance that a search reaches from one to the next.
    let new = new_line();
    new.next_own.store(ptr::from_ref(middle.next_own()).cast_mut(), Ordering::Relaxed);
    middle.next_own.store(ptr::from_ref(new).cast_mut(), Ordering::Relaxed);
    CURRENT.set(Some(new));
    SEARCHED.set(Some(new.next_own()));
    new.claim(start).expect("a new line has words")
}

/// The first line of a thread: with the others of a thread that has ended, or alone.
fn ring_of_thread() -> &'static Line {
    // In a thread that is ending the line is left to no other.
    let _ = LEAVING.try_with(|_| ());
    let left = LEFT.lock().expect("no code of others runs under it").pop();
    left.unwrap_or_else(|| {
        let new = new_line();
        new.next_own.store(ptr::from_ref(new).cast_mut(), Ordering::Relaxed);
        new
    })
}

/// A new line, in the list that a search for holds goes through.
fn new_line() -> &'static Line {
    let line: &'static Line = Box::leak(Box::default());
    let mut last = MADE.load(Ordering::Relaxed);
    loop {
        line.next_made.store(last, Ordering::Relaxed);
        let new = ptr::from_ref(line).cast_mut();
        match MADE.compare_exchange_weak(last, new, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return line,
            Err(other) => last = other,
        }
    }
}

/// Whether any byte of `len` bytes from `start` on is the first of a hold.
///
/// A hold that was stored under a pin which had ended, as the caller knows from a
/// [`Grace`](super::pin::Grace), is seen until it ends.
pub(super) fn is_held(start: *const u8, len: usize) -> bool {
    let place = start.addr()..start.addr() + len;
    let mut next = MADE.load(Ordering::Acquire);
    // SAFETY: what `MADE` and the links point to are lines, which live as long as the process; a
    // line was complete when it was published.
    while let Some(line) = unsafe { next.as_ref() } {
        // Acquire: what read the bytes before a hold ended comes before what the caller does.
        if line.words.iter().any(|word| place.contains(&word.load(Ordering::Acquire).addr())) {
            return true;
        }
        next = line.next_made.load(Ordering::Relaxed);
    }
    false
}

/// Ends all holds of `len` bytes from `start` on, of a map that ends: those that are there were
/// forgotten, for each borrows from the map. Another map may get the same addresses.
pub(super) fn end_holds(start: *const u8, len: usize) {
    let map = start.addr()..start.addr() + len;
    let mut next = MADE.load(Ordering::Acquire);
    // SAFETY: as in `is_held`.
    while let Some(line) = unsafe { next.as_ref() } {
        for word in &line.words {
            let held = word.load(Ordering::Relaxed);
            if map.contains(&held.addr()) {
                word.store(ptr::null_mut(), Ordering::Release);
            }
        }
        next = line.next_made.load(Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(bytes: &[u8]) -> Held<'_> {
        Held::new(Pinned::new(bytes), &MapPin::enter())
    }

    fn is_held(bytes: &[u8]) -> bool {
        super::is_held(bytes.as_ptr(), bytes.len())
    }

    #[test]
    fn a_hold_lasts_until_it_is_dropped_in_whatever_thread() {
        let bytes = vec![7u8; 4096];
        assert!(!is_held(&bytes));
        let held = hold(&bytes[100..200]);
        assert!(is_held(&bytes) && is_held(&bytes[100..101]));
        assert!(!is_held(&bytes[..100]) && !is_held(&bytes[101..]));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                assert_eq!(held.bytes(), [7; 100]);
                drop(held);
            });
        });
        assert!(!is_held(&bytes));
    }

    #[test]
    fn many_holds_are_kept_and_ended_in_any_order() {
        let bytes = vec![7u8; 2000];
        let mut kept: Vec<_> = (0..2000).map(|at| Some(hold(&bytes[at..]))).collect();
        for step in 0..2000 {
            let at = step * 1237 % 2000;
            assert!(is_held(&bytes[at..=at]));
            kept[at] = None;
            assert!(!is_held(&bytes[at..=at]));
            if step % 3 == 0 {
                kept[at] = Some(hold(&bytes[at..]));
            }
        }
        drop(kept);
        assert!(!is_held(&bytes));
    }

    /// Each batch beside some that were kept made a line, which was never used again.
    #[test]
    fn lines_do_not_pile_up_beside_holds_that_are_kept() {
        let line_count = || {
            let first = CURRENT.get().expect("it has held something");
            let mut line = first.next_own();
            let mut count = 1;
            while !ptr::eq(line, first) {
                (line, count) = (line.next_own(), count + 1);
            }
            count
        };
        let bytes = vec![7u8; 2000];
        for kept_count in [6, 900] {
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let kept: Vec<_> = (0..kept_count).map(|at| hold(&bytes[at..])).collect();
                    let counts = [(); 2].map(|()| {
                        for _ in 0..3000 {
                            drop((0..12).map(|at| hold(&bytes[at..])).collect::<Vec<_>>());
                        }
                        line_count()
                    });
                    assert_eq!(counts[0], counts[1], "{kept_count} are kept");
                    assert!(counts[0] <= 8 + 4 * kept_count / WORD_COUNT, "{counts:?}");
                    drop(kept);
                });
            });
        }
    }

    #[test]
    fn holds_outlive_their_thread_and_its_lines_are_used_again() {
        let bytes = vec![7u8; 64];
        for round in 0..50 {
            let kept = std::thread::scope(|scope| {
                let make = || (0..20).map(|at| hold(&bytes[at..])).collect::<Vec<_>>();
                scope.spawn(make).join().unwrap()
            });
            assert!((0..20).all(|at| is_held(&bytes[at..=at])), "{round}");
            drop(kept);
            assert!(!is_held(&bytes));
        }
    }
}

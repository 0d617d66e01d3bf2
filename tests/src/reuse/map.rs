//! [`Map`]: the data file as memory shows it, over the medium.

use std::collections::BTreeSet;

use uarr_disk_sim::Random;

use super::chunk::{CELL_COUNT, PAGE_CELL_COUNT, Place};
use super::record::Record;

/// The cells of one place.
pub type Cells = [Option<Record>; CELL_COUNT];

/// What survives of the data file.
pub type Medium = Vec<Cells>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Page {
    place: Place,
    index: usize,
}

impl Page {
    fn offsets(self) -> std::ops::Range<usize> {
        self.index * PAGE_CELL_COUNT..(self.index + 1) * PAGE_CELL_COUNT
    }
}

#[derive(Debug)]
pub struct Map {
    cells: Vec<Cells>,
    /// Pages that are not on the medium as they are here.
    dirty: BTreeSet<Page>,
}

impl Map {
    pub fn over(medium: &Medium) -> Self {
        Self { cells: medium.clone(), dirty: BTreeSet::new() }
    }

    pub fn place_count(&self) -> usize {
        self.cells.len()
    }

    pub fn cell(&self, place: Place, offset: usize) -> Option<Record> {
        self.cells[place][offset]
    }

    pub fn store(&mut self, place: Place, offset: usize, record: Record) {
        self.cells[place][offset] = Some(record);
        self.dirty.insert(Page { place, index: offset / PAGE_CELL_COUNT });
    }

    /// A place begins a new life: its old bytes are gone at once. One behind the end is added.
    pub fn zero(&mut self, place: Place, medium: &mut Medium) {
        assert!(place <= self.cells.len(), "the file grows place by place");
        if place == self.cells.len() {
            self.cells.push(Cells::default());
            medium.push(Cells::default());
        }
        self.cells[place] = Cells::default();
        let pages = 0..CELL_COUNT / PAGE_CELL_COUNT;
        self.dirty.extend(pages.map(|index| Page { place, index }));
    }

    pub fn dirty(&self) -> Vec<Page> {
        self.dirty.iter().copied().collect()
    }

    pub fn write_back(&mut self, page: Page, medium: &mut Medium) {
        let offsets = page.offsets();
        medium[page.place][offsets.clone()].copy_from_slice(&self.cells[page.place][offsets]);
        self.dirty.remove(&page);
    }

    /// Power is lost: of the pages that are not on the medium, each is old, new or torn.
    pub fn lose_power(mut self, medium: &mut Medium, random: &mut Random) {
        for page in self.dirty() {
            let fate = random.below(10);
            if fate < 3 {
                self.write_back(page, medium);
            }
            for offset in page.offsets().filter(|_| (3..6).contains(&fate)) {
                let new = self.cells[page.place][offset];
                let old = &mut medium[page.place][offset];
                // Any record of the page is lost, or only what differs.
                if fate == 3 || *old != new {
                    *old = [None, new][random.below(2) as usize];
                }
            }
        }
    }
}

//! What a loss of power may leave of a file: any sectors, or any pages, that were not durable
//! survive.

use std::io;
use std::sync::Arc;

use uarr_uring::PAGE_BYTES;

use crate::cache::Cache;
use crate::device::Device;
use crate::flight::{Flight, LogWrite};
use crate::random::{Bias, Random};
use crate::view::{Page, SECTOR_BYTES, View};

/// A file at the moment when the power goes.
pub(crate) struct Parts<'a> {
    pub cache: &'a Cache,
    pub device: &'a Device,
    pub flight: &'a Flight,
}

/// What becomes of it. A hostile device may leave garbage.
pub(crate) fn survivors(file: Parts<'_>, random: &mut Random, hostile: bool) -> io::Result<View> {
    let Parts { cache, device, flight } = file;
    let bias = random.bias();
    let unit_bytes = if random.flip() { SECTOR_BYTES } else { PAGE_BYTES };
    // Most devices write a sector or do not; some leave the one that was being written unreadable.
    let garbles = hostile && random.below(4) == 0;
    let mut luck = Luck { random, bias, unit_bytes, garbles };
    let mut view = device.durable().clone();
    if cache.len() != view.len() && luck.random.chance(bias) {
        view.grow_to(cache.len());
    }
    for page_index in device.doubtful_pages() {
        let mut page = view.page(page_index);
        luck.decide_page(&mut page, &*cache.page(page_index)?, cache.was_mapped());
        view.set_page(page_index, page);
    }
    flight.writes().iter().for_each(|write| luck.decide_write(&mut view, write));
    Ok(view)
}

/// What a crash may do to a sector that was being written.
enum Fate {
    Old,
    New,
    Garbage(u64),
}

/// What decides.
struct Luck<'a> {
    random: &'a mut Random,
    bias: Bias,
    /// A sector or a page: what survives whole or not at all.
    unit_bytes: usize,
    garbles: bool,
}

impl Luck<'_> {
    fn fate(&mut self) -> Fate {
        if !self.random.chance(self.bias) {
            Fate::Old
        } else if self.garbles && self.random.below(4) == 0 {
            Fate::Garbage(self.random.next())
        } else {
            Fate::New
        }
    }

    /// Each unit of `page`, as the device has it, that differs from what is cached.
    fn decide_page(&mut self, page: &mut Arc<Page>, cached: &Page, is_written_whole: bool) {
        for start in (0..PAGE_BYTES).step_by(self.unit_bytes) {
            let unit = start..start + self.unit_bytes;
            if page[unit.clone()] == cached[unit.clone()] {
                continue;
            }
            match self.fate() {
                Fate::Old => {}
                Fate::New => {
                    Arc::make_mut(page)[unit.clone()].copy_from_slice(&cached[unit]);
                }
                Fate::Garbage(salt) => {
                    // The kernel writes whole pages back; direct writes touch their own sectors
                    // only.
                    for sector in unit.step_by(SECTOR_BYTES) {
                        let sector = sector..sector + SECTOR_BYTES;
                        if is_written_whole || page[sector.clone()] != cached[sector.clone()] {
                            fill_garbage(&mut Arc::make_mut(page)[sector], salt);
                        }
                    }
                }
            }
        }
    }

    /// Each unit of a log write in flight.
    fn decide_write(&mut self, view: &mut View, write: &LogWrite) {
        let mut offset = write.offset;
        for sector in write.bytes.chunks(self.unit_bytes.min(write.bytes.len())) {
            match self.fate() {
                Fate::Old => {}
                Fate::New => view.write(sector, offset),
                Fate::Garbage(salt) => {
                    let mut garbage = sector.to_vec();
                    fill_garbage(&mut garbage, salt);
                    view.write(&garbage, offset);
                }
            }
            offset += sector.len() as u64;
        }
    }
}

fn fill_garbage(bytes: &mut [u8], salt: u64) {
    let mut random = Random::new(salt);
    bytes.fill_with(|| random.next() as u8);
}

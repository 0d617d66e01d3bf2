//! Values whose container is not finished, and how they get into its table.

use crate::uarr::spec::tag;

/// Tag of a waiting `f32` element: packed or widened when its sequence ends, never written.
pub(super) const F32_WAITING: u8 = 0xFE;

/// A value whose container is not finished.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub slot: u64,
    pub tag: u8,
}

#[inline]
pub(super) fn fill_array(room: &mut [u8], waiting: &[Waiting], width: usize) {
    for (target, value) in room.chunks_exact_mut(width).zip(waiting) {
        target.copy_from_slice(&value.slot.to_le_bytes()[..width]);
    }
}

#[inline]
pub(super) fn fill_table(room: &mut [u8], waiting: &[Waiting], base: usize) {
    let (slot_room, tag_room) = room.split_at_mut(waiting.len() * 8);
    let targets = slot_room.as_chunks_mut::<8>().0.iter_mut().zip(tag_room);
    for ((slot_room, tag_room), value) in targets.zip(waiting) {
        *slot_room = relative(value.slot, value.tag, base as u32).to_le_bytes();
        *tag_room = value.tag;
    }
}

/// The slot as the table at `base` holds it: a pointer's absolute target becomes a distance.
/// Target 0, inside the header, marks an empty value.
#[inline]
pub(super) fn relative(slot: u64, tag: u8, base: u32) -> u64 {
    let target = slot as u32;
    if tag >= tag::POINTER_MIN && target != 0 {
        (slot & !0xFFFF_FFFF) | u64::from(base - target)
    } else {
        slot
    }
}

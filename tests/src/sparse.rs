//! Files of a database in one, without their zeros, as golden files are kept.
//!
//! ```text
//! file     path bytes u32   path   length u64   run count u32   run ..
//! run      offset u64   bytes u32   bytes
//! ```

use crate::files::Files;

/// Zeros are left out in units of this size.
const UNIT_BYTES: usize = 64;

/// Content that is not zero: where it begins, and its bytes.
fn runs(bytes: &[u8]) -> Vec<(usize, &[u8])> {
    let mut runs: Vec<(usize, &[u8])> = Vec::new();
    for (index, unit) in bytes.chunks(UNIT_BYTES).enumerate() {
        let offset = index * UNIT_BYTES;
        if unit.iter().all(|byte| *byte == 0) {
            continue;
        }
        match runs.last_mut() {
            Some((start, run)) if *start + run.len() == offset => {
                *run = &bytes[*start..offset + unit.len()];
            }
            _ => runs.push((offset, unit)),
        }
    }
    runs
}

/// `files` as one.
pub fn pack(files: &Files) -> Vec<u8> {
    let mut packed = Vec::new();
    for (path, bytes) in files {
        packed.extend((path.len() as u32).to_le_bytes());
        packed.extend(path.as_bytes());
        packed.extend((bytes.len() as u64).to_le_bytes());
        let runs = runs(bytes);
        packed.extend((runs.len() as u32).to_le_bytes());
        for (offset, run) in runs {
            packed.extend((offset as u64).to_le_bytes());
            packed.extend((run.len() as u32).to_le_bytes());
            packed.extend(run);
        }
    }
    packed
}

/// The files that [`pack`] put together; `None` if it did not.
pub fn unpack(mut packed: &[u8]) -> Option<Files> {
    let mut files = Files::new();
    while !packed.is_empty() {
        let path_bytes = take_u32(&mut packed)?;
        let path = String::from_utf8(take(&mut packed, path_bytes)?.to_vec()).ok()?;
        let mut bytes = vec![0; take_u64(&mut packed)?];
        for _ in 0..take_u32(&mut packed)? {
            let (offset, len) = (take_u64(&mut packed)?, take_u32(&mut packed)?);
            bytes.get_mut(offset..)?.get_mut(..len)?.copy_from_slice(take(&mut packed, len)?);
        }
        files.insert(path, bytes);
    }
    Some(files)
}

fn take<'a>(packed: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, rest) = packed.split_at_checked(len)?;
    *packed = rest;
    Some(taken)
}

fn take_u32(packed: &mut &[u8]) -> Option<usize> {
    Some(u32::from_le_bytes(take(packed, 4)?.try_into().ok()?) as usize)
}

fn take_u64(packed: &mut &[u8]) -> Option<usize> {
    usize::try_from(u64::from_le_bytes(take(packed, 8)?.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_back_as_packed() {
        let mut files = Files::new();
        files.insert("empty".into(), Vec::new());
        files.insert("zeros".into(), vec![0; 1000]);
        let mut bytes = vec![0; 1001];
        (bytes[63], bytes[64], bytes[500], bytes[1000]) = (1, 2, 3, 4);
        files.insert("some/bytes".into(), bytes);
        let packed = pack(&files);
        assert!(packed.len() < 400, "{}", packed.len());
        assert_eq!(unpack(&packed), Some(files));
        for cut in 1..packed.len() {
            // A cut between two files is none.
            assert!(unpack(&packed[..cut]).is_none_or(|files| files.len() < 3), "cut at {cut}");
        }
    }
}

//! [`Operation`]: a log write on its way through a ring.

use io_uring::squeue::{self, Flags};
use io_uring::{opcode, types};

use crate::file::SystemFile;
use crate::outcome::{Answers, Route, Verdict, judge};
use crate::storage::GroupWrite;

/// The bit of `user_data` that marks a flush; the ticket is above it.
const FLUSH_BIT: u64 = 1;

/// One of the two things that the kernel answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Half {
    Write,
    Flush,
}

/// Whose answer a completion is.
pub(crate) fn addressee(user_data: u64) -> (u64, Half) {
    let half = if user_data & FLUSH_BIT == 0 { Half::Write } else { Half::Flush };
    (user_data >> 1, half)
}

/// What an operation puts into the submission queue.
pub(crate) enum Entries {
    Single([squeue::Entry; 1]),
    Linked([squeue::Entry; 2]),
}

impl Entries {
    pub fn as_slice(&self) -> &[squeue::Entry] {
        match self {
            Self::Single(entry) => entry,
            Self::Linked(pair) => pair,
        }
    }
}

/// One write on its way. It owns the file and the buffer.
pub(crate) struct Operation {
    pub ticket: u64,
    pub write: GroupWrite<SystemFile>,
    pub route: Route,
    pub answers: Answers,
}

impl Operation {
    pub fn new(ticket: u64, write: GroupWrite<SystemFile>, route: Route) -> Self {
        Self { ticket, write, route, answers: Answers::default() }
    }

    pub fn verdict(&self) -> Verdict {
        judge(self.route, self.answers, self.write.len, self.write.file.unit_bytes())
    }

    /// Whether the kernel has nothing to do with it any more.
    pub fn has_ended(&self) -> bool {
        let Answers { write, flush, .. } = self.answers;
        match self.route {
            Route::ByHand => true,
            Route::WriteThrough => write.is_some(),
            Route::WriteThenFlush => write.is_some() && flush.is_some(),
        }
    }

    /// Takes note of a completion. False if it was not expected.
    pub fn note(&mut self, half: Half, result: i32) -> bool {
        if self.has_ended() || (half == Half::Flush && self.route != Route::WriteThenFlush) {
            return false;
        }
        let answer = match half {
            Half::Write => &mut self.answers.write,
            Half::Flush => &mut self.answers.flush,
        };
        answer.replace(result).is_none()
    }

    /// What is submitted for it: a write, from the registered buffer `index` if it is in one, and
    /// perhaps a flush linked to it.
    pub fn entries(&self, index: Option<u16>) -> Entries {
        let user_data = self.ticket << 1;
        let write = self.write_entry(index).user_data(user_data);
        if self.route != Route::WriteThenFlush {
            return Entries::Single([write]);
        }
        let fd = types::Fd(self.write.file.fd());
        let flush = opcode::Fsync::new(fd)
            .flags(types::FsyncFlags::DATASYNC)
            .build()
            .user_data(user_data | FLUSH_BIT);
        Entries::Linked([write.flags(Flags::IO_LINK), flush])
    }

    fn write_entry(&self, index: Option<u16>) -> squeue::Entry {
        let GroupWrite { file, offset, buffer, start, len } = &self.write;
        let unit_bytes = file.unit_bytes();
        assert!(offset.is_multiple_of(unit_bytes as u64), "a group begins with a block");
        assert!(len.is_multiple_of(unit_bytes), "a group is made of blocks");
        let fd = types::Fd(file.fd());
        let bytes = buffer[*start..*start + *len].as_ptr();
        let len = u32::try_from(*len).expect("longer writes are made by hand");
        let flags = if self.route == Route::WriteThrough { libc::RWF_DSYNC } else { 0 };
        match index {
            Some(index) => opcode::WriteFixed::new(fd, bytes, len, index)
                .offset(*offset)
                .rw_flags(flags)
                .build(),
            None => opcode::Write::new(fd, bytes, len).offset(*offset).rw_flags(flags).build(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;

    use super::*;
    use crate::buffer::AlignedBuffer;
    use crate::file::Access;

    fn operation(route: Route) -> Operation {
        let file = File::open("/dev/null").unwrap();
        let access = Access { unit_bytes: 512, writable: true };
        let file = Arc::new(SystemFile::new(file, "null".into(), access));
        let buffer = Arc::new(AlignedBuffer::new(4096));
        Operation::new(7, GroupWrite { file, offset: 0, buffer, start: 0, len: 4096 }, route)
    }

    #[test]
    fn each_entry_is_answered_once() {
        use Half::{Flush, Write};
        for (route, expected) in [
            (Route::WriteThrough, [true, false, false, false]),
            (Route::WriteThenFlush, [true, false, true, false]),
            (Route::ByHand, [false, false, false, false]),
        ] {
            let mut operation = operation(route);
            let noted = [Write, Write, Flush, Flush].map(|half| operation.note(half, 4096));
            assert_eq!(noted, expected, "{route:?}");
            assert!(operation.has_ended());
        }
    }

    #[test]
    fn an_entry_names_its_operation() {
        let linked = operation(Route::WriteThenFlush).entries(None);
        let named: Vec<_> =
            linked.as_slice().iter().map(|entry| addressee(entry.get_user_data())).collect();
        assert_eq!(named, [(7, Half::Write), (7, Half::Flush)]);
        assert_eq!(operation(Route::WriteThrough).entries(Some(0)).as_slice().len(), 1);
    }
}

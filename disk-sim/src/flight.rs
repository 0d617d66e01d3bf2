//! [`Flight`]: log writes of a file between submission and completion.
//!
//! Readers do not see them. A crash keeps any part of them, and a kill leaves them to land at any
//! later moment.

/// A submitted log write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// What tells it from all others of the disk.
    pub number: u64,
    /// Whether it holds the lock of its directory.
    pub is_fenced: bool,
}

/// What a log write is to bring.
#[derive(Clone, Debug)]
pub(crate) struct LogWrite {
    ticket: Ticket,
    pub offset: u64,
    pub bytes: Vec<u8>,
}

/// The log writes of a file that are on their way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flight(Vec<LogWrite>);

impl Flight {
    /// A log write sets out.
    pub fn begin(&mut self, ticket: Ticket, offset: u64, bytes: Vec<u8>) {
        assert!(self.tickets().all(|other| other.number < ticket.number), "tickets ascend");
        self.0.push(LogWrite { ticket, offset, bytes });
    }

    /// A log write is over; `None` if it was before.
    pub fn end(&mut self, number: u64) -> Option<LogWrite> {
        let index = self.0.iter().position(|write| write.ticket.number == number)?;
        Some(self.0.remove(index))
    }

    /// Those that have not ended, the oldest first.
    pub fn writes(&self) -> &[LogWrite] {
        &self.0
    }

    /// Their tickets.
    pub fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.0.iter().map(|write| write.ticket)
    }
}

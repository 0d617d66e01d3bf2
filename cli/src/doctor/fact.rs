//! [`Facts`]: what was read, in groups, with its source; an unknown fact says why it is unknown.

use serde_json::{Value, json};

use super::root::Reading;

/// What a fact is about, in the order in which groups are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Kernel and io_uring.
    Kernel,
    /// Limits of the process.
    Limits,
    /// Memory.
    Memory,
    /// Processors, and whether they are real.
    Processor,
    /// File system and its mount.
    FileSystem,
    /// Block devices.
    Device,
    /// The database in the directory.
    Database,
}

impl Group {
    /// As a heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Kernel => "Kernel and io_uring",
            Self::Limits => "Limits of the process",
            Self::Memory => "Memory",
            Self::Processor => "Processors",
            Self::FileSystem => "File system",
            Self::Device => "Devices",
            Self::Database => "Database",
        }
    }

    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Limits => "limits",
            Self::Memory => "memory",
            Self::Processor => "processor",
            Self::FileSystem => "file_system",
            Self::Device => "device",
            Self::Database => "database",
        }
    }
}

/// Something about the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub group: Group,
    /// Its name.
    pub name: String,
    /// The file or the call that says so.
    pub source: String,
    /// The value, or why it is unknown.
    pub value: Result<String, String>,
}

impl Fact {
    /// For programs.
    pub fn to_json(&self) -> Value {
        json!({
            "group": self.group.word(),
            "name": self.name,
            "source": self.source,
            "value": self.value.as_ref().ok(),
            "unknown": self.value.as_ref().err(),
        })
    }
}

/// All that was read.
#[derive(Clone, Debug, Default)]
pub struct Facts(pub Vec<Fact>);

impl Facts {
    /// What a file says.
    pub fn read(&mut self, group: Group, name: &str, reading: &Reading) {
        let value = match (&reading.text, reading.known()) {
            (_, Some(text)) => Ok(text.to_owned()),
            (Ok(_), None) => Err("the file is empty".to_owned()),
            (Err(absence), None) => Err(absence.to_string()),
        };
        self.add(group, name, &reading.source, value);
    }

    /// What follows from a file, or the reason why nothing does.
    pub fn add(&mut self, group: Group, name: &str, source: &str, value: Result<String, String>) {
        let (name, source) = (name.to_owned(), source.to_owned());
        self.0.push(Fact { group, name, source, value });
    }
}

//! A recipe as data: which setting is varied, and what stays as it is, in a TOML file.
//!
//! ```toml
//! schema = 1
//! seconds = 1.0                 # of each measurement, 0.01 to 60
//! rounds = 3                    # 1 to 100
//! of = "durable-puts"           # or log-writes, gets
//! vary = "group_bytes"          # a setting that this has, see below
//! values = [16_384, 262_144]    # 1 to 32 of them
//!
//! [fixed]                       # other settings, where the default is not meant
//! threads = 16
//! ```
//!
//! Settings and their defaults:
//!
//! - `log-writes`, the engine's way to the device alone: `strategy = "dsync"`,
//!   `block_bytes = 4096`, `queue_depth = 1` (to 16), `extents = "written"` (unwritten, none);
//! - `durable-puts` into a new database: `strategy = "auto"` (linked-fdatasync, dsync, syscall),
//!   `group_bytes = 262144`, `segment_bytes = 33554432`, `threads = 1`, `value_bytes = 128`;
//! - `gets` in a process of their own: `pages = "system"` (4-kib, huge), `threads = 1`,
//!   `records = 200000`, `value_bytes = 128`.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use uarr::CommitStrategy;

use crate::error::BenchError;
use crate::judge::verdict::ROUNDS_MAX;
use crate::measure::log_floor::Extents;
use crate::measure::workload::VALUE_BYTES;

const SCHEMA: u32 = 1;
/// Values of a setting.
const VALUES_MAX: usize = 32;

/// The recipes that come with the program: name and text.
pub const BUILT_IN: [(&str, &str); 7] = [
    ("strategy", include_str!("../../../recipes/strategy.toml")),
    ("group-cap", include_str!("../../../recipes/group-cap.toml")),
    ("block-size", include_str!("../../../recipes/block-size.toml")),
    ("segment-size", include_str!("../../../recipes/segment-size.toml")),
    ("extents", include_str!("../../../recipes/extents.toml")),
    ("pages", include_str!("../../../recipes/pages.toml")),
    ("queue-depth", include_str!("../../../recipes/queue-depth.toml")),
];

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The engine's way to the device alone.
    LogWrites,
    /// Puts into a new database.
    DurablePuts,
    /// Gets in a process of their own.
    Gets,
}

impl Subject {
    /// The settings that it has.
    const fn settings(self) -> &'static [&'static str] {
        match self {
            Self::LogWrites => &["strategy", "block_bytes", "queue_depth", "extents"],
            Self::DurablePuts => {
                &["strategy", "group_bytes", "segment_bytes", "threads", "value_bytes"]
            }
            Self::Gets => &["pages", "threads", "records", "value_bytes"],
        }
    }
}

/// How writes are made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// The fastest on this disk, as the engine measures it.
    Auto,
    /// See [`CommitStrategy`].
    LinkedFdatasync,
    /// See [`CommitStrategy`].
    Dsync,
    /// See [`CommitStrategy`].
    Syscall,
}

impl Strategy {
    /// The strategy, if it is a certain one.
    pub const fn fixed(self) -> Option<CommitStrategy> {
        match self {
            Self::Auto => None,
            Self::LinkedFdatasync => Some(CommitStrategy::LinkedFdatasync),
            Self::Dsync => Some(CommitStrategy::Dsync),
            Self::Syscall => Some(CommitStrategy::Syscall),
        }
    }
}

/// The pages of memory that the process allocates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pages {
    /// As the system decides.
    #[serde(rename = "system")]
    System,
    /// Small ones only.
    #[serde(rename = "4-kib")]
    Small,
    /// Huge ones where the kernel has them.
    #[serde(rename = "huge")]
    Huge,
}

/// All settings of one measurement.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How writes are made durable; default: dsync of log-writes, else auto.
    pub strategy: Option<Strategy>,
    /// Most bytes of a group.
    pub group_bytes: usize,
    /// Size of a log segment.
    pub segment_bytes: u64,
    /// Bytes of a log write.
    pub block_bytes: usize,
    /// Space that log writes go to.
    pub extents: Extents,
    /// Pages of memory.
    pub pages: Pages,
    /// Log writes in flight.
    pub queue_depth: usize,
    /// Threads at work.
    pub threads: u32,
    /// Bytes of each value.
    pub value_bytes: usize,
    /// Records that are read.
    pub records: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            strategy: None,
            group_bytes: 256 << 10,
            segment_bytes: 32 << 20,
            block_bytes: 4096,
            extents: Extents::Written,
            pages: Pages::System,
            queue_depth: 1,
            threads: 1,
            value_bytes: VALUE_BYTES,
            records: 200_000,
        }
    }
}

/// A recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    schema: u32,
    /// Its name in tables: that of the file.
    #[serde(skip)]
    pub name: String,
    /// Length of each measurement.
    pub seconds: f64,
    /// How often each is repeated.
    pub rounds: u32,
    /// What is measured.
    pub of: Subject,
    /// The setting that is varied.
    pub vary: String,
    /// Its values.
    values: Vec<toml::Value>,
    /// Other settings.
    #[serde(default)]
    fixed: toml::Table,
}

impl Recipe {
    /// The recipe that comes with the program under this name, or that of a file.
    pub fn find(name: &str) -> Result<Self, BenchError> {
        if let Some((_, text)) = BUILT_IN.iter().find(|(built_in, _)| *built_in == name) {
            return Self::parse(name, text).map_err(BenchError::Setup);
        }
        let path = Path::new(name);
        if !path.is_file() {
            let all = BUILT_IN.map(|(name, _)| name).join(", ");
            return Err(BenchError::Setup(format!("{name} is no file and none of {all}")));
        }
        let text = fs::read_to_string(path)
            .map_err(|error| BenchError::at(path, "cannot read the recipe", &error))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        Self::parse(&stem, &text).map_err(|error| BenchError::at(path, "bad recipe", &error))
    }

    /// Reads and checks the text of a recipe. The error names the line or the setting.
    pub fn parse(name: &str, text: &str) -> Result<Self, String> {
        let read: Result<Self, _> = toml::from_str(text);
        let recipe = read.map_err(|error| error.to_string().trim_end().to_owned())?;
        let recipe = Self { name: name.to_owned(), ..recipe };
        recipe.check()?;
        Ok(recipe)
    }

    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!(
                "schema = {} is unknown, this program reads {SCHEMA}",
                self.schema
            ));
        }
        within("seconds", self.seconds, 0.01, 60.0)?;
        within("rounds", f64::from(self.rounds), 1.0, f64::from(ROUNDS_MAX))?;
        within("number of values", self.values.len() as f64, 1.0, VALUES_MAX as f64)?;
        let known = self.of.settings();
        for name in self.fixed.keys().chain([&self.vary]) {
            if !known.contains(&name.as_str()) {
                let known = known.join(", ");
                return Err(format!("{name} is no setting of this, which has {known}"));
            }
        }
        self.cases()?.iter().try_for_each(|(_, settings)| settings.check(self.of))
    }

    /// The settings with each of the values, which names it.
    pub fn cases(&self) -> Result<Vec<(String, Settings)>, String> {
        let case = |value: &toml::Value| {
            let name = match value {
                toml::Value::String(name) => name.clone(),
                value => value.to_string(),
            };
            let mut settings = self.fixed.clone();
            settings.insert(self.vary.clone(), value.clone());
            let settings = settings.try_into::<Settings>();
            let settings = settings.map_err(|error| format!("{} = {name}: {error}", self.vary))?;
            Ok((name, settings))
        };
        self.values.iter().map(case).collect()
    }

    /// The text from which [`Recipe::parse`] makes the same recipe.
    pub fn to_text(&self) -> String {
        toml::to_string(self).expect("tables come after values in a recipe")
    }
}

fn within(what: &str, value: f64, least: f64, most: f64) -> Result<(), String> {
    let is_within = (least..=most).contains(&value);
    is_within.then_some(()).ok_or_else(|| format!("{what} = {value} is not {least} to {most}"))
}

impl Settings {
    fn check(&self, of: Subject) -> Result<(), String> {
        let power_within = |what: &str, value: u64, least: u64, most: u64| {
            within(what, value as f64, least as f64, most as f64)?;
            let is_power = value.is_power_of_two();
            is_power.then_some(()).ok_or_else(|| format!("{what} = {value} is no power of two"))
        };
        power_within("group_bytes", self.group_bytes as u64, 16 << 10, 1 << 20)?;
        power_within("segment_bytes", self.segment_bytes, 256 << 10, 4 << 30)?;
        power_within("block_bytes", self.block_bytes as u64, 512, 8 << 20)?;
        within("queue_depth", self.queue_depth as f64, 1.0, 16.0)?;
        within("threads", f64::from(self.threads), 1.0, 64.0)?;
        within("value_bytes", self.value_bytes as f64, 16.0, f64::from(1 << 20))?;
        within("records", self.records as f64, 1000.0, 5e7)?;
        if !self.value_bytes.is_multiple_of(8) {
            return Err(format!("value_bytes = {} is no multiple of 8", self.value_bytes));
        }
        let buffers = self.queue_depth as u64 * self.block_bytes as u64;
        within("queue_depth x block_bytes", buffers as f64, 512.0, f64::from(8 << 20))?;
        if of == Subject::LogWrites && self.strategy == Some(Strategy::Auto) {
            return Err("strategy = auto: log-writes need a certain one".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "schema = 1\nseconds = 0.5\nrounds = 2\nof = \"durable-puts\"\n\
        vary = \"group_bytes\"\nvalues = [16384, 65536]\n[fixed]\nthreads = 4\n";

    #[test]
    fn the_recipes_that_come_with_the_program_are_good_and_repeat_themselves() {
        for (name, _) in BUILT_IN {
            let recipe = Recipe::find(name).unwrap();
            assert_eq!(Recipe::parse(name, &recipe.to_text()).unwrap(), recipe);
        }
        let cases = Recipe::parse("r", GOOD).unwrap().cases().unwrap();
        let names: Vec<_> = cases.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["16384", "65536"]);
        assert_eq!((cases[1].1.group_bytes, cases[1].1.threads), (65536, 4));
        let error = Recipe::find("colours").unwrap_err().to_string();
        assert!(error.contains("no file and none of strategy, group-cap"), "{error}");
    }

    #[test]
    fn errors_name_the_line_or_the_setting() {
        for (from, to, told) in [
            ("schema = 1", "schema = 7", "schema = 7 is unknown"),
            ("seconds = 0.5", "seconds = 0.0", "seconds = 0 is not 0.01 to 60"),
            ("rounds = 2", "rounds = 0", "rounds = 0 is not 1"),
            ("\"durable-puts\"", "\"puts\"", "line 4"),
            ("\"durable-puts\"", "\"gets\"", "group_bytes is no setting of this"),
            ("\"group_bytes\"", "\"queue_depth\"", "queue_depth is no setting of this"),
            ("[16384, 65536]", "[]", "number of values = 0"),
            ("[16384, 65536]", "[\"many\"]", "group_bytes = many"),
            ("[16384, 65536]", "[20000]", "group_bytes = 20000 is no power of two"),
            ("threads = 4", "threads = 65", "threads = 65 is not 1 to 64"),
            ("threads = 4", "colour = 4", "colour is no setting of this"),
            ("[fixed]", "[mixed]", "line 7"),
        ] {
            let text = GOOD.replace(from, to);
            let error = Recipe::parse("r", &text).unwrap_err();
            assert!(error.contains(told), "{text}\ngave\n{error}");
        }
    }
}

//! Sweeps: one setting is varied, everything else stays; a table and a plot each.
//!
//! Every case is new in every round: a database of its own, or a log. Cases take turns as
//! elsewhere.

pub mod paged;
pub mod recipe;

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use uarr::{CommitPath, CommitStrategy};

use crate::error::BenchError;
use crate::machine::folder::RunFolder;
use crate::measure::job::{Job, Timing, View, Work};
use crate::measure::log_floor::{LogFloor, LogShape};
use crate::measure::rotation;
use crate::measure::rows::Metric;
use crate::measure::sample::Sample;
use crate::measure::store::{Class, Contender, OpenSpec, Writes};
use crate::parts::rounds::{Contestant, measure_run, sample_in_rounds};
use crate::parts::sweep::recipe::{Recipe, Settings, Subject};
use crate::report::RunSpec;
use crate::report::measured::{Line, Measured, MeasuredPart};
use crate::stores;

/// Record numbers of one sample.
const SAMPLE_NUMBERS_SHIFT: u32 = 46;
/// Records read back after a sample.
const VERIFY_READS_MAX: u64 = 20_000;

/// How to run.
#[derive(Clone, Debug)]
pub struct SweepOptions {
    /// Where; must exist.
    pub dir: PathBuf,
    /// What is varied.
    pub recipes: Vec<Recipe>,
    /// This program, started again for cases that need a process of their own.
    pub program: PathBuf,
}

/// Measures the recipes.
pub fn run(options: &SweepOptions) -> Result<Measured, BenchError> {
    let folder = RunFolder::create(&options.dir)?;
    let facts = stores::facts(&[Contender::Uarr], folder.path())?;
    let records = |recipe: &Recipe| {
        let cases = recipe.cases().unwrap_or_default();
        cases.iter().map(|(_, settings)| settings.records).max().unwrap_or(0)
    };
    let longest = options.recipes.iter().map(|recipe| recipe.seconds).fold(0.0, f64::max);
    let spec = RunSpec {
        seconds: longest,
        repetitions: options.recipes.iter().map(|recipe| recipe.rounds).max().unwrap_or(0),
        records: options.recipes.iter().map(records).max().unwrap_or(0),
        quick: false,
    };
    measure_run(spec, folder.path(), facts, || {
        let sweep = |recipe| Sweep {
            recipe,
            folder: folder.path().join(&recipe.name),
            program: &options.program,
            sample_count: Cell::new(0),
            notes: RefCell::default(),
        };
        options.recipes.iter().map(|recipe| sweep(recipe).measure()).collect()
    })
}

/// A recipe under way.
struct Sweep<'o> {
    recipe: &'o Recipe,
    folder: PathBuf,
    program: &'o Path,
    sample_count: Cell<u64>,
    notes: RefCell<Vec<String>>,
}

impl Sweep<'_> {
    fn measure(&self) -> Result<MeasuredPart, BenchError> {
        let recipe = self.recipe;
        let failed = |error| BenchError::at(&self.folder, "cannot create", &error);
        fs::create_dir(&self.folder).map_err(failed)?;
        let cases = recipe.cases().map_err(BenchError::Setup)?;
        let contestants = match recipe.of {
            Subject::LogWrites => self.log_writes(&cases)?,
            Subject::DurablePuts => self.contestants(&cases, Self::puts),
            Subject::Gets => self.contestants(&cases, Self::gets),
        };
        let lines = sample_in_rounds(&recipe.name, recipe.rounds, contestants)?;
        let named = |((setting, _), line): (&(String, Settings), Line)| Line {
            setting: Some(setting.clone()),
            ..line
        };
        let removed = fs::remove_dir_all(&self.folder);
        removed.map_err(|error| BenchError::at(&self.folder, "cannot remove", &error))?;
        Ok(MeasuredPart {
            name: recipe.name.clone(),
            title: format!("{}; ratio: p50 against the first row", self.title()),
            metric: Metric::P50Ns,
            lines: cases.iter().zip(lines).map(named).collect(),
            notes: self.notes.take(),
            recipe: Some(recipe.to_text()),
        })
    }

    fn title(&self) -> String {
        let what = match self.recipe.of {
            Subject::LogWrites => "writes of the log alone",
            Subject::DurablePuts => "durable puts",
            Subject::Gets => "gets, uniform, each in a process of its own",
        };
        format!("{what}, {} varied", self.recipe.vary)
    }

    fn contestant<'s>(
        &self,
        name: &str,
        measure: impl FnMut(u32) -> Result<Sample, BenchError> + 's,
    ) -> Contestant<'s> {
        let class = match self.recipe.of {
            Subject::LogWrites | Subject::DurablePuts => Class::Sync,
            Subject::Gets => Class::Read,
        };
        Contestant::new(format!("{} = {name}", self.recipe.vary), Some(class), measure)
    }

    fn contestants<'s>(
        &'s self,
        cases: &'s [(String, Settings)],
        measure: fn(&Self, &Settings, u32) -> Result<Sample, BenchError>,
    ) -> Vec<Contestant<'s>> {
        let contestant = |(name, settings): &'s (String, Settings)| {
            self.contestant(name, move |round| measure(self, settings, round))
        };
        cases.iter().map(contestant).collect()
    }

    /// Each case has a log of its own, in a directory of its own, for all rounds.
    fn log_writes<'s>(
        &'s self,
        cases: &'s [(String, Settings)],
    ) -> Result<Vec<Contestant<'s>>, BenchError> {
        let contestant = |(number, (name, settings)): (usize, &(String, Settings))| {
            let dir = self.folder.join(number.to_string());
            fs::create_dir(&dir).map_err(|error| BenchError::at(&dir, "cannot create", &error))?;
            let shape = LogShape {
                strategy: settings
                    .strategy
                    .and_then(|strategy| strategy.fixed())
                    .unwrap_or(CommitStrategy::Dsync),
                block_bytes: settings.block_bytes,
                queue_depth: settings.queue_depth,
                extents: settings.extents,
            };
            let mut floor = LogFloor::create(&dir, shape)?;
            let duration = self.duration();
            Ok(self.contestant(name, move |_| floor.measure(duration)))
        };
        cases.iter().enumerate().map(contestant).collect()
    }

    fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.recipe.seconds)
    }

    fn puts(&self, settings: &Settings, round: u32) -> Result<Sample, BenchError> {
        let number = self.sample_count.get() + 1;
        self.sample_count.set(number);
        let spec = OpenSpec {
            value_bytes: settings.value_bytes,
            ..OpenSpec::new(Writes::Durable, settings.records)
        };
        let path = self.folder.join("puts");
        let store = stores::open_engine(&path, spec, |builder| {
            let strategy = settings.strategy.and_then(|strategy| strategy.fixed());
            builder
                .commit_path(strategy.map_or(CommitPath::Auto, CommitPath::Fixed))
                .group_bytes(settings.group_bytes)
                .segment_bytes(settings.segment_bytes)
        })?;
        // Opening has work of its own, such as preparing log files.
        rotation::wait_until_still();
        let sample = store.run(&Job {
            work: Work::Put { first: number << SAMPLE_NUMBERS_SHIFT },
            view: View::PerRead,
            threads: settings.threads,
            duration: self.duration(),
            op_count_min: 0,
            op_count_max: u64::MAX,
            timing: Timing::Each,
            checkpoint_at: None,
            readers: 0,
            seed: u64::from(round),
        })?;
        store.verify(&sample.written, VERIFY_READS_MAX)?;
        store.close()?;
        let removed = fs::remove_dir_all(&path);
        removed.map_err(|error| BenchError::at(&path, "cannot remove", &error))?;
        Ok(sample)
    }

    fn gets(&self, settings: &Settings, round: u32) -> Result<Sample, BenchError> {
        let (dir, seconds) = (self.folder.join("gets"), self.recipe.seconds);
        let asked = paged::Asked { settings, seconds, seed: u64::from(round) };
        let done = paged::measure(self.program, &dir, &asked)?;
        let removed = fs::remove_dir_all(&dir);
        removed.map_err(|error| BenchError::at(&dir, "cannot remove", &error))?;
        if round == 0 {
            self.notes.borrow_mut().push(done.note(settings.pages));
        }
        Ok(done.into_sample(settings.threads))
    }
}

//! Running the command and looking at what it did.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A directory with room for a database.
pub struct Home {
    pub dir: TempDir,
}

/// What a run left.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The command, with nothing of this process' surroundings that matters to it.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uarr"));
    command.env_remove("UARR_DB").stdin(Stdio::null());
    command
}

/// `command`, which hears signals even if these tests were told to ignore some, as those in the
/// background of a shell are.
pub fn hearing(command: &Command) -> Command {
    let mut hearing = Command::new("env");
    hearing.arg("--default-signal=INT,TERM,HUP");
    hearing.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => hearing.env(name, value),
            None => hearing.env_remove(name),
        };
    }
    hearing
}

impl Home {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// With a database of 5000 records.
    pub fn filled() -> Self {
        let home = Self::new();
        let record = |i| format!("{{\"id\":{i},\"v\":\"{i:0>100}\"}}\n");
        home.feed(["import", "-", "--key", "id"], (0..5000).map(record).collect::<String>()).done();
        home
    }

    /// Path of the database.
    pub fn db(&self) -> PathBuf {
        self.dir.path().join("db")
    }

    /// Writes a file beside the database.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The command on the database.
    pub fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = command();
        command.arg("--db").arg(self.db()).args(args);
        command
    }

    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Run {
        Run::of(self.command(args).output().unwrap())
    }

    /// Runs the command with `input` as its standard input.
    pub fn feed<A: AsRef<OsStr>>(
        &self,
        args: impl IntoIterator<Item = A>,
        input: impl AsRef<[u8]>,
    ) -> Run {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // The command may refuse before it has read everything.
        let _ = stdin.write_all(input.as_ref());
        drop(stdin);
        Run::of(child.wait_with_output().unwrap())
    }
}

/// Where the kernel refuses io_uring every command says so, once. The suite runs there too, and
/// looks at what else is said.
pub fn without_backend_warning(told: &str) -> String {
    let is_other = |line: &&str| !line.contains("io_uring is not available");
    told.split_inclusive('\n').filter(is_other).collect()
}

/// The first line a running command says on its stderr, apart from that warning.
pub fn first_message(stderr: impl std::io::Read) -> String {
    let lines = std::io::BufRead::lines(std::io::BufReader::new(stderr));
    let mut told = lines.map(|line| line.unwrap() + "\n");
    told.find(|line| !without_backend_warning(line).is_empty()).expect("the command says something")
}

impl Run {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().expect("the command ended by itself"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: without_backend_warning(&String::from_utf8(output.stderr).unwrap()),
        }
    }

    /// Expects success without a word on stderr; gives stdout.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (0, ""), "{self:?}");
        self.stdout
    }

    /// Expects success with JSON on stdout.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.done()).unwrap()
    }

    /// Expects failure: this exit code, nothing on stdout, one line on stderr with all these parts.
    #[track_caller]
    pub fn failed(self, code: i32, parts: &[&str]) {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        assert_eq!(self.stderr.lines().count(), 1, "{self:?}");
        assert!(self.stderr.starts_with("uarr: "), "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "no '{part}' in {self:?}");
        }
    }

    /// Expects failure with `--json`: this exit code and kind; gives the error object.
    #[track_caller]
    pub fn failed_json(self, code: i32, kind: &str) -> Value {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");
        let error: Value = serde_json::from_str(&self.stderr).unwrap();
        let error = error["error"].clone();
        assert_eq!(error["kind"], kind, "{self:?}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
        error
    }
}

//! A process that uses a database on the disk by command: `src/bin/client.rs`.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::Random;

/// A client without an answer for so long is stuck.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// The value of record `number`.
pub fn value(number: u64) -> Vec<u8> {
    let mut random = Random::new(number);
    let len = match random.below(16) {
        0 => 8000 + random.below(6000),
        _ => 100 + random.below(1500),
    };
    (0..len).map(|_| random.next() as u8).collect()
}

/// A client, killed when dropped.
pub struct Client {
    /// Taken when dropped.
    child: Option<Child>,
    input: ChildStdin,
    answers: Receiver<Result<(), String>>,
    numbers: Arc<Mutex<Vec<u64>>>,
}

impl Client {
    /// Starts `program` in no directory of the disk.
    pub fn start(program: &str) -> Self {
        let child = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (Some(input), Some(output)) = (input, output) else { unreachable!("both are pipes") };
        let (answered, answers) = channel();
        let numbers = Arc::new(Mutex::new(Vec::new()));
        let heard = numbers.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some(number) = line.strip_prefix("record ") {
                    let number = number.parse().unwrap_or_else(|_| panic!("client: {line}"));
                    heard.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                    continue;
                }
                let answer = if line == "done" { Ok(()) } else { Err(line) };
                if answered.send(answer).is_err() {
                    break;
                }
            }
        });
        Self { child: Some(child), input, answers, numbers }
    }

    /// Gives the client a command.
    pub fn tell(&mut self, command: &str) {
        // If the client has ended, the caller that waits for its answer notices it.
        let _ = writeln!(self.input, "{command}");
    }

    /// Its answer, if it gives one in this time.
    pub fn answer_within(&mut self, time: Duration) -> Option<Result<(), String>> {
        match self.answers.recv_timeout(time) {
            Ok(answer) => Some(answer),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(Err("the client has ended".into())),
        }
    }

    /// Gives it a command, and waits for its answer.
    pub fn ask(&mut self, command: &str) -> Result<(), String> {
        self.tell(command);
        let answer = self.answer_within(ANSWER_TIME_MAX);
        answer.unwrap_or_else(|| panic!("no answer to '{command}' in {ANSWER_TIME_MAX:?}"))
    }

    /// Opens the database in `path`.
    pub fn open(&mut self, path: &Path, strategy: &str) -> Result<(), String> {
        self.ask(&format!("open {} {strategy}", path.display()))
    }

    /// The numbers it has named so far: of records that were acknowledged, or that it has listed.
    pub fn numbers(&self) -> Vec<u64> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// SIGKILL. Its system calls and requests may go on for a while.
    pub fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.kill();
        let Some(mut child) = self.child.take() else { return };
        // It ends with its last system call, which may wait for a disk that is set free later.
        std::thread::spawn(move || child.wait());
    }
}

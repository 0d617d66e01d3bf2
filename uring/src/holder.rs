//! [`Holder`]: who has a database open, as its lock file says.
//!
//! The file holds one line: the process' id, when it was started (in ticks since the machine was,
//! as the kernel says), and the namespace that its id is of. Only messages and patience depend on
//! it, never whether the lock is held.

use std::fmt;
use std::io::ErrorKind;

/// A lock file is no longer.
pub(crate) const HOLDER_BYTES_MAX: usize = 120;

/// Who has a database directory locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This process: a handle that was not dropped, or a write that was given up on.
    ThisProcess,
    /// A process that is alive, or of which that cannot be found out.
    Process {
        /// Its id.
        pid: u32,
    },
    /// A process that has ended. What is left of it holds the lock: a write that is still on its
    /// way to the device, or a process that it forked.
    EndedProcess {
        /// Its id.
        pid: u32,
    },
    /// An opener that has not written it down yet, or whose lock file was removed.
    Unknown,
}

impl Holder {
    /// Whether a lock file can have this content. After a loss of power it may be zeros.
    pub(crate) fn is_content(text: &str) -> bool {
        text.len() <= HOLDER_BYTES_MAX
            && (text.bytes().all(|byte| byte == 0) || Name::parse(text).is_some())
    }

    /// The holder that a lock file names.
    pub(crate) fn named_in(text: &str) -> Self {
        Name::parse(text).map_or(Self::Unknown, |name| name.holder(&Name::own()))
    }

    /// What this process writes to a lock file.
    pub(crate) fn own_text() -> String {
        let text = Name::own().to_string();
        assert!(Self::is_content(&text), "a process can read its own name: {text}");
        text
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ThisProcess => write!(
                f,
                "open in this process ({}): drop all of its handles first, clones too",
                std::process::id()
            ),
            Self::Process { pid } => write!(f, "open in process {pid}; close it there first"),
            Self::EndedProcess { pid } => write!(
                f,
                "still held by process {pid}, which has ended: its last write is on its way to the \
                 device, or a process that it forked has the files open; try again when the device \
                 has answered, or end that process"
            ),
            Self::Unknown => write!(
                f,
                "open already, but its lock file does not say in which process; close it there \
                 first"
            ),
        }
    }
}

/// What distinguishes a process from all others, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    pid: u32,
    start: Option<u64>,
    namespace: Option<u64>,
}

impl Name {
    fn own() -> Self {
        let pid = std::process::id();
        Self { pid, start: Life::of(pid).start, namespace: own_namespace() }
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let pid = words.next()?.parse().ok().filter(|pid| *pid > 0)?;
        // Either may be missing: "-".
        let mut number = || match words.next() {
            None | Some("-") => Some(None),
            Some(word) => word.parse().ok().map(Some),
        };
        let name = Self { pid, start: number()?, namespace: number()? };
        words.next().is_none().then_some(name)
    }

    fn holder(&self, own: &Self) -> Holder {
        let pid = self.pid;
        if let (Some(theirs), Some(ours)) = (self.namespace, own.namespace)
            && theirs != ours
        {
            // The id means nothing here.
            return Holder::Process { pid };
        }
        let is_same = |start: Option<u64>| {
            self.start.is_none() || start.is_none_or(|start| Some(start) == self.start)
        };
        if pid == own.pid && is_same(own.start) {
            return Holder::ThisProcess;
        }
        let life = Life::of(pid);
        match life.has_ended || !is_same(life.start) {
            true => Holder::EndedProcess { pid },
            false => Holder::Process { pid },
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.pid)?;
        for number in [self.start, self.namespace] {
            match number {
                Some(number) => write!(f, " {number}")?,
                None => write!(f, " -")?,
            }
        }
        writeln!(f)
    }
}

/// What the kernel says about a process.
struct Life {
    has_ended: bool,
    /// In ticks since the machine was started.
    start: Option<u64>,
}

impl Life {
    fn of(pid: u32) -> Self {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        let is_missing = stat.as_ref().is_err_and(|cause| cause.kind() == ErrorKind::NotFound);
        // Other people's processes may be hidden there; the signal 0 finds them.
        let has_ended = is_missing && !exists(pid);
        // The name in parentheses may hold anything, also parentheses.
        let stat = stat.unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let mut fields = fields.split_ascii_whitespace();
        // A zombie has ended, although its parent has not waited for it.
        let is_zombie = fields.next().is_some_and(|state| matches!(state, "Z" | "X"));
        // The state is field 3, the start field 22.
        Self {
            has_ended: has_ended || is_zombie,
            start: fields.nth(18).and_then(|start| start.parse().ok()),
        }
    }
}

fn exists(pid: u32) -> bool {
    let Ok(pid) = libc::pid_t::try_from(pid) else { return false };
    // SAFETY: the call takes numbers only; signal 0 is never delivered.
    let status = unsafe { libc::kill(pid, 0) };
    status == 0 || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}

/// The number of the namespace that this process' id is of.
fn own_namespace() -> Option<u64> {
    let link = std::fs::read_link("/proc/self/ns/pid").ok()?;
    let text = link.to_str()?;
    text.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_names_its_writer() {
        let text = Holder::own_text();
        assert_eq!(Holder::named_in(&text), Holder::ThisProcess);
        assert!(Name::own().start.is_some() && Name::own().namespace.is_some(), "{text}");
        // As earlier versions wrote it.
        assert_eq!(Holder::named_in(&format!("{}\n", std::process::id())), Holder::ThisProcess);
        assert_eq!(Holder::named_in("1\n"), Holder::Process { pid: 1 });
        for content in ["", "\0\0\0\0", "-3", "0", "many words of a letter"] {
            assert_eq!(Holder::named_in(content), Holder::Unknown, "{content}");
        }
    }

    #[test]
    fn only_a_lock_file_is_taken_for_one() {
        for (text, fine) in [
            ("", true),
            ("\0\0\0", true),
            ("17\n", true),
            ("17 4711 -\n", true),
            ("17 - 4026531836\n", true),
            ("dear diary", false),
            ("17 apples", false),
            ("17 1 2 3", false),
        ] {
            assert_eq!(Holder::is_content(text), fine, "{text:?}");
        }
        assert!(!Holder::is_content(&"1".repeat(HOLDER_BYTES_MAX + 1)));
    }

    #[test]
    fn a_later_process_with_the_same_id_is_another_one() {
        let own = Name::own();
        let earlier = Name { start: own.start.map(|start| start - 1), ..own.clone() };
        assert_eq!(earlier.holder(&own), Holder::EndedProcess { pid: own.pid });
        // The same id elsewhere is no evidence of anything.
        let elsewhere = Name { namespace: Some(1), ..earlier };
        assert_eq!(elsewhere.holder(&own), Holder::Process { pid: own.pid });

        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = Name { pid: child.id(), start: None, namespace: own.namespace };
        while ended.holder(&own) != (Holder::EndedProcess { pid: child.id() }) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(ended.holder(&own), Holder::EndedProcess { pid: child.id() });
    }
}

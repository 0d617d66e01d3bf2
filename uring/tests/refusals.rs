//! What happens when the kernel takes something away: io_uring, file size, the lock. Each case runs
//! in a child process, because what is taken away is taken from the whole process.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{self, BufRead, BufReader, ErrorKind};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use uarr_disk_sim::refuse::{
    deny_fallocate_for_this_process, deny_io_uring_for_this_process, in_fork,
};
use uarr_uring::{
    AlignedBuffer, Backend, BackendChoice, CommitStrategy, DataMap, DataMapWriter, GroupDone,
    GroupWrite, Holder, LockError, LogWriter, LogWriterOptions, MapPin, OpenMode, Storage,
    StorageFile, System, SystemFile, SystemOptions,
};

/// Says to a child which test it is to play in; its value is the directory to use.
const CHILD: &str = "UARR_URING_TEST_DIRECTORY";
const BLOCK: usize = 4096;

/// The directory, in a child.
fn child_directory() -> Option<std::path::PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}

fn spawn(test: &str, directory: &tempfile::TempDir) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs `body` in a child of its own with a directory of its own.
fn in_child(test: &str, body: impl FnOnce(&std::path::Path)) {
    if let Some(directory) = child_directory() {
        body(&directory);
        println!("the child is done");
        return;
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let output = spawn(test, &directory).wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("the child is done"), "{text}");
}

fn open(directory: &std::path::Path, backend: BackendChoice) -> io::Result<System> {
    System::open(directory, SystemOptions { backend })
}

fn options(strategy: CommitStrategy) -> LogWriterOptions {
    LogWriterOptions { strategy, buffer_count: 2, buffer_bytes: 8 * BLOCK }
}

/// A file of `block_count` zeroed and durable blocks.
fn segment(system: &System, block_count: usize) -> Arc<SystemFile> {
    let file = system.open("segment", OpenMode::CreateDirect).unwrap();
    let zeroes = AlignedBuffer::new(block_count * BLOCK);
    file.write_at(&zeroes, 0).unwrap();
    file.make_durable().unwrap();
    Arc::new(file)
}

/// Submits `block_count` blocks of sevens at the start of the file.
fn submit(log: &mut impl LogWriter<File = SystemFile>, file: &Arc<SystemFile>, block_count: usize) {
    let mut buffer = log.buffer(block_count * BLOCK);
    let len = block_count * BLOCK;
    Arc::get_mut(&mut buffer).unwrap()[..len].fill(7);
    let file = Arc::clone(file);
    log.submit(GroupWrite { file, offset: 0, buffer, start: 0, len }).unwrap();
}

fn assert_sevens(file: &SystemFile, block_count: usize) {
    let mut buffer = AlignedBuffer::new(block_count * BLOCK);
    assert_eq!(file.read_at(&mut buffer, 0).unwrap(), block_count * BLOCK);
    assert!(buffer.iter().all(|&byte| byte == 7));
}

#[test]
fn without_io_uring_plain_calls_are_used_and_it_is_said() {
    in_child("without_io_uring_plain_calls_are_used_and_it_is_said", |directory| {
        deny_io_uring_for_this_process().unwrap();
        let system = open(directory, BackendChoice::Auto).unwrap();
        assert_eq!(system.facts().backend, Backend::Syscalls);
        let warning = system.facts().warning.clone().unwrap();
        assert!(warning.starts_with("io_uring is not available: "), "{warning}");
        assert!(warning.contains("seccomp") && warning.contains("io_uring_enter"), "{warning}");
        assert!(warning.contains("Using plain system calls"), "{warning}");

        let error = open(directory, BackendChoice::Ring).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(warning.starts_with(&error.to_string()), "{error}");

        let plain = open(directory, BackendChoice::Syscalls).unwrap();
        assert_eq!(plain.facts().warning, None);

        let mut log = system.log_writer(options(CommitStrategy::LinkedFdatasync)).unwrap();
        let file = segment(&system, 2);
        submit(&mut log, &file, 2);
        log.complete().unwrap().result.unwrap();
        assert_sevens(&file, 2);
    });
}

#[test]
fn a_ring_that_is_taken_away_is_replaced_by_plain_calls() {
    in_child("a_ring_that_is_taken_away_is_replaced_by_plain_calls", |directory| {
        let system = open(directory, BackendChoice::Ring).unwrap();
        let mut log = system.log_writer(options(CommitStrategy::LinkedFdatasync)).unwrap();
        let file = segment(&system, 4);
        deny_io_uring_for_this_process().unwrap();
        submit(&mut log, &file, 2);
        log.complete().unwrap().result.unwrap();
        assert_sevens(&file, 2);
        assert_eq!(log.strategy(), CommitStrategy::Syscall);
        let refused = log.set_strategy(CommitStrategy::Dsync).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported);
        submit(&mut log, &file, 4);
        submit(&mut log, &file, 3);
        drop(log);
        // Allowed when the directory was opened, refused when the log is made.
        assert!(system.log_writer(options(CommitStrategy::Dsync)).is_err());
    });
}

/// As on file systems that can neither zero nor dig out a range, and on those that cannot even
/// allocate: `renew` did nothing there.
#[test]
fn a_file_is_renewed_without_the_file_systems_help() {
    in_child("a_file_is_renewed_without_the_file_systems_help", |directory| {
        let system = open(directory, BackendChoice::Syscalls).unwrap();
        let (start, end) = (3 * BLOCK + 100, 600 * BLOCK);
        let file = system.open("renewed", OpenMode::CreateMapped).unwrap();
        let flags = [libc::FALLOC_FL_ZERO_RANGE, libc::FALLOC_FL_PUNCH_HOLE];
        for denied in [&flags[..], &[]] {
            deny_fallocate_for_this_process(denied).unwrap();
            file.write_at(&vec![7; end], 0).unwrap();
            let middle = 300 * BLOCK;
            file.renew(start as u64, (middle - start) as u64).unwrap();
            let mut byte = [9];
            file.read_at(&mut byte, middle as u64).unwrap();
            assert_eq!(byte, [7], "what lies behind a range stays");
            file.renew(middle as u64, (end - middle) as u64).unwrap();
            let mut content = vec![9; end + 1];
            assert_eq!(file.read_at(&mut content, 0).unwrap(), end, "the length stays");
            assert!(content[..start].iter().all(|byte| *byte == 7));
            assert!(content[start..end].iter().all(|byte| *byte == 0));
            let blocks = std::fs::metadata(directory.join("renewed")).unwrap().blocks();
            assert!(blocks * 512 >= end as u64, "{blocks} blocks of 512 bytes");
        }
    });
}

/// What sandboxes do after a start: calls to io_uring are forbidden, while operations are at the
/// device. They still end well, and no other user gets their buffers until then.
#[test]
fn a_ring_that_is_taken_away_while_writes_fly_still_reports_how_they_ended() {
    in_child(
        "a_ring_that_is_taken_away_while_writes_fly_still_reports_how_they_ended",
        |directory| {
            let system = open(directory, BackendChoice::Ring).unwrap();
            let lock = system.lock("LOCK", Duration::ZERO).unwrap();
            let file = segment(&system, 16);
            let mut logs: Vec<_> = [
                (CommitStrategy::Dsync, 0),
                (CommitStrategy::LinkedFdatasync, 1),
                (CommitStrategy::Dsync, 2),
                (CommitStrategy::LinkedFdatasync, 3),
            ]
            .map(|(strategy, completed)| (system.log_writer(options(strategy)).unwrap(), completed))
            .into();
            for (log, _) in &mut logs {
                submit(log, &file, 8);
                submit(log, &file, 7);
            }
            deny_io_uring_for_this_process().unwrap();
            for (log, completed) in &mut logs {
                for _ in 0..*completed {
                    let done = log.complete();
                    assert!(done.is_none_or(|done| done.result.is_ok()));
                }
                let text = format!("{log:?}");
                assert!(text.contains("given_up: 0"), "{text}");
                if *completed > 0 {
                    // From here on by system calls.
                    submit(log, &file, 4);
                    while let Some(done) = log.complete() {
                        done.result.unwrap();
                    }
                    assert_eq!(log.strategy(), CommitStrategy::Syscall);
                }
            }
            drop(logs);
            assert_sevens(&file, 8);
            drop(lock);
            drop(system.lock("LOCK", Duration::ZERO).unwrap());
        },
    );
}

/// From now on no file can be written beyond `bytes`; `None` lifts the limit again.
fn limit_file_size(bytes: Option<u64>) {
    // SAFETY: ignoring a signal runs no code.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let rlim_cur = bytes.unwrap_or(libc::RLIM_INFINITY);
    let limit = libc::rlimit { rlim_cur, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` outlives the call, which only reads it.
    let status = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
}

/// What makes room works on: it takes only space that is there.
#[test]
fn a_limit_does_not_bound_what_is_appended_to_space_that_is_there() {
    in_child("a_limit_does_not_bound_what_is_appended_to_space_that_is_there", |directory| {
        const CHUNK: u64 = 1 << 16;
        let system = open(directory, BackendChoice::Auto).unwrap();
        let file = system.open("data", OpenMode::CreateMapped).unwrap();
        let (map, mut writer) = system.map(&file, 4 * CHUNK, CHUNK, &[]).unwrap();
        writer.allocate(0..2).unwrap();
        assert!(writer.open_chunks(0, 0, 2));
        limit_file_size(Some(BLOCK as u64));
        writer.append_written(0, &[7; 2 * BLOCK]).unwrap();
        writer.append_written(2 * BLOCK as u64, b"more").unwrap();
        assert_eq!(writer.allocate(2..3).unwrap_err().kind(), ErrorKind::FileTooLarge);
        limit_file_size(None);
        let pin = MapPin::enter();
        let bytes = map.bytes_from(0, &pin).bytes();
        assert!(bytes[..2 * BLOCK].iter().all(|byte| *byte == 7));
        assert_eq!(&bytes[2 * BLOCK..], b"more");
    });
}

/// The kernel writes only the first half of a group, without an error.
fn short_write(directory: &std::path::Path, strategy: CommitStrategy, lift: bool) -> GroupDone {
    let system = open(directory, BackendChoice::Ring).unwrap();
    let mut log = system.log_writer(options(strategy)).unwrap();
    let file = segment(&system, 4);
    limit_file_size(Some(2 * BLOCK as u64));
    submit(&mut log, &file, 4);
    if lift {
        limit_file_size(None);
    }
    let done = log.complete().unwrap();
    limit_file_size(None);
    if lift {
        assert_sevens(&file, 4);
        let counters = log.counters();
        assert_eq!(counters.write_count, 2, "the first write was short");
        assert_eq!(counters.flush_count, 2, "and its flush is not relied on");
    }
    done
}

#[test]
fn a_short_linked_write_is_finished_and_flushed_again() {
    in_child("a_short_linked_write_is_finished_and_flushed_again", |directory| {
        short_write(directory, CommitStrategy::LinkedFdatasync, true).result.unwrap();
    });
}

#[test]
fn a_short_dsync_write_is_finished_and_flushed_again() {
    in_child("a_short_dsync_write_is_finished_and_flushed_again", |directory| {
        short_write(directory, CommitStrategy::Dsync, true).result.unwrap();
    });
}

#[test]
fn a_write_that_cannot_be_finished_is_an_error() {
    in_child("a_write_that_cannot_be_finished_is_an_error", |directory| {
        for strategy in
            [CommitStrategy::LinkedFdatasync, CommitStrategy::Dsync, CommitStrategy::Syscall]
        {
            let error = short_write(directory, strategy, false).result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FileTooLarge, "{error}");
            assert!(error.to_string().contains("segment"), "{error}");
            std::fs::remove_file(directory.join("segment")).unwrap();
        }
    });
}

/// From now on this process may lock no more memory than this. The superuser may in spite of the
/// limit, so it becomes another user.
fn limit_locked_memory(bytes: u64) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
    // SAFETY: `limit` outlives the call, which only reads it.
    let status = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
    assert_eq!(status, 0, "{}", io::Error::last_os_error());
    // SAFETY: this call takes no arguments.
    if unsafe { libc::geteuid() } == 0 {
        const NOBODY: libc::uid_t = 65534;
        // SAFETY: this call takes numbers only.
        let status = unsafe { libc::setresuid(NOBODY, NOBODY, NOBODY) };
        assert_eq!(status, 0, "{}", io::Error::last_os_error());
    }
}

#[test]
fn without_locked_memory_buffers_are_not_registered() {
    in_child("without_locked_memory_buffers_are_not_registered", |directory| {
        let system = open(directory, BackendChoice::Ring).unwrap();
        let file = segment(&system, 2);
        // Enough for the ring itself, which newer kernels count too, but not for the buffers.
        limit_locked_memory(256 << 10);
        let strategy = CommitStrategy::LinkedFdatasync;
        let large = LogWriterOptions { strategy, buffer_count: 2, buffer_bytes: 1 << 20 };
        let mut log = system.log_writer(large).unwrap();
        assert!(format!("{log:?}").contains("registered: false"), "{log:?}");
        submit(&mut log, &file, 2);
        log.complete().unwrap().result.unwrap();
        assert_eq!(log.strategy(), strategy);
        assert_sevens(&file, 2);
    });
}

#[test]
fn a_lock_is_held_by_another_process_until_it_dies() {
    let test = "a_lock_is_held_by_another_process_until_it_dies";
    if let Some(directory) = child_directory() {
        let system = open(&directory, BackendChoice::Syscalls).unwrap();
        let _lock = system.lock("LOCK", Duration::ZERO).unwrap();
        println!("the lock is taken");
        loop {
            std::thread::park();
        }
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut child = spawn(test, &directory);
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut lines = output.lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("the lock is taken")));
    let system = open(directory.path(), BackendChoice::Syscalls).unwrap();
    match system.lock("LOCK", Duration::from_millis(20)) {
        Err(LockError::Held(holder)) => assert_eq!(holder, Holder::Process { pid: child.id() }),
        other => panic!("the lock was held, but: {other:?}"),
    }
    child.kill().unwrap();
    // Patience is for the time between the signal and the end of the process.
    let lock = system.lock("LOCK", Duration::from_secs(30));
    child.wait().unwrap();
    assert!(lock.is_ok(), "{lock:?}");
}

/// A copy of the ring of `child`, as a request that has not ended would hold it. It must be the
/// only ring there.
fn ring_of(child: &Child) -> OwnedFd {
    let pid = libc::pid_t::try_from(child.id()).unwrap();
    let mut rings = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(|entry| {
        let path = entry.unwrap().path();
        let target = std::fs::read_link(&path).ok()?;
        let number = path.file_name()?.to_str()?.parse::<i32>().ok()?;
        target.to_str()?.contains("[io_uring]").then_some(number)
    });
    let (ring, None) = (rings.next().unwrap(), rings.next()) else { panic!("more than one ring") };
    // SAFETY: this call takes numbers only.
    let process = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as i32;
    assert!(process >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the descriptor was opened just now and has no other owner.
    let process = unsafe { OwnedFd::from_raw_fd(process) };
    // SAFETY: this call takes numbers only; `process` is open for the whole call.
    let copy = unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), ring, 0) } as i32;
    assert!(copy >= 0, "{}", io::Error::last_os_error());
    // SAFETY: the descriptor was opened just now and has no other owner.
    unsafe { OwnedFd::from_raw_fd(copy) }
}

/// The lock must outlive the process that took it for as long as its ring lives, for the ring lives
/// as long as its last write is on its way to the device.
#[test]
fn a_ring_that_outlives_its_process_holds_the_lock() {
    let test = "a_ring_that_outlives_its_process_holds_the_lock";
    if let Some(directory) = child_directory() {
        let system = open(&directory, BackendChoice::Ring).unwrap();
        let _lock = system.lock("LOCK", Duration::ZERO).unwrap();
        let _log = system.log_writer(options(CommitStrategy::Dsync)).unwrap();
        println!("the ring is there");
        loop {
            std::thread::park();
        }
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut child = spawn(test, &directory);
    let output = BufReader::new(child.stdout.take().unwrap());
    assert!(output.lines().map(Result::unwrap).any(|line| line.contains("the ring is there")));
    let ring = ring_of(&child);
    child.kill().unwrap();
    child.wait().unwrap();
    let system = open(directory.path(), BackendChoice::Ring).unwrap();
    match system.lock("LOCK", Duration::from_millis(200)) {
        Err(LockError::Held(holder)) => {
            assert_eq!(holder, Holder::EndedProcess { pid: child.id() });
            assert!(holder.to_string().contains("on its way to the device"), "{holder}");
        }
        other => panic!("its ring lives, but: {other:?}"),
    }
    drop(ring);
    system.lock("LOCK", Duration::from_secs(30)).unwrap();
}

#[test]
fn a_forked_process_takes_nothing_from_its_parent() {
    in_child("a_forked_process_takes_nothing_from_its_parent", |directory| {
        for backend in [BackendChoice::Ring, BackendChoice::Syscalls] {
            let system = open(directory, backend).unwrap();
            let lock = system.lock("LOCK", Duration::ZERO).unwrap();
            let mut log = system.log_writer(options(CommitStrategy::Dsync)).unwrap();
            let file = segment(&system, 4);
            submit(&mut log, &file, 2);
            let mut owned = Some((lock, log));
            let went_well = in_fork(|| {
                assert!(system.is_forked());
                let (lock, mut log) = owned.take().unwrap();
                let buffer = log.buffer(BLOCK);
                let file = Arc::clone(&file);
                let write = GroupWrite { file, offset: 0, buffer, start: 0, len: BLOCK };
                let error = log.submit(write).unwrap_err();
                assert!(error.to_string().contains("forked"), "{error}");
                assert!(log.complete().unwrap().result.is_err());
                assert!(log.complete().is_none());
                drop(lock);
                drop(log);
            });
            assert!(went_well.unwrap());
            assert!(!system.is_forked());
            assert!(open(directory, backend).unwrap().lock("LOCK", Duration::ZERO).is_err());
            let (lock, mut log) = owned.unwrap();
            log.complete().unwrap().result.unwrap();
            submit(&mut log, &file, 4);
            log.complete().unwrap().result.unwrap();
            assert_sevens(&file, 4);
            drop((log, lock));
            drop(open(directory, backend).unwrap().lock("LOCK", Duration::ZERO).unwrap());
            std::fs::remove_file(directory.join("segment")).unwrap();
        }
    });
}

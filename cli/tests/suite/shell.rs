//! `uarr shell`, through a pipe as scripts use it, and through a terminal as people do.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rexpect::session::{PtySession, spawn_command};

use crate::run::{Home, Run, first_message, hearing};

/// Only a shell that hangs takes so long.
const PATIENCE_MS: u64 = 60_000;

fn script(home: &Home, args: &[&str], lines: &str) -> Run {
    home.feed(std::iter::once("shell").chain(args.iter().copied()), lines)
}

#[test]
fn a_script_runs_on_one_open_database() {
    let home = Home::new();
    let lines = "
        # Quotes are those of other shells.
        put ada '{\"name\":\"Ada Lovelace\",\"born\":1815}'
        put \"b o b\" {\\\"born\\\":1900}
        get ada --field name
        incr visits --by 5
        count
        table create users --key-kind u64
        use users
        put 7 '{\"nick\":\"x\"}'
        scan
        get ada --table nothing
        use
        scan --keys-only
        sync
        checkpoint
        get ada --field born --json
    ";
    let run = script(&home, &["--create"], lines);
    let expected =
        "\"Ada Lovelace\"\n5\n3\n{\"key\":7,\"value\":{\"nick\":\"x\"}}\nada\nb o b\nvisits\n";
    let rest = run.stdout.strip_prefix(expected).expect(&run.stdout);
    assert_eq!(rest, "checkpoint of 4 keys taken\n1815\n");
    assert_eq!(
        run.stderr,
        "uarr: line 12: there is no table 'nothing'; `uarr tables` lists those that there are\n"
    );
    assert_eq!(run.code, 1);
    // It was closed in order.
    assert!(home.run(["stats"]).done().contains("closed in order"));
    assert_eq!(home.run(["count"]).done(), "3\n");
}

/// The first failure says how it ends; later lines run.
#[test]
fn failures_end_lines_and_the_first_gives_the_exit_code() {
    let home = Home::new();
    let run = script(&home, &["--create"], "nonsense\nget a\nput a 1\nput a {\nget a 'x\nget a\n");
    assert_eq!((run.code, run.stdout.as_str()), (2, "1\n"), "{run:?}");
    for said in [
        "unrecognized subcommand 'nonsense'",
        "line 2: there is no record",
        "line 4: ",
        "line 5: a quote",
    ] {
        assert!(run.stderr.contains(said), "{said}: {run:?}");
    }
    let run = script(&home, &[], "get b\nnonsense\nput b 1\n");
    assert_eq!(run.code, 1, "{run:?}");
    let run = script(&home, &["--json"], "get b\nget a\nget x\n");
    assert_eq!((run.code, run.stdout.as_str()), (1, "1\n1\n"));
    let error: serde_json::Value = serde_json::from_str(&run.stderr).unwrap();
    assert_eq!(
        (&error["error"]["kind"], &error["error"]["line"]),
        (&"key_not_found".into(), &3.into())
    );
    assert_eq!(script(&home, &[], "get a\nexit\nget nothing\n").done(), "1\n");
    let help = script(&home, &[], "help\nhelp scan\n").done();
    assert!(
        help.contains("checkpoint") && help.contains("--where") && !help.contains("--db"),
        "{help}"
    );
    let run = script(&home, &[], "get a --db elsewhere\nimport x\nshell\n");
    assert_eq!((run.code, run.stdout.as_str()), (2, ""));
}

#[test]
fn it_opens_what_is_there_and_leaves_nothing_unused() {
    let home = Home::new();
    script(&home, &[], "count\n").failed(3, &["does not exist"]);
    assert_eq!(script(&home, &["--create"], "count\n").done(), "0\n");
    assert!(!home.db().exists(), "nothing was written");
    home.run(["put", "a", "1"]).done();
    script(&home, &["--table", "x"], "count\n").failed(1, &["no table 'x'"]);
    home.run(["--table", "x", "put", "b", "2"]).done();
    assert_eq!(script(&home, &["--table", "x"], "get b\nget a --table x\n").code, 1);
    // A record that a line leaves to standard input.
    assert_eq!(script(&home, &[], "put c -\n{\"n\":\n3}\n").done(), "");
    assert_eq!(home.run(["get", "c"]).done(), "{\"n\":3}\n");
}

/// With `manual`, too: a signal makes durable what was written.
#[test]
fn a_signal_ends_a_script_and_loses_nothing() {
    let home = Home::new();
    let args = ["shell", "--create", "--durability", "manual"];
    let mut command = hearing(&home.command(args));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, b"put a 1\nget nothing\n").unwrap();
    let told = first_message(child.stderr.take().unwrap());
    assert!(told.contains("line 2"), "{told}");
    let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(child.wait().unwrap().signal(), Some(15));
    assert_eq!(home.run(["get", "a"]).done(), "1\n");
}

fn terminal(home: &Home, args: &[&str], more: impl FnOnce(&mut Command)) -> PtySession {
    let mut command = home.command(std::iter::once("shell").chain(args.iter().copied()));
    // Those are the terminal.
    command.stdin(Stdio::inherit());
    command.env("TERM", "xterm").env("XDG_STATE_HOME", home.dir.path().join("state"));
    more(&mut command);
    spawn_command(command, Some(PATIENCE_MS)).unwrap()
}

#[test]
fn a_person_types_completes_and_ends_it() {
    let home = Home::new();
    home.run(["put", "ada", "{\"name\":\"Ada\",\"born\":1815}"]).done();
    home.run(["--table", "users", "put", "bob", "{\"nick\":1}"]).done();
    let mut shell = terminal(&home, &[], |_| {});
    shell.exp_string("2 keys; help lists the commands").unwrap();
    shell.exp_string("uarr> ").unwrap();
    shell.send("get ada --fi\tbo\t\r").unwrap();
    shell.flush().unwrap();
    shell.exp_string("--field born").unwrap();
    shell.exp_string("1815\r\n").unwrap();
    // Ctrl-C drops the line.
    shell.send("get nonse").unwrap();
    shell.flush().unwrap();
    shell.exp_string("nonse").unwrap();
    shell.send_control('c').unwrap();
    shell.exp_string("uarr> ").unwrap();
    shell.send_line("get eve").unwrap();
    shell.exp_string("no record with key 'eve'").unwrap();
    shell.send("use us\t\r").unwrap();
    shell.flush().unwrap();
    shell.exp_string("uarr:users> ").unwrap();
    shell.send_line("scan").unwrap();
    shell.exp_string("{\"key\":\"bob\",\"value\":{\"nick\":1}}").unwrap();
    // Lines behind a space are not kept.
    shell.send_line(" incr secret --by 77").unwrap();
    shell.exp_string("\r\n77\r\n").unwrap();
    shell.exp_string("uarr:users> ").unwrap();
    shell.send_control('d').unwrap();
    shell.exp_eof().unwrap();
    assert!(home.run(["stats"]).done().contains("closed in order"));
    let history = std::fs::read_to_string(home.dir.path().join("state/uarr/history")).unwrap();
    assert!(history.contains("get ada --field born") && !history.contains("secret"), "{history}");

    let mut shell = terminal(&home, &[], |_| {});
    shell.exp_string("uarr> ").unwrap();
    // Up to the line before.
    shell.send("\u{1b}[A\u{1b}[A\u{1b}[A\u{1b}[A\r").unwrap();
    shell.flush().unwrap();
    shell.exp_string("1815\r\n").unwrap();
    shell.send_line("exit").unwrap();
    shell.exp_eof().unwrap();
}

#[test]
fn without_history_nothing_is_kept() {
    let home = Home::new();
    home.run(["put", "a", "1"]).done();
    let mut shell = terminal(&home, &["--no-history"], |_| {});
    shell.exp_string("1 key; help").unwrap();
    shell.send_line("get a").unwrap();
    shell.exp_string("1\r\n").unwrap();
    shell.send_control('d').unwrap();
    shell.exp_eof().unwrap();
    assert!(!home.dir.path().join("state").exists());
}

/// The terminal is that of `script`, which passes on no more than its own reader takes: most of the
/// records are not printed yet when Ctrl-C comes. How the shell ended is kept in a file, as
/// `script` loses an exit code now and then.
#[test]
fn ctrl_c_ends_a_scan_and_not_the_shell() {
    let home = Home::filled();
    let program = env!("CARGO_BIN_EXE_uarr");
    let shell = format!("{program} --db {} shell --no-history", home.db().display());
    let code = home.dir.path().join("code");
    let line = format!("trap : INT; {shell}; echo $? > {}", code.display());
    let mut command = Command::new("script");
    command.args(["-qc", &line, "/dev/null"]).env("TERM", "xterm").env_remove("UARR_DB");
    let mut command = hearing(&command);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut press = |text: &str| std::io::Write::write_all(&mut keys, text.as_bytes()).unwrap();
    let mut seen = String::new();
    let mut wait_for = |text: &str| {
        let mut byte = [0];
        while !seen.ends_with(text) {
            std::io::Read::read_exact(&mut screen, &mut byte).expect(&seen);
            seen.push(byte[0].into());
        }
        std::mem::take(&mut seen).lines().count()
    };
    wait_for("uarr> ");
    press("scan --where id>=0\r");
    wait_for("{\"key\":\"1000\"");
    press("\u{3}");
    let printed = wait_for("uarr: interrupted");
    assert!(printed < 4900, "{printed}");
    wait_for("uarr> ");
    press("get 4999 --field id\r");
    wait_for("\n4999\r\n");
    wait_for("uarr> ");
    press("\u{4}");
    child.wait().unwrap();
    assert_eq!(std::fs::read_to_string(code).unwrap(), "0\n");
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let home = Home::new();
    home.run(["put", "a", "1"]).done();
    for (no_colour, is_plain) in [("", false), ("1", true)] {
        let mut shell = terminal(&home, &["--no-history"], |command| {
            command.env("NO_COLOR", no_colour);
        });
        shell.exp_string("uarr> ").unwrap();
        shell.send_line("help get").unwrap();
        let help = shell.exp_string("Print only this field").unwrap();
        let coloured = help.contains("\u{1b}[1m");
        assert_eq!(!coloured, is_plain, "NO_COLOR={no_colour}: {help:?}");
        shell.send_control('d').unwrap();
        shell.exp_eof().unwrap();
    }
    assert!(!script(&home, &[], "help get\n").done().contains('\u{1b}'));
}

/// All but the first were lost: they stood in a buffer that ended with the first line.
#[test]
fn lines_that_are_typed_ahead_are_run_one_by_one() {
    let home = Home::new();
    home.run(["put", "n", "1"]).done();
    let mut shell = terminal(&home, &["--no-history"], |_| {});
    shell.exp_string("uarr> ").unwrap();
    shell.send("incr n\rincr n\rincr n\r").unwrap();
    shell.flush().unwrap();
    shell.exp_string("\n4\r\n").unwrap();
    shell.exp_string("uarr> ").unwrap();
    shell.send_control('d').unwrap();
    shell.exp_eof().unwrap();
    assert_eq!(home.run(["get", "n"]).done(), "4\n");
}

//! The house is in order.
//!
//! Promises proved: `docs` and source say the same, and the source keeps the rules of the house;
//! `tests/src/tidy` has one file for each check. Every check is shown to find a planted case, and
//! to be content without it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::Path;

use uarr_tests::tidy::not_yet::{NOT_YET, verdict};
use uarr_tests::tidy::{
    Finding, Tree, assertions, circles, citations, crates, floors, glossary, lines, lint_tables,
    names, outside, releases, sizes, unsafe_code,
};

#[test]
fn the_tree_is_tidy() {
    let tree = Tree::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
    println!("{}", circles::report(&tree));
    let said = verdict(&tree, NOT_YET);
    assert!(said.is_empty(), "{} things to mend:\n{}", said.len(), said.join("\n"));
}

const ONE_CRATE: &str = "[workspace]\nmembers = ['c']\n";
const MANIFEST: &str = "[package]\nname = 'c'\n\n[lints]\nworkspace = true\n";
const ENGINE: &str = "[workspace]\nmembers = ['engine']\n";

/// Every finding as one line.
fn said(findings: Vec<Finding>) -> Vec<String> {
    findings.iter().map(Finding::to_string).collect()
}

/// A crate `c` with these files in its `src`, by path from the root.
fn one_crate(files: &[(&'static str, &str)]) -> Tree {
    let fixed = [("Cargo.toml", ONE_CRATE), ("c/Cargo.toml", MANIFEST)];
    Tree::planted(fixed.into_iter().chain(files.iter().copied()))
}

#[test]
fn a_circle_of_files_is_found_through_re_exports_and_macros() {
    let lib = "mod a;\nmod b;\nmod d;\npub use b::Right;\n";
    let files = |left: &'static str, right: &'static str, third: &'static str| {
        let a = ("c/src/a.rs", left);
        one_crate(&[("c/src/lib.rs", lib), a, ("c/src/b.rs", right), ("c/src/d.rs", third)])
    };
    let right = "pub struct Right;\n#[cfg(test)]\nmod tests { use crate::a::Left; }\n";
    let tree = files("use crate::Right;\npub struct Left(Right);\n", right, "");
    assert_eq!(said(circles::check(&tree)), [""; 0], "what only a test uses draws no arrow");

    let right = "pub struct Right;\nfn f() -> super::a::Left { todo!() }\n";
    let tree = files("use crate::Right;\npub struct Left(Right);\n", right, "");
    assert_eq!(said(circles::check(&tree)), ["c: a circle of 2 files: a.rs b.rs"]);
    assert_eq!(circles::check(&tree)[0].amount, 2);
    assert!(circles::report(&tree).contains("c/src/lib.rs: 2 arrows, 1 circles"));

    let left = "use crate::d;\nfn f() { assert!(d::yes(), \"no\"); }\n";
    let third = "use crate::Right as R;\npub fn yes() -> bool { true }\n";
    let right = "pub struct Right;\nmacro_rules! m { () => { $crate::a::f() } }\n";
    let tree = files(left, right, third);
    assert_eq!(said(circles::check(&tree)), ["c: a circle of 3 files: a.rs b.rs d.rs"]);
}

/// An engine whose picture has these lines.
fn engine(picture: &str, files: &[(&'static str, &str)]) -> Tree {
    let page = format!("# A page\n\n```floors\n{picture}```\n");
    let fixed = [("Cargo.toml", ENGINE.into()), ("docs/ARCHITECTURE.md", page)];
    let files = files.iter().map(|(path, text)| (*path, text.to_string()));
    Tree::planted(fixed.into_iter().chain(files))
}

#[test]
fn an_arrow_to_a_higher_floor_is_found() {
    let picture = "lib  -- the face\ncore\nlog | data\nerror key\n";
    let files = |log: &'static str, error: &'static str| {
        let lib = "mod core;\nmod log;\nmod data;\nmod error;\nmod key;\n";
        engine(
            picture,
            &[
                ("engine/src/lib.rs", lib),
                ("engine/src/core.rs", "use crate::log::writer::Log;\nuse crate::data::Store;\n"),
                ("engine/src/log/mod.rs", "pub mod writer;\n"),
                ("engine/src/log/writer.rs", log),
                ("engine/src/data.rs", "pub struct Store;\nuse crate::error::Error;\n"),
                ("engine/src/error.rs", error),
                ("engine/src/key.rs", "use crate::error::Error;\n"),
            ],
        )
    };
    let tree = files("pub struct Log;\nuse crate::key;\n", "pub struct Error;\n");
    assert_eq!(said(floors::check(&tree)), [""; 0]);
    let tree = files("pub struct Log;\n\nuse crate::data::Store;\n", "use crate::core;\n");
    let expected = [
        "engine/src/error.rs:1: reaches up to engine/src/core.rs",
        "engine/src/log/writer.rs:3: reaches across to engine/src/data.rs",
    ];
    assert_eq!(said(floors::check(&tree)), expected);
}

#[test]
fn a_picture_of_other_rooms_is_found() {
    let files = [
        ("engine/src/lib.rs", "mod core;\nmod log;\n"),
        ("engine/src/core.rs", ""),
        ("engine/src/log.rs", ""),
    ];
    let tree = engine("lib\ncore core\ncellar\n", &files);
    let expected = [
        "docs/ARCHITECTURE.md:5: `core` stands twice",
        "docs/ARCHITECTURE.md:6: `cellar` is no folder or file of engine/src",
        "engine/src/log.rs: stands on no floor of docs/ARCHITECTURE.md",
    ];
    assert_eq!(said(floors::check(&tree)), expected);
    let none = Tree::planted([("docs/ARCHITECTURE.md", "```text\nlib\n```\n")]);
    assert_eq!(floors::check(&none).len(), 1, "no picture is a finding, too");
}

#[test]
fn an_arrow_between_crates_that_is_not_drawn_is_found() {
    let tree = |picture: &str, uring: &str| {
        let shared = "[workspace]\nmembers = ['engine', 'uring', 'layout']\n\
                      [workspace.dependencies]\nuarr-layout = { path = 'layout' }\n";
        let engine = "[dependencies]\nuarr-layout.workspace = true\nserde = '1'\n\
                      [dev-dependencies]\nuarr-uring = { path = '../uring' }\n";
        Tree::planted([
            ("docs/ARCHITECTURE.md", format!("```crates\n{picture}```\n")),
            ("Cargo.toml", shared.into()),
            ("engine/Cargo.toml", engine.into()),
            ("uring/Cargo.toml", uring.into()),
            ("layout/Cargo.toml", "[dev-dependencies]\nuarr-layout = { path = '.' }\n".into()),
        ])
    };
    let picture = "engine --> layout + uring\nuring\nlayout -->\n";
    assert_eq!(said(crates::check(&tree(picture, ""))), [""; 0]);
    let knows = "[target.'cfg(all())'.dependencies]\nuarr-layout.workspace = true\n";
    let expected = ["docs/ARCHITECTURE.md:3: uring/Cargo.toml needs: layout"];
    assert_eq!(said(crates::check(&tree(picture, knows))), expected);
    let expected = [
        "docs/ARCHITECTURE.md:2: engine/Cargo.toml needs for tests: uring",
        "docs/ARCHITECTURE.md:3: `cellar` is no crate",
        "layout/Cargo.toml: the crate stands not in docs/ARCHITECTURE.md",
    ];
    let picture = "engine --> layout\ncellar\nuring\n";
    assert_eq!(said(crates::check(&tree(picture, ""))), expected);
}

#[test]
fn a_crate_that_cannot_be_published_is_found() {
    let tree = |shared: &str, own: &str| {
        let root = format!(
            "[workspace]\nmembers = ['c', 'd']\n[workspace.package]\nversion = '1.0.0'\n\
             [workspace.dependencies]\nd = {{ path = 'd'{shared} }}\n"
        );
        Tree::planted([
            ("Cargo.toml", root),
            (
                "c/Cargo.toml",
                format!("[package]\nname = 'c'\n{own}[dependencies]\nd.workspace = true\n"),
            ),
            ("c/README.md", "A crate.\n".into()),
            ("d/Cargo.toml", "[package]\nname = 'd'\npublish = false\n".into()),
        ])
    };
    let whole = "version.workspace = true\nedition.workspace = true\n\
                 rust-version.workspace = true\nlicense.workspace = true\nreadme = 'README.md'\n\
                 description = 'x'\nkeywords = ['a']\ncategories = ['encoding']\n\
                 include = ['/src', '/README.md', '/LICENSE-*']\n";
    assert_eq!(said(releases::check(&tree(", version = '1.0.0'", whole))), [""; 0]);
    let expected = ["c/Cargo.toml: needs d, which has not the version of the workspace"];
    assert_eq!(said(releases::check(&tree("", whole))), expected);
    assert_eq!(said(releases::check(&tree(", version = '0.9.0'", whole))), expected);
    let found = said(releases::check(&tree(", version = '1.0.0'", "readme = 'gone.md'\n")));
    for part in ["license", "rust-version", "keywords", "description", "categories", "readme"] {
        assert!(found.iter().any(|line| line.contains(part)), "{part}: {found:?}");
    }
    assert!(said(releases::check(&tree("", "publish = false\n"))).is_empty());
}

#[test]
fn rules_without_citations_and_citations_without_rules_are_found() {
    let page = "# Format\n\n- **WAL-1** Numbers rise.\n- **WAL-2** Space is real.\n";
    let tree = |code: &str, test: &str| {
        Tree::planted([
            ("docs/FORMAT.md", page),
            ("engine/src/log.rs", code),
            ("tests/tests/log.rs", test),
        ])
    };
    let code = "//= WAL-1\nfn f() {}\n//= WAL-2\nfn g() {}\n";
    let with_test = format!("{code}#[cfg(test)]\nmod tests {{\n//= test WAL-2\nfn f() {{}}\n}}\n");
    let sound = tree(&with_test, "//= test WAL-1\nfn f() {}\n");
    assert_eq!(said(citations::check(&sound)), [""; 0]);
    let expected =
        ["docs/FORMAT.md:4: no code cites WAL-2", "docs/FORMAT.md:4: no test cites WAL-2"];
    let lacking = tree("//= WAL-1\nfn f() {}\n", "//= test WAL-1\nfn f() {}\n");
    assert_eq!(said(citations::check(&lacking)), expected);
    let wrong = tree("//= WAL-1, WAL-2\nfn f() {}\n", "//= test WAL-1, WAL-2, WAL-3\n//= WAL-2\n");
    let expected = [
        "tests/tests/log.rs:1: cites `WAL-3`, which is no rule of the format",
        "tests/tests/log.rs:2: cites a rule as the other kind: tests say `//= test`, code does not",
    ];
    assert_eq!(said(citations::check(&wrong)), expected);
    let values =
        Tree::planted([("docs/FORMAT-values.md", "- **VAL-2** Each tag has a meaning.\n")]);
    let expected =
        ["code", "test"].map(|by| format!("docs/FORMAT-values.md:1: no {by} cites VAL-2"));
    assert_eq!(said(citations::check(&values)), expected);
}

#[test]
fn words_with_two_entries_or_two_meanings_are_found() {
    let tree = |rows: &str, code: &str| {
        let page = format!(
            "| word | means |\n|---|---|\n{rows}\n## Homes\n\n| word | names only in |\n|---|---|\n\
             | ticket | `c/src/log.rs` |\n"
        );
        let lib = format!("mod log;\n{code}");
        one_crate(&[
            ("c/src/lib.rs", &lib),
            ("c/src/log.rs", "struct Ticket;\n"),
            ("docs/GLOSSARY.md", &page),
        ])
    };
    let rows = "| ticket | number of a write |\n| torn, lost write | of a medium |\n";
    let tickets = "fn f(ticketed: u8) {}\n#[cfg(test)]\nfn ticket() {}\n";
    assert_eq!(said(glossary::check(&tree(rows, tickets))), [""; 0]);
    let rows =
        "| ticket | a write; also a place |\n| page | of memory |\n| sector / Page | unit |\n";
    let expected = [
        "docs/GLOSSARY.md:3: `ticket` has two meanings",
        "docs/GLOSSARY.md:5: `page` has an entry in line 4 already",
        "c/src/lib.rs:3: `nextTickets`: the glossary keeps `ticket` for `c/src/log.rs`",
    ];
    let code = "fn f() {\nlet nextTickets = 1; }\nstruct TicketLine;\n";
    assert_eq!(said(glossary::check(&tree(rows, code))), expected);
}

#[test]
fn wide_lines_and_foreign_characters_are_found() {
    let wide = format!("// {}\n", "x".repeat(98));
    let tree = Tree::planted([
        ("c/src/a.rs", format!("// {}\n", "x".repeat(97))),
        ("c/src/b.rs", format!("fn f() {{}}\n{wide}// \u{e9}\n")),
    ]);
    let expected = [
        "c/src/b.rs:2: has 101 columns",
        "c/src/b.rs:3: has a tab, or a character that is not ASCII: write it as \\u{...}",
    ];
    assert_eq!(said(lines::check(&tree)), expected);
}

#[test]
fn files_and_clock_are_found_in_the_engine() {
    let tree = |code: &str| {
        let jobs = ("engine/src/jobs/threads.rs", "fn f() { std::thread::sleep(rest) }\n");
        Tree::planted([
            ("engine/src/lib.rs", "mod jobs { mod threads; }\nmod log;\n"),
            jobs,
            ("engine/src/log.rs", code),
        ])
    };
    let sound = "use std::time::Duration;\n#[cfg(test)]\nmod tests { use std::time::Instant; }\n";
    let outside = |code| {
        let mut all = said(outside::check(&tree(code)));
        all.retain(|line| line.starts_with("engine/src/log.rs"));
        all
    };
    assert_eq!(outside(sound), [""; 0]);
    let planted = "use std::{fs, time::{Duration, Instant}};\nfn f() {\n    println!(\"{:?}\", \
                   std::env::args());\n    thread::sleep(Duration::ZERO);\n}\n";
    let expected = ["1: uses `Instant`", "1: uses `fs`", "3: uses `env`", "4: uses `sleep`"];
    let expected = expected
        .map(|what| format!("engine/src/log.rs:{what}: time and files come through `Storage`"));
    assert_eq!(outside(planted), expected);
}

#[test]
fn unsafe_code_is_found_outside_of_its_crates_and_page() {
    let tree = |lib: &str, uring: &str, page: &str| {
        one_crate(&[
            ("c/src/lib.rs", lib),
            ("uring/src/map.rs", "// unsafe\nfn f() { unsafe { g() } }\n"),
            ("uring/src/file.rs", uring),
            ("docs/UNSAFE.md", page),
        ])
    };
    let forbids = "#![forbid(unsafe_code)]\n";
    let page = "| `uring/src/map.rs` | the map |\n";
    assert_eq!(said(unsafe_code::check(&tree(forbids, "", page))), [""; 0]);
    let page = "| `uring/src/map.rs` |\n| `uring/src/ring.rs` |\n";
    let planted = tree("fn f() {\n    unsafe { g() }\n}\n", "unsafe impl Send for S {}\n", page);
    let expected = [
        "c/src/lib.rs:2: unsafe code: only uring/, index/, bench-harness/peers/ have it",
        "c/src/lib.rs: must say #![forbid(unsafe_code)]",
        "uring/src/file.rs: has unsafe code and stands not in docs/UNSAFE.md",
        "docs/UNSAFE.md:2: `uring/src/ring.rs` is no file with unsafe code",
    ];
    assert_eq!(said(unsafe_code::check(&planted)), expected);
}

#[test]
fn long_files_and_long_functions_are_found() {
    let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", "// more\n".repeat(300));
    let file = |lines: usize| format!("{}{tests}", "// a line\n".repeat(lines));
    assert_eq!(said(sizes::check_files(&one_crate(&[("c/src/lib.rs", &file(500))]))), [""; 0]);
    let long = sizes::check_files(&one_crate(&[("c/src/lib.rs", &file(501))]));
    assert_eq!(long[0].amount, 501);
    assert_eq!(said(long), ["c/src/lib.rs: has 501 lines without its tests, 500 at most"]);

    let function = |lines: usize| {
        format!("impl S {{\n    fn f() {{\n{}    }}\n}}\n", "        g();\n".repeat(lines - 2))
    };
    let check =
        |lines| said(sizes::check_functions(&one_crate(&[("c/src/lib.rs", &function(lines))])));
    assert_eq!(check(70), [""; 0]);
    assert_eq!(check(71), ["c/src/lib.rs:2: `f` has 71 lines"]);
}

#[test]
fn names_that_say_nothing_or_stand_twice_are_found() {
    let tree = |planted: &'static str| {
        Tree::planted([
            ("Cargo.toml", ENGINE),
            ("engine/src/lib.rs", "mod a;\nmod b;\nfn flush() {}\n"),
            ("engine/src/a.rs", "struct S;\n"),
            ("engine/src/b.rs", planted),
        ])
    };
    assert_eq!(said(names::check(&tree("struct T;\nfn attempt() {}\n"))), [""; 0]);
    let expected = [
        "engine/src/b.rs: `S` is also a type of engine/src/a.rs",
        "engine/src/b.rs: `LogManager` says nothing",
        "engine/src/b.rs: `tmp_name` says nothing",
    ];
    let planted = "struct S;\nstruct LogManager;\nfn tmp_name() {}\n";
    assert_eq!(said(names::check(&tree(planted))), expected);
}

#[test]
fn a_crate_with_lints_of_its_own_is_found() {
    let tree = |manifest: &'static str, own: &'static str| {
        Tree::planted([
            ("Cargo.toml", ONE_CRATE),
            ("clippy.toml", "too-many-lines-threshold = 70\n"),
            ("c/Cargo.toml", manifest),
            ("c/clippy.toml", own),
        ])
    };
    assert_eq!(said(lint_tables::check(&tree(MANIFEST, ""))), [""; 0]);
    let expected = [
        "c/Cargo.toml: must take the lints of the workspace",
        "c/clippy.toml: lacks a line of the root's: too-many-lines-threshold = 70",
    ];
    let own = "disallowed-methods = []\n";
    assert_eq!(said(lint_tables::check(&tree("[package]\nname = 'c'\n", own))), expected);
}

#[test]
fn the_list_of_what_may_remain_only_shrinks() {
    let wide = format!("// {}\n// {}\n", "x".repeat(98), "x".repeat(99));
    let tree = one_crate(&[("c/src/lib.rs", &format!("#![forbid(unsafe_code)]\n{wide}"))]);
    let of_lines = |allowed: &[(&str, &str, usize)]| {
        let mut said = verdict(&tree, allowed);
        said.retain(|line| line.contains("[line]"));
        said
    };
    assert_eq!(of_lines(&[]).len(), 2);
    assert_eq!(of_lines(&[("line", "c/src/lib.rs", 2)]), [""; 0]);
    assert_eq!(of_lines(&[("line", "c/src/lib.rs", 1)]).len(), 3);
    let needless = ("line", "c/src/a.rs", 1);
    let expected = ["not_yet.rs: [line] of c/src/a.rs is mended: strike the entry"];
    assert_eq!(of_lines(&[("line", "c/src/lib.rs", 2), needless]), expected);
}

#[test]
fn assertions_are_counted() {
    let code = "const _: () = assert!(1 < 2, \"so\");\nimpl S {\n    fn f() {\n\
                assert!(a);\nif b { assert_eq!(c, d) }\ndebug_assert_ne!(e, f);\n\
                const { assert!(g) };\n}\n}\n#[cfg(test)]\n\
                mod tests { fn g() { assert!(h) } }\nfn h() {}\n";
    let tree = one_crate(&[("c/src/lib.rs", "mod log;"), ("c/src/log/mod.rs", code)]);
    let report = &assertions::reports(&tree)[0];
    let expected =
        assertions::Counts { functions: 2, asserts: 2, debug_asserts: 1, const_asserts: 2 };
    assert_eq!(report.total, expected);
    assert_eq!(report.rows["log/"], expected);
    assert_eq!(report.rows["log/mod.rs"].per_function(), 2.5);
    assert!(report.to_string().contains("log/"));
}

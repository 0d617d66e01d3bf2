//! The pages as a reader sees them: opened in Chromium, wide and narrow, light and dark.
//!
//! Nothing may be said on the console or asked of the network, no plot may be empty, and everything
//! must be inside the window and readable. `UARR_SCREENSHOTS=DIR` keeps pictures. Without a
//! browser the test says that it was skipped.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use base64::prelude::*;
use serde_json::{Value, json};

const BROWSERS: [&str; 5] =
    ["chromium", "chromium-browser", "chromium-headless-shell", "google-chrome", "chrome"];
/// What is measured in the page.
const PROBE: &str = include_str!("probe.js");

/// A browser without a window, spoken to through a pipe.
struct Browser {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    sent_count: u64,
    /// What it reported by itself.
    events: Vec<Value>,
    session: Option<String>,
}

impl Browser {
    /// The browser of this machine, if it has one.
    fn start(folder: &Path) -> Option<Self> {
        let paths = std::env::var_os("PATH")?;
        let paths: Vec<PathBuf> = std::env::split_paths(&paths).collect();
        let mut all = BROWSERS.iter().flat_map(|name| paths.iter().map(move |dir| dir.join(name)));
        let program = all.find(|path| path.is_file())?;
        // It speaks through the descriptors 3 and 4; its own output is none of the protocol.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh"])
            .arg(program)
            .args(["--headless", "--remote-debugging-pipe", "--no-sandbox", "--no-first-run"])
            .args(["--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"])
            .arg(format!("--user-data-dir={}", folder.display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let requests = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let (sent_count, events, session) = (0, Vec::new(), None);
        let mut browser = Self { child, requests, answers, sent_count, events, session };
        let target = browser.ask("Target.createTarget", json!({"url": "about:blank"}));
        let target = json!({"targetId": target["targetId"], "flatten": true});
        let session = browser.ask("Target.attachToTarget", target);
        browser.session = Some(session["sessionId"].as_str().unwrap().to_owned());
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        Some(browser)
    }

    fn next(&mut self) -> Value {
        let mut message = Vec::new();
        self.answers.read_until(0, &mut message).unwrap();
        assert_eq!(message.pop(), Some(0), "the browser has ended");
        serde_json::from_slice(&message).unwrap()
    }

    /// Sends a request, and returns its answer.
    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.sent_count += 1;
        let mut request = json!({"id": self.sent_count, "method": method, "params": params});
        if let Some(session) = &self.session {
            request["sessionId"] = json!(session);
        }
        self.requests.write_all(format!("{request}\0").as_bytes()).unwrap();
        loop {
            let message = self.next();
            if message["id"] == self.sent_count {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].clone();
            }
            self.events.push(message);
        }
    }

    /// Opens a page in a window of this width, and waits until it is there.
    fn open(&mut self, page: &Path, look: Look) {
        let size = json!({
            "width": look.width, "height": 900, "deviceScaleFactor": 1, "mobile": false,
        });
        self.ask("Emulation.setDeviceMetricsOverride", size);
        let side = if look.is_dark { "dark" } else { "light" };
        let media = json!({"features": [{"name": "prefers-color-scheme", "value": side}]});
        self.ask("Emulation.setEmulatedMedia", media);
        self.events.clear();
        self.ask("Page.navigate", json!({"url": format!("file://{}", page.display())}));
        while !self.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = self.next();
            self.events.push(event);
        }
    }

    /// The value of an expression in the page.
    fn evaluate(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "returnByValue": true});
        let answer = self.ask("Runtime.evaluate", asked);
        assert!(answer["exceptionDetails"].is_null(), "{answer}");
        answer["result"]["value"].clone()
    }

    /// What was said on the console, and what was asked of anything but the page's own file.
    fn complaints(&self) -> Vec<String> {
        let is_bad = |event: &&Value| match event["method"].as_str().unwrap_or("") {
            "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded" => true,
            "Network.requestWillBeSent" => {
                let url = event["params"]["request"]["url"].as_str().unwrap();
                !url.starts_with("file://") && !url.starts_with("data:")
            }
            _ => false,
        };
        self.events.iter().filter(is_bad).map(Value::to_string).collect()
    }

    /// Keeps a picture of the whole page where the caller of the test wants it.
    fn keep_picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("UARR_SCREENSHOTS") else { return };
        let picture = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.ask("Page.captureScreenshot", picture);
        let bytes = BASE64_STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How a page is looked at.
#[derive(Clone, Copy)]
struct Look {
    width: u32,
    is_dark: bool,
}

/// Runs the harness briefly, for its page.
fn measure(dir: &Path, arguments: &[&str]) {
    let small = ["--seconds", "0.1", "--reps", "2", "--dir", "."];
    let mut command = Command::new(env!("CARGO_BIN_EXE_uarr-bench"));
    let output = command.current_dir(dir).args([arguments, &small].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // A generator of load that is late on a busy machine is no matter here.
    assert!(matches!(output.status.code(), Some(0 | 2)), "{said}{output:?}");
}

/// A page is in order in this look; returns the colours of paper and ink.
fn check(browser: &mut Browser, page: &Path, plots_min: u64, look: Look) -> [Value; 2] {
    browser.open(page, look);
    let found = browser.evaluate(PROBE);
    assert_eq!(browser.complaints(), [""; 0]);
    assert!(found["plots"].as_u64().unwrap() >= plots_min, "{found}");
    assert_eq!(found["wrong"], json!([]), "{} at {}", page.display(), look.width);
    [found["paper"].clone(), found["ink"].clone()]
}

#[test]
fn pages_are_drawn_wide_and_narrow_light_and_dark() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut browser) = Browser::start(&dir.path().join("browser")) else {
        // Unlike what is printed, this is shown although the test passes.
        let names = BROWSERS.join(", ");
        writeln!(io::stderr(), "SKIPPED: the pages are not looked at: no browser here ({names})")
            .unwrap();
        return;
    };
    measure(dir.path(), &["check", "--records", "1000"]);
    let parts = "strategies,threads,checkpoint,paced-memory";
    let commit = ["commit", "--parts", parts, "--records", "1000", "--html", "parts.html"];
    measure(dir.path(), &commit);
    measure(dir.path(), &["sweep", "block-size", "queue-depth", "pages", "--html", "sweep.html"]);
    for (name, plots_min) in [("report", 8), ("parts", 4), ("sweep", 3)] {
        let page = dir.path().join(format!("{name}.html"));
        let mut sides = Vec::new();
        for (width, is_dark) in [(1280, false), (1280, true), (400, false), (400, true)] {
            sides.push(check(&mut browser, &page, plots_min, Look { width, is_dark }));
            let side = if is_dark { "dark" } else { "light" };
            browser.keep_picture(&format!("{name}-{width}-{side}"));
        }
        assert_ne!(sides[0], sides[1], "the page follows the system");
        assert_eq!(sides[..2], sides[2..]);
        // The reader's choice wins over the system's.
        for (is_dark, choice, expected) in [(false, "dark", 1), (true, "light", 0)] {
            browser.open(&page, Look { width: 1280, is_dark });
            browser.evaluate(&format!("document.getElementById('{choice}').click()"));
            let found = browser.evaluate(PROBE);
            assert_eq!(found["wrong"], json!([]));
            assert_eq!([found["paper"].clone(), found["ink"].clone()], sides[expected]);
        }
    }
}

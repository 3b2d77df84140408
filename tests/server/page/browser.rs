//! A headless Chromium, where CHROMIUM_BIN names one.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::TIMEOUT;

/// The time for which the page believes to have lived: its clocks and timers run ahead while it
/// waits for nothing.
const LIFE_MS: u64 = 5000;

/// A window, in pixels.
#[derive(Clone, Copy)]
pub struct Window(pub u32, pub u32);

pub struct Browser(std::ffi::OsString);

/// The page after its life.
pub struct Seen {
    /// The page as HTML.
    pub dom: String,
    /// Errors of the script, and requests that the policy stopped.
    pub complaints: Vec<String>,
}

impl Browser {
    /// Returns the browser; none if there is none, which it prints.
    pub fn find() -> Option<Self> {
        let found = std::env::var_os("CHROMIUM_BIN").map(Self);
        if found.is_none() {
            eprintln!(
                "skipped: CHROMIUM_BIN names no Chromium (scripts/setup --test installs one)"
            );
        }
        found
    }

    pub async fn open(&self, url: &str, life_ms: Option<u64>) -> Seen {
        let budget = format!("--virtual-time-budget={}", life_ms.unwrap_or(LIFE_MS));
        let flags = ["--dump-dom", "--enable-logging=stderr", &budget];
        let (dom, log) = self.run(url, &flags).await;
        let complaints = log.lines().filter(|line| line.contains("CONSOLE"));
        Seen {
            dom,
            complaints: complaints.map(ToOwned::to_owned).collect(),
        }
    }

    /// Makes a picture of it; `is_dark` as the user's system may be.
    pub async fn picture(&self, url: &str, window: Window, is_dark: bool, file: &Path) {
        let Window(width, height) = window;
        let flags = [
            format!("--screenshot={}", file.display()),
            format!("--window-size={width},{height}"),
            format!("--virtual-time-budget={LIFE_MS}"),
            format!(
                "--blink-settings=preferredColorScheme={}",
                u8::from(!is_dark)
            ),
            "--hide-scrollbars".to_owned(),
        ];
        self.run(url, &flags.each_ref().map(String::as_str)).await;
    }

    async fn run(&self, url: &str, flags: &[&str]) -> (String, String) {
        let profile = TempDir::new().unwrap();
        let mut command = Command::new("timeout");
        command
            .arg(TIMEOUT.as_secs().to_string())
            .arg(&self.0)
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            .args(["--disable-quic", "--no-first-run", "--disable-sync"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(flags)
            .arg(url);
        // The servers of a test live on this thread's runtime.
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let log = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{url}: {}: {log}", output.status);
        (String::from_utf8_lossy(&output.stdout).into_owned(), log)
    }
}

impl Seen {
    /// The words inside the element with this id, without tags.
    pub fn words(&self, id: &str) -> String {
        let (_, rest) = self
            .dom
            .split_once(&format!(" id=\"{id}\""))
            .unwrap_or_else(|| panic!("{id} is not in {}", self.dom));
        let tag_end = rest.find('>').unwrap();
        let name_start = self.dom.len() - rest.len() - format!(" id=\"{id}\"").len();
        let open = self.dom[..name_start].rfind('<').unwrap();
        let name = self.dom[open + 1..].split([' ', '>']).next().unwrap();
        let inside = &rest[tag_end + 1..];
        let end = end_of(inside, name);
        strip(&inside[..end])
    }

    /// Returns how often this text is in the HTML.
    pub fn count(&self, text: &str) -> usize {
        self.dom.matches(text).count()
    }
}

/// Returns where the element ends, given the text from its inside on.
fn end_of(inside: &str, name: &str) -> usize {
    let (open, close) = (format!("<{name}"), format!("</{name}>"));
    let (mut depth, mut at) = (1, 0);
    loop {
        let next_close = at + inside[at..].find(&close).expect("the browser closes all");
        let next_open = inside[at..next_close].find(&open);
        match next_open {
            Some(found) => {
                depth += 1;
                at += found + open.len();
            }
            None => {
                depth -= 1;
                if depth == 0 {
                    return next_close;
                }
                at = next_close + close.len();
            }
        }
    }
}

fn strip(html: &str) -> String {
    let mut text = String::new();
    let mut is_tag = false;
    for char in html.chars() {
        match char {
            '<' => is_tag = true,
            '>' => {
                is_tag = false;
                text.push(' ');
            }
            _ if !is_tag => text.push(char),
            _ => {}
        }
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

//! Types a block on machines in namespaces, by tests/pages/stage.

mod script;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use pages::{note::Typed, page::Block, shape};
use tempfile::TempDir;

use script::Line;

/// Fails where tests/pages/stage cannot make machines.
const TRIAL: [&str; 6] = ["ip", "link", "add", "trial", "type", "bridge"];

/// The most of an output that a fault shows.
const SHOWN_BYTES: usize = 4000;

pub enum Outcome {
    /// The number of command lines.
    Typed(usize),
    /// A program or a right that this machine lacks.
    Lacking(String),
    Failed(String),
}

pub struct Stage {
    root: PathBuf,
    bin: PathBuf,
    /// Why there can be no namespaces.
    refused: Option<String>,
}

impl Stage {
    pub fn new(root: PathBuf, bin: PathBuf) -> Self {
        let refused = match unshare().args(TRIAL).output() {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Some(format!("unshare: {error}")),
        };
        Self { root, bin, refused }
    }

    pub fn try_block(&self, block: &Block, typed: &Typed) -> Outcome {
        if let Some(why) = &self.refused {
            return Outcome::Lacking(format!("machines in namespaces ({why})"));
        }
        if let Some(program) = typed.needs.iter().find(|program| !has(program)) {
            return Outcome::Lacking(program.clone());
        }
        let work = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let lines = script::lines(block, typed);
        script::write(work.path(), &lines, typed);
        let output = unshare()
            .arg(self.root.join("tests/pages/stage"))
            .arg(work.path())
            .arg(&typed.setting)
            .env("PAGES_ROOT", &self.root)
            .env("PAGES_BIN", &self.bin)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        if !output.status.success() {
            let from = said.len().saturating_sub(SHOWN_BYTES);
            let from = (from..said.len())
                .find(|at| said.is_char_boundary(*at))
                .unwrap_or(said.len());
            return Outcome::Failed(format!("{}\n{}", output.status, &said[from..]));
        }
        match judge(work.path(), typed, &lines) {
            Some(fault) => Outcome::Failed(fault),
            None => Outcome::Typed(lines.iter().filter(|line| !line.is_hidden).count()),
        }
    }
}

/// Compares what was printed with what the page shows.
fn judge(work: &Path, typed: &Typed, lines: &[Line]) -> Option<String> {
    let outputs: Vec<String> = (0..lines.len())
        .map(|at| {
            let output = fs::read(work.join(format!("out/{at}"))).unwrap_or_default();
            String::from_utf8_lossy(&output).into_owned()
        })
        .collect();
    for (line, output) in lines.iter().zip(&outputs) {
        let shown: Vec<&str> = line.output.iter().map(String::as_str).collect();
        if let Some(missing) = shape::missing(&shown, output).filter(|_| !shown.is_empty()) {
            return Some(format!(
                "{}: it does not print\n{missing}\nbut\n{output}",
                line.text
            ));
        }
    }
    let all = outputs.join("\n");
    let lacks = |wanted: &&String| !all.lines().any(|line| shape::is_alike(wanted, line));
    if let Some(missing) = typed.prints.iter().find(lacks) {
        return Some(format!("nothing prints\n{missing}\nbut\n{all}"));
    }
    None
}

/// Returns whether the machine has a program of others: `ETCD_BIN` names an etcd.
fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::var_os(format!("{}_BIN", program.to_uppercase())).is_some()
        || std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

fn unshare() -> Command {
    let mut unshare = Command::new("unshare");
    unshare.args([
        "--user",
        "--map-root-user",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
    ]);
    unshare
}

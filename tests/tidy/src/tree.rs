//! The files of the repository, in memory.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Text files by their paths from the root.
#[derive(Debug, Default, Clone)]
pub struct Tree(pub BTreeMap<String, String>);

/// Folders and files that git does not keep, or that come from elsewhere.
const SKIPPED: [&str; 5] = [
    "target",
    "bin",
    ".git",
    "node_modules",
    "proptest-regressions",
];

/// Larger files are data.
const MAX_BYTES: u64 = 1 << 20;

impl Tree {
    pub fn read() -> Self {
        let mut tree = Self::default();
        tree.add(&root(), "");
        tree
    }

    fn add(&mut self, dir: &Path, prefix: &str) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                if !SKIPPED.contains(&name.as_str()) {
                    self.add(&entry.path(), &format!("{path}/"));
                }
            } else if kind.is_file() && entry.metadata().unwrap().len() <= MAX_BYTES {
                // Others are pictures.
                let text = fs::read(entry.path()).unwrap();
                self.0
                    .insert(path, String::from_utf8(text).unwrap_or_default());
            }
        }
    }

    pub fn text(&self, path: &str) -> &str {
        self.0
            .get(path)
            .unwrap_or_else(|| panic!("{path} is missing"))
    }

    /// Returns the files with one of these beginnings and this ending.
    pub fn files<'a>(
        &'a self,
        beginnings: &'a [&str],
        ending: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = self.0.iter();
        all.filter(move |(path, _)| {
            path.ends_with(ending) && beginnings.iter().any(|begin| path.starts_with(begin))
        })
        .map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Returns whether there is a file, or a folder with one in it.
    pub fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let folder = format!("{path}/");
        self.0.contains_key(path) || self.0.keys().any(|other| other.starts_with(&folder))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

//! The sub-commands and flags of our programs, as their `--help` says.

use std::{collections::BTreeMap, path::PathBuf, process::Command, sync::Mutex};

use regex::Regex;

/// The programs, beside one another in `bin`.
pub const PROGRAMS: [&str; 3] = ["k8s-dqlite", "k8sd", "dqlite"];

#[derive(Debug, Clone, Default)]
struct Help {
    commands: Vec<String>,
    /// Long and short ones, with their dashes.
    flags: Vec<String>,
    takes_arguments: bool,
}

/// Flags that are read before all others, which no help lists.
const FIRST_FLAGS: [&str; 2] = ["--args-file", "--generate"];

/// The sub-commands and flags of the programs. Each help is asked for once.
#[derive(Debug)]
pub struct Grammar {
    bin: PathBuf,
    known: Mutex<BTreeMap<Vec<String>, Help>>,
}

impl Grammar {
    pub fn new(bin: PathBuf) -> Self {
        Self {
            bin,
            known: Mutex::default(),
        }
    }

    /// `path` is the program and its sub-commands.
    fn help(&self, path: &[String]) -> Help {
        let mut known = self.known.lock().expect("nobody panics with it");
        known
            .entry(path.to_vec())
            .or_insert_with(|| self.ask(path))
            .clone()
    }

    fn ask(&self, path: &[String]) -> Help {
        let program = self.bin.join(&path[0]);
        let output = Command::new(&program)
            .args(&path[1..])
            .arg("--help")
            .output();
        let output = output.unwrap_or_else(|error| {
            panic!("{}: {error}: build the programs first", program.display())
        });
        read(&String::from_utf8_lossy(&output.stdout))
    }

    /// Checks a command line, which begins with one of the programs, or a synopsis of it.
    pub fn check(&self, words: &[String]) -> Result<(), String> {
        let mut path = vec![words[0].clone()];
        let mut may_descend = true;
        for (at, word) in words.iter().enumerate().skip(1) {
            let help = self.help(&path);
            let program = path.join(" ");
            for flag in flags_in(word) {
                if !help.flags.contains(&flag) && !FIRST_FLAGS.contains(&flag.as_str()) {
                    return Err(format!("{program} has no flag {flag}"));
                }
            }
            if word.starts_with(['-', '[', '…']) || !may_descend {
                continue;
            }
            if help.commands.contains(word) {
                path.push(word.clone());
            } else if help.takes_arguments || words[at - 1].starts_with('-') {
                // An argument, or the value of a flag.
                may_descend = !help.takes_arguments;
            } else {
                return Err(format!("{program} has no sub-command {word}"));
            }
        }
        Ok(())
    }

    /// Returns whether the program has this sub-command.
    pub fn has(&self, program: &str, command: &str) -> bool {
        self.help(&[program.to_owned()])
            .commands
            .iter()
            .any(|known| known == command)
    }
}

/// The flags in a word, which may be one of a synopsis: `[--transaction]`.
fn flags_in(word: &str) -> Vec<String> {
    let text = word.trim_start_matches('[');
    if text.len() == 2 && text.starts_with('-') && text != "--" {
        return vec![text.to_owned()];
    }
    let flag = Regex::new(r"(?:^|\|)(--[a-z][a-z0-9-]*)").expect("a constant");
    flag.captures_iter(text)
        .map(|found| found[1].to_owned())
        .collect()
}

fn read(text: &str) -> Help {
    let flag = Regex::new(r"^\s+(?:(-\w),? ?)?(--[a-z][a-z0-9-]*)?").expect("a constant");
    let mut help = Help::default();
    let mut is_commands = false;
    for line in text.lines() {
        if !line.starts_with(' ') {
            if !line.is_empty() {
                is_commands = line == "Commands:";
                help.takes_arguments |= line == "Arguments:";
            }
            continue;
        }
        let words = line.trim_start();
        if is_commands {
            // What is deeper goes on with the line above.
            if line.len() - words.len() == 2 {
                help.commands
                    .extend(words.split_whitespace().next().map(str::to_owned));
            }
        } else if words.starts_with('-')
            && let Some(found) = flag.captures(line)
        {
            help.flags.extend(
                [found.get(1), found.get(2)]
                    .into_iter()
                    .flatten()
                    .map(|it| it.as_str().to_owned()),
            );
        }
    }
    help
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_names_commands_and_flags() {
        let help = read(
            "About\n\nCommands:\n  sql     Run\n            it\n  token   Make\n\nOptions:\n  -f, --format <F>  Format\n      --yes\n          Do --it\n  -h\n",
        );
        assert_eq!(help.commands, ["sql", "token"]);
        assert_eq!(help.flags, ["-f", "--format", "--yes", "-h"]);
        assert_eq!(flags_in("[--format"), ["--format"]);
        assert_eq!(flags_in("--table|--json"), ["--table", "--json"]);
        assert_eq!(flags_in("-k"), ["-k"]);
    }
}

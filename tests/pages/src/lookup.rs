//! Looks up what a command line that is not typed names: programs, sub-commands, flags, apps and settings of the snap, scripts, files.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use regex::Regex;
use serde_yaml::Value;

use crate::grammar::{Grammar, PROGRAMS};

/// Programs that the system has, or that a user is expected to have.
const FOREIGN: [&str; 34] = [
    "apt",
    "cargo",
    "chown",
    "cp",
    "cat",
    "cd",
    "ctr",
    "curl",
    "echo",
    "etcdctl",
    "export",
    "flamegraph.pl",
    "git",
    "go",
    "install",
    "journalctl",
    "k3s",
    "k8s",
    "kubeadm",
    "kubectl",
    "kube-apiserver",
    "microk8s",
    "mkdir",
    "mv",
    "podman",
    "sed",
    "ssh",
    "systemctl",
    "tar",
    "useradd",
    "rm",
    "sha256sum",
    "skopeo",
    "printf",
];

const SNAP_VERBS: [&str; 15] = [
    "logs", "info", "changes", "install", "set", "get", "start", "stop", "restart", "connect",
    "remove", "refresh", "revert", "saved", "forget",
];

const SNAP: &str = "k8s-dqlite";

#[derive(Debug)]
pub struct Lookup {
    root: PathBuf,
    pub grammar: Grammar,
    /// The words of each app's command.
    apps: BTreeMap<String, Vec<String>>,
    plugs: BTreeSet<String>,
    settings: BTreeSet<String>,
}

impl Lookup {
    pub fn new(root: &Path, bin: &Path) -> Self {
        let read = |path: &str| {
            fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        let snap: Value = serde_yaml::from_str(&read("snap/snapcraft.yaml")).expect("YAML");
        let apps = snap["apps"].as_mapping().expect("apps");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let apps_of = apps.iter().map(|(name, app)| {
            let words = text(&app["command"])
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            (text(name), words)
        });
        let plugs = apps
            .values()
            .filter_map(|app| app["plugs"].as_sequence())
            .flatten()
            .map(text);
        Self {
            root: root.to_owned(),
            grammar: Grammar::new(bin.to_owned()),
            apps: apps_of.collect(),
            plugs: plugs.collect(),
            settings: settings(&read("src/commands/snap/settings.rs")),
        }
    }

    /// Checks a command line on one line.
    pub fn check(&self, line: &str) -> Result<(), String> {
        let words = shlex::split(line).ok_or_else(|| format!("`{line}`: its quotes do not end"))?;
        let operators = ["|", "&&", "||", ";", "&"];
        for command in words.split(|word| operators.contains(&word.as_str())) {
            if !command.is_empty() {
                self.command(command)
                    .map_err(|error| format!("`{line}`: {error}"))?;
            }
        }
        Ok(())
    }

    fn command(&self, words: &[String]) -> Result<(), String> {
        let assignment = Regex::new(r"^[A-Za-z_]+=").expect("a constant");
        let skipped = words
            .iter()
            .take_while(|word| *word == "sudo" || assignment.is_match(word));
        let words = &words[skipped.count()..];
        let Some(first) = words.first() else {
            return Ok(());
        };
        let name = first.rsplit('/').next().unwrap_or(first);
        let is_snap_path = first.starts_with("/snap/k8s-dqlite/current/bin/");
        if PROGRAMS.contains(&name)
            && (first == name || is_snap_path || first.starts_with("./bin/"))
        {
            let own = [vec![name.to_owned()], words[1..].to_vec()].concat();
            return self.grammar.check(&own);
        }
        if let Some(app) = first.strip_prefix("k8s-dqlite.") {
            return self.app(app, &words[1..]);
        }
        match first.as_str() {
            "snap" => self.snap(&words[1..]),
            "make" => self.target(&words[1..]),
            script if script.starts_with("scripts/") => self.script(script, &words[1..]),
            flag if flag.starts_with("--etcd-") => Ok(()),
            known if FOREIGN.contains(&known) => Ok(()),
            other => Err(format!(
                "what is {other}? Programs of others are listed in tests/pages/src/lookup.rs"
            )),
        }
    }

    fn app(&self, app: &str, arguments: &[String]) -> Result<(), String> {
        if is_place(app) {
            return Ok(());
        }
        let command = self
            .apps
            .get(app)
            .ok_or_else(|| format!("snapcraft.yaml has no app {app}"))?;
        let program = command
            .first()
            .map_or("", String::as_str)
            .trim_start_matches("bin/")
            .to_owned();
        self.grammar
            .check(&[vec![program], command[1..].to_vec(), arguments.to_vec()].concat())
    }

    fn snap(&self, words: &[String]) -> Result<(), String> {
        let verb = words.first().map_or("", String::as_str);
        if !SNAP_VERBS.contains(&verb) {
            return Err(format!("snap has no command {verb}"));
        }
        let arguments: Vec<&String> = words[1..]
            .iter()
            .filter(|word| !word.starts_with('-'))
            .collect();
        let Some((subject, rest)) = arguments.split_first() else {
            return Ok(());
        };
        match (verb, subject.strip_prefix("k8s-dqlite")) {
            ("connect", Some(plug)) if !self.plugs.contains(plug.trim_start_matches(':')) => {
                Err(format!("snapcraft.yaml has no plug {plug}"))
            }
            ("start" | "stop" | "restart", Some(service))
                if !service.is_empty() && !self.apps.contains_key(&service[1..]) =>
            {
                Err(format!("snapcraft.yaml has no service {service}"))
            }
            ("set" | "get", _) if *subject == SNAP => {
                let keys = rest
                    .iter()
                    .map(|word| word.split('=').next().unwrap_or(word).trim_end_matches('!'));
                match keys
                    .into_iter()
                    .find(|key| !is_place(key) && !self.settings.contains(*key))
                {
                    Some(key) => Err(format!("the snap has no setting {key}")),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn target(&self, words: &[String]) -> Result<(), String> {
        let makefile = fs::read_to_string(self.root.join("Makefile")).expect("a Makefile");
        // A rule may be for several.
        let rules = makefile
            .lines()
            .filter(|line| !line.starts_with(['\t', '.']));
        let targets: BTreeSet<&str> = rules
            .filter_map(|line| Some(line.split_once(':')?.0))
            .flat_map(str::split_whitespace)
            .collect();
        let has = |target: &str| targets.contains(target);
        match words.iter().find(|word| !word.contains('=') && !has(word)) {
            Some(target) => Err(format!("the Makefile has no target {target}")),
            None => Ok(()),
        }
    }

    fn script(&self, path: &str, words: &[String]) -> Result<(), String> {
        let read = |path: &str| {
            fs::read_to_string(self.root.join(path)).map_err(|error| format!("{path}: {error}"))
        };
        let mut text = read(path)?;
        if path == "scripts/test" {
            let names = words.iter().take_while(|word| !word.starts_with('-'));
            for name in names.filter(|name| !is_place(name)) {
                // A check is a script of its own, or a function; what it runs may have the options.
                let own = read(&format!("scripts/test.d/{name}"));
                if own.is_err() && !text.contains(&format!("\n# {name}: ")) {
                    return Err(format!("{path} has no check {name}"));
                }
                text += &own.unwrap_or_default();
                text += &read(&format!("scripts/{name}")).unwrap_or_default();
            }
        }
        let flags = words
            .iter()
            .filter(|word| word.starts_with("--") && *word != "--help");
        let mut names = flags.map(|word| word.split('=').next().unwrap_or(word));
        match names.find(|flag| !text.contains(*flag)) {
            Some(flag) => Err(format!("{path} has no option {flag}")),
            None => Ok(()),
        }
    }

    /// Checks code inside of a sentence, if it begins as a command of ours does.
    pub fn inline(&self, text: &str) -> Result<(), String> {
        // Synopses have words that no shell could split.
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let Some(first) = words.first() else {
            return Ok(());
        };
        let told = |error: String| format!("`{text}`: {error}");
        if PROGRAMS.contains(&first.as_str()) {
            return self.grammar.check(&words).map_err(told);
        }
        if let Some(app) = first.strip_prefix("k8s-dqlite.") {
            // Units, files and the snap's services look alike.
            let is_file = [
                "service",
                "socket",
                "debug",
                "pod.yaml",
                "dqlite",
                "replaced-SECONDS",
            ]
            .contains(&app)
                || app.starts_with("take-over");
            return if is_file && words.len() == 1 {
                Ok(())
            } else {
                self.app(app, &words[1..]).map_err(told)
            };
        }
        let is_next_flag = words.get(1).is_some_and(|word| word.starts_with("--"));
        for program in PROGRAMS {
            if is_next_flag && self.grammar.has(program, first) {
                let own = [vec![program.to_owned()], words.clone()].concat();
                return self.grammar.check(&own).map_err(told);
            }
        }
        match first.as_str() {
            "snap" if words.len() > 2 => self.snap(&words[1..]).map_err(told),
            script
                if script.starts_with("scripts/")
                    && !script.contains(['*', '{', ':'])
                    && words.len() > 1 =>
            {
                self.script(script, &words[1..]).map_err(told)
            }
            _ => Ok(()),
        }
    }
}

/// Returns whether the word stands for another.
fn is_place(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_uppercase())
}

/// Returns the keys of `snap set`, from the array and the constants of its module.
fn settings(source: &str) -> BTreeSet<String> {
    let array = source
        .split("KEYS: [&str;")
        .nth(1)
        .and_then(|rest| rest.split("];").next())
        .expect("KEYS");
    let text = Regex::new(r#""([a-z-]+)""#).expect("a constant");
    let constant = Regex::new(r#"pub const [A-Z_]+: &str = "([a-z-]+)";"#).expect("a constant");
    let found = text
        .captures_iter(array)
        .chain(constant.captures_iter(source));
    found.map(|found| found[1].to_owned()).collect()
}

//! The shell scripts that type the lines of a block, one for each change of machine.

use std::{fs, path::Path};

use pages::{
    commands::{self, Command, joined},
    note::Typed,
    page::Block,
};
use regex::Regex;

/// A command line as it is typed.
#[derive(Debug)]
pub struct Line {
    pub machine: usize,
    pub text: String,
    pub exits: u8,
    /// The part of its output that the page shows.
    pub output: Vec<String>,
    /// Of the note, not of the page.
    pub is_hidden: bool,
}

/// Returns all lines that are typed for a block: those of its note, and its own.
pub fn lines(block: &Block, typed: &Typed) -> Vec<Line> {
    let hidden = |text: &String| Line {
        machine: typed.on,
        text: in_place(text, &typed.places),
        exits: 0,
        output: Vec::new(),
        is_hidden: true,
    };
    let mut lines: Vec<Line> = typed.before.iter().map(hidden).collect();
    if let Some(path) = &typed.file {
        let text = format!(
            "cat >{path} <<'END OF THE BLOCK'\n{}\nEND OF THE BLOCK",
            block.text
        );
        lines.push(hidden(&text));
    }
    let own = own(block, typed).into_iter().enumerate();
    lines.extend(own.map(|(at, command)| Line {
        machine: command.machine.unwrap_or(typed.on),
        text: in_place(&command.text, &typed.places),
        exits: typed.exits.get(at).copied().unwrap_or_default(),
        output: command.output,
        is_hidden: false,
    }));
    lines.extend(typed.after.iter().map(hidden));
    lines
}

/// The commands that are typed for the block itself.
fn own(block: &Block, typed: &Typed) -> Vec<Command> {
    if let Some(by) = &typed.by {
        let mut commands = commands::of(by);
        if typed.file.is_none() {
            for command in &mut commands {
                command.output = block.text.lines().map(str::to_owned).collect();
            }
        }
        return commands;
    }
    match &typed.frame {
        Some(frame) => {
            let flags: Vec<String> = block.text.lines().map(joined).collect();
            commands::of(&frame.replace('@', &flags.join(" ")))
        }
        None => commands::of(&block.text),
    }
}

/// Puts what placeholders stand for in their place.
fn in_place(text: &str, places: &[(String, String)]) -> String {
    places
        .iter()
        .fold(text.to_owned(), |text, (name, meaning)| {
            let word =
                Regex::new(&format!(r"(^|\W){}(\W|$)", regex::escape(name))).expect("escaped");
            let mut text = text;
            // Twice: words that touch share a mark.
            for _ in 0..2 {
                text = word
                    .replace_all(&text, format!("${{1}}{}${{2}}", meaning.replace('$', "$$")))
                    .into_owned();
            }
            text
        })
}

/// The beginning of each script.
const HEAD: &str = r#"
failed() { cat "/machines/out/$1"; printf '\n%s\n' "$2"; cat /var/log/k8s-dqlite.log 2>/dev/null | tail -n 20; exit 70; }
# Until the program in the background has said or made what shows that it works.
until_it_works() {
    local number=$1 pid=$2 end=$((SECONDS + 60))
    shift 2
    until "$@" >/dev/null 2>&1; do
        kill -0 "$pid" 2>/dev/null || failed "$number" 'it has ended'
        ((SECONDS < end)) || failed "$number" 'nothing happens'
        sleep 0.05
    done
}
"#;

/// Writes `steps/NN-MACHINE` and an empty `out/` into the directory.
pub fn write(work: &Path, lines: &[Line], typed: &Typed) {
    fs::create_dir(work.join("steps")).unwrap();
    fs::create_dir(work.join("out")).unwrap();
    let mut script = String::new();
    let mut steps = 0;
    for (at, line) in lines.iter().enumerate() {
        script += &one(at, line, typed);
        let is_last = lines
            .get(at + 1)
            .is_none_or(|next| next.machine != line.machine);
        if is_last {
            let path = work.join(format!("steps/{steps:02}-{}", line.machine));
            fs::write(path, format!("{HEAD}{}{script}", meanwhile(typed))).unwrap();
            script.clear();
            steps += 1;
        }
    }
}

fn meanwhile(typed: &Typed) -> String {
    match &typed.meanwhile {
        Some(command) => format!(
            "while :; do\n{command}\nsleep 0.1\ndone >/dev/null 2>&1 &\nmeanwhile=$!\ntrap 'kill $meanwhile' EXIT\n"
        ),
        None => String::new(),
    }
}

fn one(at: usize, line: &Line, typed: &Typed) -> String {
    let Line { text, exits, .. } = line;
    let words = joined(text);
    let out = format!("/machines/out/{at}");
    let background = |works: &str| {
        format!("{{ {text}\n}} >{out} 2>&1 </dev/null &\nuntil_it_works {at} $! {works}\n")
    };
    if *exits == 0 && is_server(&words) {
        return background(&match words.starts_with("k8sd") {
            true => "test -S $STATE_DIR/control.socket".to_owned(),
            false => format!("grep ' ready ' {out}"),
        });
    }
    if *exits == 0 && is_watch(&words) {
        return background(&format!("test -s {out}"));
    }
    let told = words.replace('\'', "'\\''");
    let typed_in = match typed.keys.is_empty() || !text.contains("# asks") {
        true => format!("{{ {text}\n}} >{out} 2>&1"),
        // On a terminal.
        false => format!(
            "printf '%s\\n' {} | script --quiet --return --flush --command '{}' /dev/null >{out} 2>&1",
            typed.keys.join(" "),
            told
        ),
    };
    format!(
        "{typed_in}\ncode=$?\n[[ $code == {exits} ]] || failed {at} \"exit code $code, and not {exits}: \"'{told}'\n"
    )
}

/// Returns whether it serves until it is stopped.
fn is_server(words: &str) -> bool {
    let words: Vec<&str> = words.split(' ').filter(|word| *word != "sudo").collect();
    match words[..] {
        ["k8s-dqlite"] | ["k8s-dqlite", "$args"] | ["k8sd", "daemon", ..] => true,
        ["k8s-dqlite", first, ..] => {
            first.starts_with("--") && !["--help", "--version"].contains(&first)
        }
        _ => false,
    }
}

/// Returns whether it prints what happens until it is stopped.
fn is_watch(words: &str) -> bool {
    !words.ends_with('&') && (words.starts_with("etcdctl watch") || words.contains("/v3/watch"))
}

//! The commands, which begin with a full stop.

mod cluster;
mod copies;
mod members;
mod offline;
mod schema;
mod settings;
mod status;
mod survey;
mod unpack;

pub use self::schema::NAMES;
use crate::error::ShellError;
use crate::shell::Shell;

/// A command, for `.help`, the completion and the check of its arguments.
pub struct Entry {
    pub name: &'static str,
    pub arguments: &'static str,
    pub help: &'static str,
    /// Fewest and most arguments.
    arity: (usize, usize),
}

const fn entry(
    name: &'static str,
    arguments: &'static str,
    arity: (usize, usize),
    help: &'static str,
) -> Entry {
    Entry {
        name,
        arguments,
        help,
        arity,
    }
}

pub const COMMANDS: [Entry; 27] = [
    entry(
        ".cluster",
        "",
        (0, 0),
        "the nodes of the cluster with their roles",
    ),
    entry(".leader", "", (0, 0), "the address of the leader"),
    entry(
        ".status",
        "",
        (0, 0),
        "every node: role, leader, weight, whether it answers and how fast",
    ),
    entry(
        ".describe",
        "<address>",
        (1, 1),
        "failure domain and weight of a node",
    ),
    entry(
        ".weight",
        "<address> <n>",
        (2, 2),
        "set the weight of a node, until it stops",
    ),
    entry(
        ".add",
        "<address> [<id>]",
        (1, 2),
        "add a node as a spare; without an id one is made",
    ),
    entry(
        ".assign",
        "<address> <role>",
        (2, 2),
        "give a node the role voter, stand-by or spare",
    ),
    entry(".transfer", "<address>", (1, 1), "make a voter the leader"),
    entry(
        ".remove",
        "<address>",
        (1, 1),
        "remove a node from the cluster",
    ),
    entry(
        ".dump",
        "<address> [<database>]",
        (1, 2),
        "write a node's copy of a database into this directory",
    ),
    entry(
        ".backup",
        "<file>",
        (1, 1),
        "write the leader's copy of the database to a file, and verify it",
    ),
    entry(
        ".last-entry",
        "<dir>",
        (1, 1),
        "term and index of the last log entry of a stopped node",
    ),
    entry(
        ".reconfigure",
        "<dir> <file>",
        (2, 2),
        "give a stopped node the members that a cluster.yaml lists",
    ),
    entry(".tables", "", (0, 0), "the names of tables and views"),
    entry(
        ".schema",
        "[<name>]",
        (0, 1),
        "the SQL of all tables, indexes, views and triggers, or of one",
    ),
    entry(".indexes", "[<table>]", (0, 1), "the names of indexes"),
    entry(
        ".read",
        "<file>",
        (1, 1),
        "run the statements and commands of a file",
    ),
    entry(
        ".output",
        "[<file>]",
        (0, 1),
        "write results to a file, or to the terminal again",
    ),
    entry(
        ".mode",
        "<format>",
        (1, 1),
        "show rows as tabular, json, jsonl, csv, box or line",
    ),
    entry(".headers", "<on|off>", (1, 1), "show the names of columns"),
    entry(
        ".blobs",
        "<bytes|text>",
        (1, 1),
        "show blobs that hold text as text, or their bytes",
    ),
    entry(".nullvalue", "<text>", (1, 1), "what stands for NULL"),
    entry(
        ".timer",
        "<on|off>",
        (1, 1),
        "show how long statements take",
    ),
    entry(
        ".pager",
        "<on|off>",
        (1, 1),
        "show results page by page that are larger than the terminal",
    ),
    entry(".help", "", (0, 0), "this text"),
    entry(".quit", "", (0, 0), "end the shell"),
    entry(".exit", "", (0, 0), "end the shell"),
];

/// The shell's next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    GoOn,
    Quit,
}

pub async fn run(shell: &mut Shell, text: &str) -> Result<Next, ShellError> {
    shell.session.begin_command();
    let words = words(text)?;
    let (name, arguments) = words.split_first().ok_or_else(|| unknown(text))?;
    let name = name.to_ascii_lowercase();
    let entry = COMMANDS.iter().find(|entry| entry.name == name);
    let entry = entry.ok_or_else(|| unknown(&name))?;
    let (fewest, most) = entry.arity;
    if !(fewest..=most).contains(&arguments.len()) {
        return Err(ShellError::usage(format!(
            "bad command format, should be: {}",
            format!("{} {}", entry.name, entry.arguments).trim_end()
        )));
    }
    let ran = dispatch(shell, entry.name, arguments).await;
    // Statements of a script have said it themselves.
    match entry.name {
        ".read" => ran,
        _ => ran.map_err(|error| shell.session.with_effect(error)),
    }
}

async fn dispatch(shell: &mut Shell, name: &str, arguments: &[String]) -> Result<Next, ShellError> {
    let first = arguments.first().map_or("", String::as_str);
    let second = arguments.get(1).map(String::as_str);
    match name {
        ".cluster" => cluster::cluster(shell).await?,
        ".leader" => cluster::leader(shell).await?,
        ".describe" => cluster::describe(shell, first).await?,
        ".weight" => cluster::weight(shell, first, second.unwrap_or_default()).await?,
        ".status" => status::status(shell).await?,
        ".add" => members::add(shell, first, second).await?,
        ".assign" => members::assign(shell, first, second.unwrap_or_default()).await?,
        ".transfer" => members::transfer(shell, first).await?,
        ".remove" => members::remove(shell, first).await?,
        ".dump" => copies::dump(shell, first, second).await?,
        ".backup" => copies::backup(shell, first).await?,
        ".last-entry" => offline::last_entry(shell, first)?,
        ".reconfigure" => offline::reconfigure(shell, first, second.unwrap_or_default())?,
        ".tables" => schema::tables(shell).await?,
        ".schema" => schema::schema(shell, arguments.first().map(String::as_str)).await?,
        ".indexes" => schema::indexes(shell, arguments.first().map(String::as_str)).await?,
        ".help" => shell.output.line(&help())?,
        ".quit" | ".exit" => return Ok(Next::Quit),
        ".read" => return settings::read(shell, first).await,
        _ => settings::set(shell, name, first)?,
    }
    Ok(Next::GoOn)
}

fn unknown(name: &str) -> ShellError {
    ShellError::usage(format!("unknown command {name}: .help lists them"))
}

fn help() -> String {
    let width = |entry: &Entry| entry.name.len() + 1 + entry.arguments.len();
    let widest = COMMANDS.iter().map(width).max().unwrap_or(0);
    let lines = COMMANDS.iter().map(|entry| {
        let form = format!("{} {}", entry.name, entry.arguments);
        format!("  {form:widest$}  {}\n", entry.help)
    });
    format!(
        "SQL statements end with a semicolon. Commands end with their line:\n\n{}",
        lines.collect::<String>()
    )
    .trim_end()
    .to_owned()
}

/// Words of a command; quotes hold one together.
fn words(text: &str) -> Result<Vec<String>, ShellError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(ShellError::usage("a quote is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        let split = |text| words(text).unwrap();
        assert_eq!(split(".backup  'my file.db' "), [".backup", "my file.db"]);
        assert_eq!(split(".nullvalue \"\""), [".nullvalue", ""]);
        assert_eq!(split(".read a'b c'd"), [".read", "ab cd"]);
        assert!(words(".read 'a").is_err());
    }

    #[test]
    fn help_names_every_command() {
        let help = help();
        for entry in &COMMANDS {
            assert!(help.contains(entry.name));
        }
    }
}

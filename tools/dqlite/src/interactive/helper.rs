//! Answers the line editor: whether a line is whole, how a word can be completed, how it looks.

use std::borrow::Cow;

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{Context, Result};

use super::{begins_command, is_whole};
use crate::command::COMMANDS;

const KEYWORDS: [&str; 40] = [
    "ALTER", "AND", "AS", "BEGIN", "BETWEEN", "BY", "CASE", "COMMIT", "COUNT", "CREATE", "DELETE",
    "DESC", "DISTINCT", "DROP", "EXISTS", "EXPLAIN", "FROM", "GROUP", "HAVING", "IN", "INDEX",
    "INSERT", "INTO", "IS", "JOIN", "LIKE", "LIMIT", "NOT", "NULL", "ON", "OR", "ORDER", "PRAGMA",
    "ROLLBACK", "SELECT", "SET", "TABLE", "UPDATE", "VALUES", "WHERE",
];

#[derive(Default)]
pub struct Helper {
    has_colour: bool,
    /// Tables, views and columns.
    pub names: Vec<String>,
}

impl Helper {
    pub fn new(has_colour: bool) -> Self {
        Helper {
            has_colour,
            names: Vec::new(),
        }
    }

    fn candidates(&self, line: &str, word: &str) -> Vec<String> {
        let lower = word.to_lowercase();
        if word.starts_with('.') {
            let names = COMMANDS.iter().map(|entry| entry.name);
            return names
                .filter(|name| name.starts_with(&lower))
                .map(str::to_owned)
                .collect();
        }
        let names = self
            .names
            .iter()
            .filter(|name| name.to_lowercase().starts_with(&lower))
            .cloned();
        if begins_command(line) {
            return names.collect();
        }
        let upper = word.to_uppercase();
        let keywords = KEYWORDS
            .iter()
            .filter(|keyword| keyword.starts_with(&upper) && !word.is_empty());
        // A keyword in the case in which it was begun.
        let is_upper = word.chars().next().is_some_and(char::is_uppercase);
        let keywords = keywords.map(|keyword| match is_upper {
            true => (*keyword).to_owned(),
            false => keyword.to_lowercase(),
        });
        names.chain(keywords).collect()
    }
}

impl rustyline::Helper for Helper {}

impl Hinter for Helper {
    type Hint = String;
}

impl Completer for Helper {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<String>)> {
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
        let before = &line[..at];
        let start = before.rfind(|c| !is_word(c)).map_or(0, |found| {
            found + before[found..].chars().next().map_or(1, char::len_utf8)
        });
        Ok((start, self.candidates(before, &before[start..])))
    }
}

impl Validator for Helper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        Ok(match is_whole(context.input()) {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

impl Highlighter for Helper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        match self.has_colour {
            true => Cow::Owned(format!("\x1b[1m{prompt}\x1b[0m")),
            false => Cow::Borrowed(prompt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_tables_and_keywords_complete() {
        let helper = Helper {
            names: vec!["kine".into(), "key".into()],
            ..Helper::default()
        };
        assert_eq!(helper.candidates(".clu", ".clu"), [".cluster"]);
        assert_eq!(helper.candidates("select * from ki", "ki"), ["kine"]);
        assert_eq!(helper.candidates("sel", "sel"), ["select"]);
        assert_eq!(helper.candidates("SEL", "SEL"), ["SELECT"]);
        assert_eq!(helper.candidates(".schema k", "k"), ["kine", "key"]);
        assert!(helper.candidates("", "").len() == 2);
    }

    #[test]
    fn a_statement_is_whole_with_its_semicolon() {
        for (text, expected) in [
            ("select 1;", true),
            ("select 1", false),
            (".help", true),
            ("", true),
            ("select ';", false),
        ] {
            assert_eq!(is_whole(text), expected, "{text}");
        }
    }
}

//! Answers the line editor: whether a line is whole, how a word can be completed.

use rustyline::{
    Context, Result,
    completion::Completer,
    highlight::Highlighter,
    hint::Hinter,
    validate::{ValidationContext, ValidationResult, Validator},
};

const COMMANDS: [&str; 4] = [".dump", ".quit", ".schema", ".tables"];

const KEYWORDS: [&str; 19] = [
    "alter", "begin", "create", "delete", "drop", "explain", "from", "group", "insert", "into",
    "join", "limit", "order", "pragma", "select", "table", "update", "values", "where",
];

#[derive(Default)]
pub struct Helper {
    /// Tables, views and columns.
    pub names: Vec<String>,
}

impl Helper {
    fn candidates(&self, word: &str) -> Vec<String> {
        let lower = word.to_lowercase();
        if word.starts_with('.') {
            let commands = COMMANDS.iter().filter(|name| name.starts_with(&lower));
            return commands.map(|name| (*name).to_owned()).collect();
        }
        let names = self.names.iter();
        let names = names.filter(|name| name.to_lowercase().starts_with(&lower));
        let keywords = KEYWORDS
            .iter()
            .filter(|keyword| !word.is_empty() && keyword.starts_with(&lower));
        // In the case in which it was begun.
        let is_upper = word.chars().next().is_some_and(char::is_uppercase);
        let keywords = keywords.map(|keyword| match is_upper {
            true => keyword.to_uppercase(),
            false => (*keyword).to_owned(),
        });
        names.cloned().chain(keywords).collect()
    }
}

impl rustyline::Helper for Helper {}

impl Hinter for Helper {
    type Hint = String;
}

impl Highlighter for Helper {}

impl Completer for Helper {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<String>)> {
        let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
        let before = &line[..at];
        let start = before.rfind(|c| !is_word(c)).map_or(0, |found| {
            found + before[found..].chars().next().map_or(1, char::len_utf8)
        });
        Ok((start, self.candidates(&before[start..])))
    }
}

impl Validator for Helper {
    fn validate(&self, context: &mut ValidationContext<'_>) -> Result<ValidationResult> {
        Ok(match dqlite::sql::split(context.input()).rest.is_empty() {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_names_and_keywords_complete() {
        let helper = Helper {
            names: vec!["schemas".into(), "core_cluster_members".into()],
        };
        assert_eq!(helper.candidates(".sc"), [".schema"]);
        assert_eq!(helper.candidates("core"), ["core_cluster_members"]);
        assert_eq!(helper.candidates("sel"), ["select"]);
        assert_eq!(helper.candidates("SEL"), ["SELECT"]);
        assert_eq!(helper.candidates("").len(), 2);
    }
}

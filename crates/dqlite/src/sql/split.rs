//! Text to statements and commands.
//!
//! Owns the rule where a statement ends, which is SQLite's: at a semicolon outside of literals, quoted
//! names and comments; that of a CREATE TRIGGER at the one behind its END (SQLite: src/complete.c). A
//! command begins with a full stop in the place of a statement, and ends at a semicolon or with its line.

use super::lexer::{Token, token};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A statement, without the semicolon.
    Statement(&'a str),
    /// A command, with the full stop.
    Command(&'a str),
}

/// Whole pieces, and what follows them: empty, or the beginning of a statement.
#[derive(Debug, PartialEq, Eq)]
pub struct Split<'a> {
    pub pieces: Vec<Piece<'a>>,
    pub rest: &'a str,
}

/// The characters that SQLite takes for white space; other kinds of it are part of a name, or an error.
const SPACES: [char; 5] = [' ', '\t', '\n', '\x0c', '\r'];

pub fn split(text: &str) -> Split<'_> {
    let mut pieces = Vec::new();
    let mut rest = skip_blank(text);
    while !rest.is_empty() {
        if rest.starts_with('.') {
            let len = command_len(rest);
            pieces.push(Piece::Command(rest[..len].trim_end()));
            rest = skip_blank(&rest[len..]);
        } else if let Some(len) = statement_len(rest) {
            pieces.push(Piece::Statement(rest[..len - 1].trim_end_matches(SPACES)));
            rest = skip_blank(&rest[len..]);
        } else {
            break;
        }
    }
    Split { pieces, rest }
}

/// Returns whether there is nothing but white space and comments.
pub fn is_blank(text: &str) -> bool {
    skip_blank(text).is_empty()
}

/// Passes over white space, comments and semicolons before a piece. A comment that does not end stays.
fn skip_blank(mut text: &str) -> &str {
    while !text.is_empty() {
        match token(text) {
            Some((Token::Space | Token::Semicolon, len)) => text = &text[len..],
            _ => break,
        }
    }
    text
}

/// Length of a command: quotes protect semicolons.
fn command_len(text: &str) -> usize {
    let mut quote = None;
    for (at, byte) in text.bytes().enumerate() {
        match (byte, quote) {
            (b'\n', _) | (b';', None) => return at,
            (b'\'' | b'"', None) => quote = Some(byte),
            (byte, Some(open)) if byte == open => quote = None,
            _ => {}
        }
    }
    text.len()
}

/// The state of the parser, as far as the end of the statement depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Normal,
    Explain,
    Create,
    Trigger,
    /// Behind a semicolon inside of a trigger.
    TriggerSemicolon,
    /// Behind such a semicolon and END.
    TriggerEnd,
}

impl State {
    fn after(self, token: Token<'_>) -> State {
        use State::{Create, Explain, Normal, Start, Trigger, TriggerEnd, TriggerSemicolon};
        let word = match token {
            Token::Space => return self,
            Token::Semicolon => {
                return match self {
                    Trigger | TriggerSemicolon => TriggerSemicolon,
                    _ => Start,
                };
            }
            Token::Word(word) => word,
            Token::Other => "",
        };
        let is = |keyword: &str| word.eq_ignore_ascii_case(keyword);
        match self {
            Start if is("EXPLAIN") => Explain,
            Start | Explain if is("CREATE") => Create,
            Explain
                if !["EXPLAIN", "TEMP", "TEMPORARY", "TRIGGER", "END"]
                    .iter()
                    .any(|w| is(w)) =>
            {
                Explain
            }
            Create if is("TEMP") || is("TEMPORARY") => Create,
            Create if is("TRIGGER") => Trigger,
            TriggerSemicolon if is("END") => TriggerEnd,
            Trigger | TriggerSemicolon | TriggerEnd => Trigger,
            Start | Normal | Explain | Create => Normal,
        }
    }
}

/// Length of the first statement with its semicolon.
fn statement_len(text: &str) -> Option<usize> {
    let mut state = State::Start;
    let mut at = 0;
    while at < text.len() {
        let (found, len) = token(&text[at..])?;
        at += len;
        state = state.after(found);
        if state == State::Start && found == Token::Semicolon {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use proptest::prelude::*;
    use rusqlite::ffi::sqlite3_complete;

    use super::*;

    fn statements(text: &str) -> (Vec<&str>, &str) {
        let split = split(text);
        let texts = split.pieces.iter().map(|piece| match piece {
            Piece::Statement(text) | Piece::Command(text) => *text,
        });
        (texts.collect(), split.rest)
    }

    #[test]
    fn a_statement_ends_where_sqlite_ends_it() {
        let trigger = "create temp trigger t after insert on a begin select 1; select 'end;'; end";
        for (text, expected, rest) in [
            ("select 1; select 2", vec!["select 1"], "select 2"),
            ("select 'a;b';", vec!["select 'a;b'"], ""),
            (
                "select 'it''s;', \";\", [;], `;`;",
                vec!["select 'it''s;', \";\", [;], `;`"],
                "",
            ),
            ("-- a; b\nselect 1 /* ; */;", vec!["select 1 /* ; */"], ""),
            (";;; ;", vec![], ""),
            ("  -- only a comment", vec![], ""),
            ("select 'open;", vec![], "select 'open;"),
            ("select 1 /* open;", vec![], "select 1 /* open;"),
            (
                &format!("{trigger};select 2;"),
                vec![trigger, "select 2"],
                "",
            ),
            (
                ".cluster; .leader\nselect 1;",
                vec![".cluster", ".leader", "select 1"],
                "",
            ),
            (".backup 'a;b'\n.quit", vec![".backup 'a;b'", ".quit"], ""),
        ] {
            assert_eq!(statements(text), (expected, rest), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_white_space_to_sqlite_stays() {
        assert_eq!(statements("\x0b\t;").0, ["\x0b"]);
        assert_eq!(statements("select 1 \u{a0} \n;").0, ["select 1 \u{a0}"]);
    }

    proptest! {
        #[test]
        fn the_rest_is_empty_exactly_where_sqlite_says_complete(
            words in proptest::collection::vec(
                prop_oneof![
                    Just("create"), Just("temp"), Just("temporary"), Just("trigger"), Just("end"),
                    Just("explain"), Just(";"), Just(" "), Just("\n"), Just("x"), Just("'a;'"),
                    Just("'"), Just("--"), Just("/*"), Just("*/"), Just("[b;]"), Just("\"c\""),
                    Just("é"), Just("-"), Just("/"), Just("("), Just("select"),
                ],
                0..14,
            )
        ) {
            let text = words.join(if words.len() % 2 == 0 { " " } else { "" });
            let ours = split(&text);
            let c = CString::new(text.clone()).unwrap();
            // SAFETY: a NUL-terminated string that outlives the call.
            let theirs = unsafe { sqlite3_complete(c.as_ptr()) } == 1;
            prop_assert_eq!(ours.rest.is_empty(), theirs || is_blank(&text), "{:?}", text);
        }
    }
}

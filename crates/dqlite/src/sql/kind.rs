//! The effect of a statement on the transaction, by its first words.

use super::lexer::{Token, token};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Begin,
    Commit,
    Rollback,
    /// Within a transaction: SAVEPOINT, RELEASE, ROLLBACK TO.
    Savepoint,
    /// ATTACH, DETACH.
    Attach,
    Vacuum,
    Pragma,
    Explain,
    Other,
}

pub fn kind(sql: &str) -> Kind {
    let words = words(sql);
    let word = |at: usize| words.get(at).map_or("", String::as_str);
    match word(0) {
        "BEGIN" => Kind::Begin,
        "COMMIT" | "END" => Kind::Commit,
        "ROLLBACK" if words.iter().any(|word| word == "TO") => Kind::Savepoint,
        "ROLLBACK" => Kind::Rollback,
        "SAVEPOINT" | "RELEASE" => Kind::Savepoint,
        "ATTACH" | "DETACH" => Kind::Attach,
        "VACUUM" => Kind::Vacuum,
        "PRAGMA" => Kind::Pragma,
        "EXPLAIN" => Kind::Explain,
        _ => Kind::Other,
    }
}

/// The words at the beginning, in upper case; ROLLBACK TRANSACTION TO SAVEPOINT has the most that matter.
fn words(mut sql: &str) -> Vec<String> {
    const MAX_WORDS: usize = 4;
    let mut words = Vec::new();
    while words.len() < MAX_WORDS && !sql.is_empty() {
        // A byte order mark is white space to SQLite's parser.
        if let Some(rest) = sql.strip_prefix('\u{feff}') {
            sql = rest;
            continue;
        }
        let Some((found, len)) = token(sql) else {
            break;
        };
        match found {
            Token::Word(word) => words.push(word.to_ascii_uppercase()),
            Token::Space => {}
            Token::Semicolon if words.is_empty() => {}
            _ => break,
        }
        sql = &sql[len..];
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_follows_from_the_first_words() {
        for (sql, expected) in [
            ("begin", Kind::Begin),
            ("-- x\n /* y */ BEGIN IMMEDIATE", Kind::Begin),
            ("end transaction", Kind::Commit),
            ("rollback", Kind::Rollback),
            ("rollback transaction to savepoint a", Kind::Savepoint),
            ("release a", Kind::Savepoint),
            ("attach ':memory:' as m", Kind::Attach),
            ("PRAGMA user_version", Kind::Pragma),
            ("explain query plan select 1", Kind::Explain),
            ("select 'begin'", Kind::Other),
            ("with begin as (select 1) select * from begin", Kind::Other),
            ("\u{feff}commit", Kind::Commit),
            (" \u{feff} rollback", Kind::Rollback),
            ("", Kind::Other),
            ("'", Kind::Other),
        ] {
            assert_eq!(kind(sql), expected, "{sql:?}");
        }
    }
}

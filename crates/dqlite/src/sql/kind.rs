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

/// Returns whether it writes only if something in the schema is there, or is not: SQLite takes such a statement for one that
/// reads where it would do nothing, until the schema changes.
pub fn depends_on_schema(sql: &str) -> bool {
    const FIRST: [&str; 5] = ["CREATE", "DROP", "ALTER", "REINDEX", "ANALYZE"];
    let Some(first) = first_word(sql) else {
        return false;
    };
    let is = |word: &str| first.eq_ignore_ascii_case(word);
    // It writes only if the file is of that kind already.
    FIRST.into_iter().any(is) || is("PRAGMA") && sql.to_ascii_lowercase().contains("auto_vacuum")
}

fn first_word(mut sql: &str) -> Option<&str> {
    while !sql.is_empty() {
        match token(sql)? {
            (Token::Word(word), _) => return Some(word),
            (Token::Space | Token::Semicolon, len) => sql = &sql[len..],
            (Token::Other, _) => return None,
        }
    }
    None
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

    #[test]
    fn what_the_schema_decides_is_found_by_the_first_word() {
        for sql in [
            "CREATE TABLE IF NOT EXISTS t (v)",
            " -- x\n;/* y */drop trigger if exists g",
            "reindex",
            "Analyze t",
            "ALTER TABLE t RENAME TO u",
            "\u{feff}DROP VIEW IF EXISTS v",
            "PRAGMA main.Auto_Vacuum = 1",
        ] {
            assert!(depends_on_schema(sql), "{sql:?}");
        }
        for sql in [
            "SELECT 'create'",
            "EXPLAIN CREATE TABLE t (v)",
            "BEGIN",
            "",
            ";",
            "'",
            "created",
            "PRAGMA user_version = 1",
        ] {
            assert!(!depends_on_schema(sql), "{sql:?}");
        }
    }
}

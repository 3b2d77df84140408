//! Finds statements that keep what they wrote before they failed.

use super::lexer::{Token, token};

/// Returns whether the text asks SQLite to answer a conflict with FAIL: `OR FAIL`, `ON CONFLICT FAIL`, `RAISE(FAIL, …)`.
/// Outside a transaction such a statement fails and is committed, which the engine takes for nothing written
/// (dqlite: src/leader.c).
pub fn fails_halfway(mut sql: &str) -> bool {
    let mut before = [String::new(), String::new()];
    while !sql.is_empty() {
        let Some((found, len)) = token(sql) else {
            return false;
        };
        let text = match found {
            Token::Space => "",
            Token::Word(word) => word,
            _ => &sql[..len],
        };
        sql = &sql[len..];
        if text.is_empty() {
            continue;
        }
        if text.eq_ignore_ascii_case("FAIL") {
            match [before[0].as_str(), before[1].as_str()] {
                ["INSERT" | "UPDATE", "OR"] | ["ON", "CONFLICT"] | ["RAISE", "("] => return true,
                _ => {}
            }
        }
        before.swap(0, 1);
        before[1].clear();
        // No longer text is looked for.
        if text.len() <= "CONFLICT".len() {
            before[1].push_str(text);
            before[1].make_ascii_uppercase();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fail_is_found_where_it_is_an_answer_to_a_conflict() {
        for (sql, expected) in [
            ("INSERT OR FAIL INTO t VALUES (1)", true),
            ("update or /* x */ fail t set a = 1", true),
            ("CREATE TABLE t (a UNIQUE ON CONFLICT FAIL)", true),
            ("SELECT RAISE ( fail, 'x')", true),
            ("select 1; INSERT OR\nFAIL INTO t VALUES (1)", true),
            ("INSERT OR \u{feff}FAIL INTO t VALUES (1)", true),
            ("INSERT OR/*x*/\u{feff}FAIL INTO t VALUES (1)", true),
            ("INSERT OR \x0bFAIL INTO t VALUES (1)", true),
            ("INSERT OR ABORT INTO t VALUES (1)", false),
            ("SELECT * FROM t WHERE done OR fail = 1", false),
            ("INSERT INTO t VALUES ('or fail')", false),
            ("SELECT fail FROM t WHERE a OR b", false),
            ("SELECT a OR t.fail FROM t", false),
            ("SELECT \"or\" fail FROM t", false),
            ("", false),
            ("'", false),
        ] {
            assert_eq!(fails_halfway(sql), expected, "{sql}");
        }
    }
}

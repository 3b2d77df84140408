//! SQLite's tokens, as coarse as finding the end of a statement allows (SQLite: src/complete.c, src/tokenize.c).

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// White space or a comment.
    Space,
    Semicolon,
    Word(&'a str),
    /// A literal, a quoted name, an operator.
    Other,
}

/// The first token and its length in bytes, or `None` for a literal or comment that does not end. The text
/// is not empty.
pub(super) fn token(text: &str) -> Option<(Token<'_>, usize)> {
    let bytes = text.as_bytes();
    let end_of = |end: &str, from: usize| Some(from + text.get(from..)?.find(end)? + end.len());
    Some(match bytes[0] {
        b';' => (Token::Semicolon, 1),
        // A vertical tab counts behind other white space only.
        b' ' | b'\t' | b'\n' | b'\r' | b'\x0c' => {
            let rest = bytes[1..].iter();
            let more = rest.take_while(|byte| matches!(**byte, b' ' | b'\t'..=b'\r'));
            (Token::Space, 1 + more.count())
        }
        // A byte order mark, which counts at the beginning of a token.
        0xef if text.starts_with('\u{feff}') => (Token::Space, '\u{feff}'.len_utf8()),
        b'-' if bytes.get(1) == Some(&b'-') => {
            (Token::Space, end_of("\n", 2).unwrap_or(text.len()))
        }
        b'/' if bytes.get(1) == Some(&b'*') => (Token::Space, end_of("*/", 2)?),
        // A doubled quote inside is the end of one literal and the start of the next.
        b'\'' => (Token::Other, end_of("'", 1)?),
        b'"' => (Token::Other, end_of("\"", 1)?),
        b'`' => (Token::Other, end_of("`", 1)?),
        b'[' => (Token::Other, end_of("]", 1)?),
        byte if is_word(byte) => {
            let len = bytes.iter().take_while(|byte| is_word(**byte)).count();
            (Token::Word(&text[..len]), len)
        }
        _ => (Token::Other, 1),
    })
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

//! The blocks of code of a page, fenced and indented ones, and the code inside of its sentences.

use crate::note::{Note, NoteError};

/// A block of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Its first line in the page, from 1 on.
    pub line: usize,
    /// The word behind the fence.
    pub language: String,
    pub text: String,
    pub note: Option<Result<Note, NoteError>>,
}

/// Code inside of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inline {
    pub line: usize,
    pub text: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub blocks: Vec<Block>,
    pub inline: Vec<Inline>,
}

const INDENT: usize = 4;

/// Returns how many spaces the line begins with.
fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Returns how far the content of the list item is indented that the line begins.
fn item(line: &str) -> Option<usize> {
    let text = line.trim_start();
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let mark = match text.len() - digits.len() {
        0 => text.starts_with("- ").then_some(2),
        digits => text[digits..].starts_with(". ").then_some(digits + 2),
    };
    Some(indent(line) + mark?)
}

/// The lines without the indentation that all of them have.
fn dedented(lines: &[&str]) -> String {
    let all = lines.iter().filter(|line| !line.trim().is_empty());
    let least = all.map(|line| indent(line)).min().unwrap_or(0);
    let cut = lines.iter().map(|line| line.get(least..).unwrap_or(""));
    let text: Vec<&str> = cut.collect();
    text.join("\n").trim_end().to_owned()
}

impl Page {
    pub fn parse(text: &str) -> Self {
        let lines: Vec<&str> = text.lines().collect();
        let mut page = Self::default();
        let mut note = None;
        // Code in a list item is indented from there.
        let mut base = 0;
        let mut at = 0;
        while at < lines.len() {
            let line = lines[at];
            let is_blank = line.trim().is_empty();
            let follows_blank = at == 0 || lines[at - 1].trim().is_empty();
            if let Some(language) = line.trim_start().strip_prefix("```") {
                let length = lines[at + 1..]
                    .iter()
                    .take_while(|line| line.trim() != "```");
                let end = at + 1 + length.count();
                page.blocks.push(Block {
                    line: at + 2,
                    language: language.trim().to_owned(),
                    text: dedented(&lines[at + 1..end]),
                    note: note.take(),
                });
                at = end + 1;
            } else if line.trim_start().starts_with("<!--") {
                let length = lines[at..].iter().take_while(|line| !line.contains("-->"));
                let end = (at + length.count()).min(lines.len() - 1);
                if let Some(found) = Note::parse(&lines[at..=end].join("\n")) {
                    note = Some(found);
                }
                at = end + 1;
            } else if !is_blank
                && follows_blank
                && indent(line) >= base + INDENT
                && item(line).is_none()
            {
                let inside = |line: &&&str| line.trim().is_empty() || indent(line) >= base + INDENT;
                let end = at + lines[at..].iter().take_while(inside).count();
                page.blocks.push(Block {
                    line: at + 1,
                    language: String::new(),
                    text: dedented(&lines[at..end]),
                    note: note.take(),
                });
                at = end;
            } else {
                if let Some(content) = item(line) {
                    base = content;
                } else if !is_blank && indent(line) == 0 {
                    base = 0;
                }
                page.inline.extend(inline(at + 1, line));
                at += 1;
            }
        }
        page
    }
}

fn inline(line: usize, text: &str) -> impl Iterator<Item = Inline> {
    let parts = text.split('`').skip(1).step_by(2);
    parts.map(move |part| Inline {
        line,
        text: part.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_fenced_or_indented_and_have_the_note_before_them() {
        let page = Page::parse(
            "# A\n\n<!-- other -->\n<!-- typed: empty\nexits: 1 -->\n```sh\nfalse\n```\n\nWords `k8sd sql`:\n\n    one\n\n      two\n\n\
             1. item\n\n       three\n   more\n\n    - item\n\nEnd\n    of a sentence\n",
        );
        let told: Vec<_> = page
            .blocks
            .iter()
            .map(|it| (it.line, it.text.as_str()))
            .collect();
        assert_eq!(told, [(7, "false"), (12, "one\n\n  two"), (18, "three")]);
        assert!(matches!(&page.blocks[0].note, Some(Ok(Note::Typed(_)))));
        assert_eq!(page.blocks[1].note, None);
        assert_eq!(
            page.inline[0],
            Inline {
                line: 10,
                text: "k8sd sql".to_owned()
            }
        );
    }
}

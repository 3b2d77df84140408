//! The statements of docs/ARCHITECTURE.md in a form that can be checked.

use super::tree::Tree;

pub const PAGE: &str = "docs/ARCHITECTURE.md";

/// Lines `name: others` of a fenced block with this word behind its fence, in their order.
pub fn block(tree: &Tree, word: &str) -> Vec<(String, Vec<String>)> {
    let fence = format!("```{word}\n");
    let text = tree.text(PAGE);
    let (_, rest) = text
        .split_once(&fence)
        .unwrap_or_else(|| panic!("{PAGE} has no block {word}"));
    let (block, _) = rest.split_once("```").expect("a block ends");
    let line = |line: &str| {
        let (name, others) = line.split_once(':').unwrap_or((line, ""));
        let others = others.split_whitespace().map(ToOwned::to_owned);
        (name.trim().to_owned(), others.collect())
    };
    block.lines().map(line).collect()
}

/// The words in backticks of the paragraph that begins like this.
pub fn listed(tree: &Tree, beginning: &str) -> Vec<String> {
    let text = tree.text(PAGE);
    let at = text
        .find(&format!("\n{beginning}"))
        .unwrap_or_else(|| panic!("{PAGE} has no paragraph {beginning:?}"));
    let paragraph = text[at + 1..].split("\n\n").next().unwrap_or_default();
    let words = paragraph.split('`').skip(1).step_by(2);
    words.flat_map(expanded).collect()
}

/// `a/{b,c}.rs` stands for two names.
pub fn expanded(name: &str) -> Vec<String> {
    let Some((before, rest)) = name.split_once('{') else {
        return vec![name.to_owned()];
    };
    let Some((choices, after)) = rest.split_once('}') else {
        return vec![name.to_owned()];
    };
    let each = choices.split(',');
    each.flat_map(|choice| expanded(&format!("{before}{}{after}", choice.trim())))
        .collect()
}

//! Columns as Go's `text/tabwriter` aligns them with tabs, which is what the original shell prints.
//!
//! A cell ends with a tab, a line with a newline, both also inside of values. Neighbouring lines that have a
//! cell in a column form a block, which is as wide as its widest cell and one more, rounded up to whole tab
//! stops. Widths are known only when a block ends, so lines are written to a spool first.

use std::collections::VecDeque;
use std::io::{self, Write};

use super::spool::Spool;

const TAB_STOP: usize = 8;
const PADDING: usize = 1;

/// One column: the block that is open, and the widths of all blocks in their order.
#[derive(Debug, Default)]
struct Column {
    open: Option<usize>,
    closed: VecDeque<usize>,
}

#[derive(Debug)]
pub struct Tabwriter {
    spool: Spool,
    columns: Vec<Column>,
    /// Cells of the line so far that have ended.
    cells: usize,
    /// Width of the cell so far, in characters.
    width: usize,
}

impl Tabwriter {
    pub fn new(spool: Spool) -> Self {
        Tabwriter {
            spool,
            columns: Vec::new(),
            cells: 0,
            width: 0,
        }
    }

    /// Takes text in which tabs, vertical tabs, newlines and form feeds are what they are to Go.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        for c in text.chars() {
            match c {
                '\t' | '\x0b' => self.end_cell(),
                '\n' => self.end_line(),
                '\x0c' => {
                    self.end_line();
                    // A form feed separates what is above from what is below.
                    self.columns.iter_mut().for_each(Column::close);
                }
                _ => self.width += 1,
            }
        }
        self.spool.write_all(text.as_bytes())
    }

    fn end_cell(&mut self) {
        if self.columns.len() == self.cells {
            self.columns.push(Column::default());
        }
        let column = &mut self.columns[self.cells];
        column.open = Some(column.open.unwrap_or(0).max(self.width + PADDING));
        self.cells += 1;
        self.width = 0;
    }

    fn end_line(&mut self) {
        let cells = std::mem::take(&mut self.cells);
        self.columns[cells..].iter_mut().for_each(Column::close);
        self.width = 0;
    }

    /// Writes everything with its padding.
    pub fn finish(mut self, out: &mut dyn Write) -> io::Result<()> {
        self.end_line();
        self.columns.iter_mut().for_each(Column::close);
        let mut padder = Padder {
            blocks: self.columns.into_iter().map(Block::new).collect(),
            cells: 0,
            width: 0,
        };
        self.spool.read_text(|text| padder.text(text, out))
    }
}

impl Column {
    fn close(&mut self) {
        if let Some(width) = self.open.take() {
            self.closed.push_back(width.next_multiple_of(TAB_STOP));
        }
    }
}

/// The second pass: the same walk over the text, with the widths known.
struct Padder {
    blocks: Vec<Block>,
    cells: usize,
    width: usize,
}

struct Block {
    widths: VecDeque<usize>,
    is_open: bool,
}

impl Block {
    fn new(column: Column) -> Self {
        Block {
            widths: column.closed,
            is_open: false,
        }
    }

    fn close(&mut self) {
        if std::mem::take(&mut self.is_open) {
            self.widths.pop_front();
        }
    }
}

impl Padder {
    fn text(&mut self, text: &str, out: &mut dyn Write) -> io::Result<()> {
        let mut plain = 0;
        for (at, c) in text.char_indices() {
            if !matches!(c, '\t' | '\x0b' | '\n' | '\x0c') {
                self.width += 1;
                continue;
            }
            out.write_all(&text.as_bytes()[plain..at])?;
            plain = at + 1;
            match c {
                '\t' | '\x0b' => {
                    let block = &mut self.blocks[self.cells];
                    block.is_open = true;
                    let missing = block.widths[0] - self.width;
                    for _ in 0..missing.div_ceil(TAB_STOP) {
                        out.write_all(b"\t")?;
                    }
                    self.cells += 1;
                }
                _ => {
                    let first = if c == '\n' { self.cells } else { 0 };
                    self.blocks[first..].iter_mut().for_each(Block::close);
                    out.write_all(b"\n")?;
                    self.cells = 0;
                }
            }
            self.width = 0;
        }
        out.write_all(&text.as_bytes()[plain..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aligned(text: &str) -> String {
        let mut writer = Tabwriter::new(Spool::new());
        writer.text(text).unwrap();
        let mut out = Vec::new();
        writer.finish(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn cells_are_padded_to_whole_tab_stops() {
        // Printed by Go's text/tabwriter with the shell's settings.
        for (text, expected) in [
            ("id\tname\t\n1\ta\t\n", "id\tname\t\n1\ta\t\n"),
            (
                "id\tname\t\n1\tlonger-than-a-stop\t\n",
                "id\tname\t\t\t\n1\tlonger-than-a-stop\t\n",
            ),
            ("1234567\t\n12345678\t\n", "1234567\t\t\n12345678\t\n"),
            ("éééééééé\t\nx\t\n", "éééééééé\t\nx\t\t\n"),
            (
                "a\nb\t\nlonger-than-one\t\n",
                "a\nb\t\t\nlonger-than-one\t\n",
            ),
            ("\t\n", "\t\n"),
            ("", ""),
        ] {
            assert_eq!(aligned(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_line_with_fewer_cells_ends_the_block() {
        assert_eq!(
            aligned("wide-wide-wide\tx\t\nno cells\na\tb\t\n"),
            "wide-wide-wide\tx\t\nno cells\na\tb\t\n"
        );
    }
}

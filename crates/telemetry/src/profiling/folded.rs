//! Profiles as folded stacks: a line for each, `outermost;...;innermost value`, which speedscope,
//! inferno and flamegraph.pl read.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    pprof::{Entry, Profile},
    symbols::Symbols,
};

impl Profile {
    /// Returns the values of the default kind as folded stacks.
    pub fn to_folded(&self) -> String {
        let kinds = self.kinds.iter();
        let at = kinds
            .clone()
            .position(|(kind, _)| *kind == self.default_kind);
        let at = at.expect("the default is one of the kinds");
        let mut symbols = Symbols::default();
        let mut lines: BTreeMap<String, i64> = BTreeMap::new();
        for entry in &self.entries {
            *lines.entry(line(entry, &mut symbols)).or_default() += entry.values[at];
        }
        let mut text = String::new();
        for (line, value) in lines.iter().filter(|(_, value)| **value > 0) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line} {value}");
        }
        text
    }
}

fn line(entry: &Entry, symbols: &mut Symbols) -> String {
    let mut frames: Vec<String> = Vec::new();
    for address in &entry.stack {
        let places = symbols.of(*address).iter();
        frames.extend(places.map(|place| place.function.replace(';', ",")));
    }
    frames.extend(entry.name.clone());
    frames.extend(entry.thread.clone());
    frames.reverse();
    frames.join(";")
}

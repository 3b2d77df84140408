//! Names of functions by their addresses.

use std::{collections::HashMap, ffi::c_void};

/// A function, perhaps one that was inlined.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    pub function: String,
    pub file: String,
    pub line: u32,
}

/// Remembers what it was asked.
#[derive(Default)]
pub struct Symbols(HashMap<u64, Vec<Place>>);

impl Symbols {
    /// The innermost of inlined functions first; at least one.
    pub fn of(&mut self, address: u64) -> &[Place] {
        self.0.entry(address).or_insert_with(|| look_up(address))
    }
}

fn look_up(address: u64) -> Vec<Place> {
    let mut places = Vec::new();
    backtrace::resolve(address as *mut c_void, |symbol| {
        let function = symbol.name().map(|name| without_hash(&name.to_string()));
        let file = symbol.filename().map(|path| path.display().to_string());
        places.push(Place {
            function: function.unwrap_or_else(|| unknown(address)),
            file: file.unwrap_or_default(),
            line: symbol.lineno().unwrap_or_default(),
        });
    });
    if places.is_empty() {
        places.push(Place {
            function: unknown(address),
            file: String::new(),
            line: 0,
        });
    }
    places
}

fn unknown(address: u64) -> String {
    format!("{address:#x}")
}

/// Rust's names end in a hash, which differs from build to build.
fn without_hash(name: &str) -> String {
    const HASH_DIGITS: usize = 16;
    let hash = name.rsplit_once("::h");
    match hash {
        Some((rest, hash))
            if hash.len() == HASH_DIGITS && hash.bytes().all(|digit| digit.is_ascii_hexdigit()) =>
        {
            rest.to_owned()
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_found_by_its_address() {
        let address = look_up as *const () as u64;
        let mut symbols = Symbols::default();
        let outermost = symbols.of(address).last().unwrap().clone();
        assert!(
            outermost.function.ends_with("symbols::look_up"),
            "{outermost:?}"
        );
        assert_eq!(symbols.of(0)[0].function, "0x0");
    }

    #[test]
    fn hashes_are_left_out() {
        assert_eq!(without_hash("a::b::h0123456789abcdef"), "a::b");
        assert_eq!(without_hash("a::hello"), "a::hello");
    }
}

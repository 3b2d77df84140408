//! Names of functions by their addresses.

use std::{collections::HashMap, ffi::c_void, path::Path};

/// The folder of the server's package at build time; the other packages have folders of their
/// names.
const SERVER_DIR: Option<&str> = strip_own_dir(env!("CARGO_MANIFEST_DIR"));
const SERVER: &str = "k8s_dqlite";

const fn strip_own_dir(dir: &'static str) -> Option<&'static str> {
    const OWN: &str = "/crates/telemetry";
    match dir.len().checked_sub(OWN.len()) {
        Some(len) => Some(dir.split_at(len).0),
        None => None,
    }
}

/// A function, perhaps one that was inlined.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    pub function: String,
    /// The linker's name, where it is known. pprof takes names that differ from it as they are.
    pub symbol: String,
    pub file: String,
    pub line: u32,
}

impl Place {
    pub fn named(function: impl Into<String>) -> Self {
        Self {
            function: function.into(),
            symbol: String::new(),
            file: String::new(),
            line: 0,
        }
    }
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
    // It takes a return address, and looks at the byte before.
    backtrace::resolve((address + 1) as *mut c_void, |symbol| {
        let (Some(name), file) = (symbol.name(), symbol.filename()) else {
            return;
        };
        // Without the hash, which differs from build to build.
        let function = format!("{name:#}");
        places.push(Place {
            function: file.map_or_else(|| function.clone(), |file| qualified(&function, file)),
            symbol: String::from_utf8_lossy(name.as_bytes()).into_owned(),
            file: file.map_or_else(String::new, |file| file.display().to_string()),
            line: symbol.lineno().unwrap_or_default(),
        });
    });
    if places.is_empty() {
        places.push(Place::named(format!("{address:#x}")));
    }
    places
}

/// Returns the function's name with its module, taken from the path of its file because line tables
/// do not name modules.
fn qualified(function: &str, file: &Path) -> String {
    let plain = function.split('<').next().unwrap_or_default();
    if plain.contains("::") || function.starts_with('<') {
        return function.to_owned();
    }
    match module(&file.to_string_lossy()) {
        Some(module) => format!("{module}::{function}"),
        None => function.to_owned(),
    }
}

/// Returns the module of a Rust file, else `None`.
fn module(file: &str) -> Option<String> {
    let path = file.strip_suffix(".rs")?;
    let (before, path) = path.rsplit_once("/src/")?;
    let name = match Some(before) == SERVER_DIR {
        true => SERVER.to_owned(),
        false => crate_name(before.rsplit('/').next()?),
    };
    let parts = path.split('/');
    let parts = parts.filter(|part| !matches!(*part, "mod" | "lib"));
    Some(parts.fold(name, |module, part| format!("{module}::{part}")))
}

/// `tokio-1.54.1` is tokio.
fn crate_name(dir: &str) -> String {
    let name = match dir.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|first: char| first.is_ascii_digit()) => name,
        _ => dir,
    };
    name.replace('-', "_")
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
    fn names_without_a_module_get_that_of_their_file() {
        let own = format!("{}/src/store/writer.rs", SERVER_DIR.unwrap());
        for (function, file, expected) in [
            (
                "{async_fn#0}",
                own.as_str(),
                "k8s_dqlite::store::writer::{async_fn#0}",
            ),
            (
                "new<u8>",
                "/x/tokio-1.54.1/src/net/mod.rs",
                "tokio::net::new<u8>",
            ),
            (
                "spawn",
                "/rustc/0/library/std/src/thread/mod.rs",
                "std::thread::spawn",
            ),
            ("a::new", "/x/tokio-1.54.1/src/lib.rs", "a::new"),
            (
                "<T as U>::new",
                "/x/tokio-1.54.1/src/lib.rs",
                "<T as U>::new",
            ),
            ("memcpy", "/glibc/string/memcpy.c", "memcpy"),
        ] {
            assert_eq!(qualified(function, Path::new(file)), expected);
        }
    }
}

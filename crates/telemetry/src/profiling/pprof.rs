//! Profiles in pprof's format: the messages of github.com/google/pprof `proto/profile.proto`, as far as
//! they are needed.

use std::{
    collections::HashMap,
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use flate2::{Compression, write::GzEncoder};
use prost::Message;

use super::symbols::{Place, Symbols};

/// A stack, the innermost address first, with a value for each kind.
pub struct Entry {
    pub stack: Vec<u64>,
    pub values: Vec<i64>,
    pub thread: Option<String>,
    /// Instead of a stack that is known.
    pub name: Option<String>,
}

/// A profile that names the functions and lines of its addresses.
pub struct Profile {
    /// Names and units.
    pub kinds: &'static [(&'static str, &'static str)],
    /// The kind that is shown first.
    pub default_kind: &'static str,
    pub period_kind: (&'static str, &'static str),
    pub period: i64,
    pub began: SystemTime,
    pub duration: Duration,
    pub comments: Vec<String>,
    pub entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Wire {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, repeated, tag = "13")]
    comment: Vec<i64>,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Mapping {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    memory_start: u64,
    #[prost(uint64, tag = "3")]
    memory_limit: u64,
    #[prost(int64, tag = "5")]
    filename: i64,
    #[prost(bool, tag = "7")]
    has_functions: bool,
    #[prost(bool, tag = "8")]
    has_filenames: bool,
    #[prost(bool, tag = "9")]
    has_line_numbers: bool,
    #[prost(bool, tag = "10")]
    has_inline_frames: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    mapping_id: u64,
    #[prost(uint64, tag = "3")]
    address: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Clone, PartialEq, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    filename: i64,
}

impl Profile {
    /// Compressed, as it is stored and served.
    pub fn to_pprof(&self) -> Vec<u8> {
        let wire = Tables::default().fill(self).encode_to_vec();
        let mut compressed = GzEncoder::new(Vec::new(), Compression::default());
        let written = compressed.write_all(&wire);
        written
            .and_then(|()| compressed.finish())
            .expect("memory takes everything")
    }
}

#[derive(Default)]
struct Tables {
    symbols: Symbols,
    texts: HashMap<String, i64>,
    functions: HashMap<(String, String), u64>,
    locations: HashMap<(u64, Option<String>), u64>,
    wire: Wire,
}

impl Tables {
    fn fill(mut self, profile: &Profile) -> Wire {
        // The first must be empty.
        self.text("");
        self.wire.sample_type = profile.kinds.iter().map(|kind| self.kind(*kind)).collect();
        self.wire.period_type = Some(self.kind(profile.period_kind));
        self.wire.period = profile.period;
        self.wire.default_sample_type = self.text(profile.default_kind);
        let since = profile.began.duration_since(UNIX_EPOCH);
        self.wire.time_nanos = since.unwrap_or_default().as_nanos() as i64;
        self.wire.duration_nanos = profile.duration.as_nanos() as i64;
        self.wire.comment = profile
            .comments
            .iter()
            .map(|text| self.text(text))
            .collect();
        // Says that everything has its name already.
        let program = std::env::current_exe().unwrap_or_default();
        let filename = self.text(&program.to_string_lossy());
        self.wire.mapping = vec![Mapping {
            id: 1,
            memory_start: 0,
            memory_limit: u64::MAX,
            filename,
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
        }];
        for entry in &profile.entries {
            let sample = self.sample(entry);
            self.wire.sample.push(sample);
        }
        self.wire
    }

    fn sample(&mut self, entry: &Entry) -> Sample {
        let mut location_id: Vec<u64> = entry
            .stack
            .iter()
            .map(|address| self.location(*address))
            .collect();
        if let Some(name) = &entry.name {
            location_id.push(self.named(name));
        }
        let label = entry.thread.as_ref().map(|thread| Label {
            key: self.text("thread"),
            text: self.text(thread),
        });
        Sample {
            location_id,
            value: entry.values.clone(),
            label: label.into_iter().collect(),
        }
    }

    fn location(&mut self, address: u64) -> u64 {
        if let Some(id) = self.locations.get(&(address, None)) {
            return *id;
        }
        let places = self.symbols.of(address).to_vec();
        self.add_location((address, None), &places)
    }

    fn named(&mut self, name: &str) -> u64 {
        let key = (0, Some(name.to_owned()));
        if let Some(id) = self.locations.get(&key) {
            return *id;
        }
        self.add_location(key, &[Place::named(name)])
    }

    fn add_location(&mut self, key: (u64, Option<String>), places: &[Place]) -> u64 {
        let line = places
            .iter()
            .map(|place| Line {
                function_id: self.function(place),
                line: i64::from(place.line),
            })
            .collect();
        let id = self.wire.location.len() as u64 + 1;
        self.wire.location.push(Location {
            id,
            mapping_id: 1,
            address: key.0,
            line,
        });
        self.locations.insert(key, id);
        id
    }

    fn function(&mut self, place: &Place) -> u64 {
        let key = (place.function.clone(), place.file.clone());
        if let Some(id) = self.functions.get(&key) {
            return *id;
        }
        let id = self.wire.function.len() as u64 + 1;
        let (name, filename) = (self.text(&place.function), self.text(&place.file));
        let system_name = self.text(&place.symbol);
        self.wire.function.push(Function {
            id,
            name,
            system_name,
            filename,
        });
        self.functions.insert(key, id);
        id
    }

    fn kind(&mut self, (kind, unit): (&str, &str)) -> ValueType {
        ValueType {
            kind: self.text(kind),
            unit: self.text(unit),
        }
    }

    fn text(&mut self, text: &str) -> i64 {
        if let Some(at) = self.texts.get(text) {
            return *at;
        }
        let at = self.wire.string_table.len() as i64;
        self.wire.string_table.push(text.to_owned());
        self.texts.insert(text.to_owned(), at);
        at
    }
}

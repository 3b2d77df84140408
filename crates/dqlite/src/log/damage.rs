//! The damage of a directory, for programs and for an operator.

use std::{fmt, io, ops::RangeInclusive, path::PathBuf};

use super::batch::BatchFault;

/// The reason why a node must not start from a directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Starting the engine would lose entries, or fail. Nothing was changed.
    #[error(transparent)]
    Damaged(#[from] Box<Damage>),
    /// A file could not be read, because of its permissions or the disk. This says nothing about the data.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
}

/// The first damage in the order in which the engine loads files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub file: String,
    /// The place in the file, in bytes.
    pub offset: Option<u64>,
    pub kind: DamageKind,
    pub lost: Lost,
    /// Other files that may be the reason.
    pub related: Vec<String>,
}

/// The part of the log that would be lost if the rest were believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lost {
    /// Entries with these indexes.
    Entries(RangeInclusive<u64>),
    /// Entries from this index on. How many they are cannot be told.
    From(u64),
    /// A snapshot holds all entries up to this index.
    Snapshot(u64),
    /// The term and the vote: the node could vote twice.
    Vote,
    /// The loss cannot be named.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    #[error("is not a file")]
    NotAFile,
    #[error("has a name that the engine never gives to a file, but would load")]
    StrangeName,
    #[error("is larger than anything that the engine writes")]
    TooLarge,
    #[error("has {found} bytes instead of {expected}")]
    Length { found: u64, expected: u64 },
    #[error("has the unknown format {0}")]
    Format(u64),
    #[error("is missing, although the directory has data")]
    MetadataMissing,
    #[error("has the impossible version {0}")]
    ImpossibleVersion(u64),
    #[error("has the impossible term {0}")]
    ImpossibleTerm(u64),
    #[error(
        "has version {found}, but the other metadata file has version {other}: they must differ by one"
    )]
    MetadataVersion { found: u64, other: u64 },
    #[error(
        "has term {found}, which contradicts the other metadata file with term {other}: each version has either a higher \
         term and no vote, or the same term and a vote"
    )]
    MetadataTerm { found: u64, other: u64 },
    #[error("{0}")]
    Batch(BatchFault),
    #[error("{0}: one bit has flipped")]
    OneBit(BatchFault),
    #[error("{fault}, and there is a whole batch at byte {whole_at}")]
    WholeBatchBehind { fault: BatchFault, whole_at: u64 },
    #[error("ends here, although {later} has later entries")]
    EndsEarly { later: String },
    #[error("has only zeros after its first 8 bytes")]
    Emptied,
    #[error("has {found} entries, but by its name it should have {expected}")]
    Count { found: u64, expected: u64 },
    #[error("does not continue after the entry {after}")]
    Gap { after: u64 },
    #[error("has entries that are also in {with}")]
    Overlap { with: String },
    #[error("is an older copy of {of}")]
    Copy { of: String },
    #[error("does not follow open-{after}: a segment between them is missing")]
    OpenGap { after: u64 },
    #[error(
        "has an entry of term {found} after one of term {before}: it is older than the log before it"
    )]
    TermDecreases { before: u64, found: u64 },
    #[error(
        "has an entry of term {found}, but by its metadata this node has seen no term after {known}: the metadata files are older copies, or this file is from another node"
    )]
    TermUnknown { known: u64, found: u64 },
    #[error("has an entry of term {found} where the snapshot has one of term {expected}")]
    TermOfSnapshot { expected: u64, found: u64 },
    #[error("does not begin with the entry that lists the nodes of the cluster")]
    NoConfiguration,
    #[error("has a list of the cluster's nodes that cannot be decoded")]
    Configuration,
    #[error("does not match its checksum")]
    Checksum,
    #[error("is cut off")]
    Cut,
    #[error("has more bytes after its end")]
    Trailing,
    #[error("is not a snapshot: {0}")]
    NotASnapshot(&'static str),
    #[error("cannot be decompressed: {0}")]
    Decompress(String),
    #[error("is an incomplete snapshot, and the log does not have its entries")]
    HalfSnapshot,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(offset) = self.offset {
            write!(f, ", at byte {offset}")?;
        }
        // A fault of a batch is a sentence of its own, others have the file as their subject.
        match &self.kind {
            DamageKind::Batch(_) | DamageKind::OneBit(_) | DamageKind::WholeBatchBehind { .. } => {
                write!(f, ": {}", self.kind)?;
            }
            kind => write!(f, " {kind}")?,
        }
        match &self.lost {
            Lost::Entries(range) if range.start() == range.end() => {
                write!(f, "; without it the entry {} is lost", range.start())?;
            }
            Lost::Entries(range) => {
                let (first, last) = (range.start(), range.end());
                write!(f, "; without it the entries {first} to {last} are lost")?;
            }
            Lost::From(first) => {
                write!(f, "; the entries from {first} on would be lost or wrong")?;
            }
            Lost::Snapshot(index) => {
                write!(f, "; without it all data up to the entry {index} are lost")?;
            }
            Lost::Vote => write!(f, "; without it this node could vote twice in a term")?,
            Lost::Unknown => {}
        }
        if !self.related.is_empty() {
            write!(f, " (see also {})", self.related.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Damage {}

/// A fault of one file, before it is known which entries it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub offset: Option<u64>,
    pub kind: DamageKind,
    /// Entries of the file that are whole and stand before it.
    pub entries_before: u64,
}

impl Fault {
    pub fn at(offset: usize, kind: DamageKind) -> Self {
        Self {
            offset: Some(offset as u64),
            kind,
            entries_before: 0,
        }
    }

    pub fn of_file(kind: DamageKind) -> Self {
        Self {
            offset: None,
            kind,
            entries_before: 0,
        }
    }

    pub fn into_damage(self, file: &str, lost: Lost) -> Box<Damage> {
        Box::new(Damage {
            file: file.to_owned(),
            offset: self.offset,
            kind: self.kind,
            lost,
            related: Vec::new(),
        })
    }
}

//! The engine's log, metadata and snapshots, read before the engine reads them.
//!
//! [`verify_directory`] checks everything that libdqlite 1.18 would load, by every checksum that is
//! there, and says what it will make of it ([`Report`]) or why it must not be started ([`Error`]).
//! The engine itself judges by names and sizes, drops what it cannot read, cuts files and deletes
//! others, and says so to nobody: one flipped bit early in an open segment costs all that was
//! acknowledged after it.
//!
//! Invariants: nothing is changed; no input makes it panic; what a crash can leave is accepted and
//! named in the report; of anything else the first is an error.
//!
//! The formats are in the heads of the modules; each names the file of dqlite that it follows. The
//! judgement is pure, over bytes and over a list of names and sizes; `directory.rs` does the reading.
//!
//! # What cannot be told from the files
//!
//! Neither metadata nor names have a checksum, and an open segment does not know its indexes. So
//! these look like an earlier state of the same directory, and only a mark outside the log can tell:
//!
//! - an open segment that was cut, or overwritten with zeros, exactly between two batches; one that
//!   was emptied or deleted, if none behind it has entries;
//! - an older copy of the last open segment, or of another one whose number follows, from the same
//!   term (a single voter keeps its term for ever), unless the closed segment that it became is still
//!   there;
//! - the last closed segment missing, with the open ones behind it moving up if they are of the same
//!   term; or all closed segments missing behind a snapshot;
//! - both files of the newest snapshot missing, where an older one and the log reach as far;
//! - a changed vote, or a greater term, in the newer file of the metadata;
//! - a bad last batch that looks as if it had been torn (see `torn.rs`).

mod batch;
mod bytes;
mod configuration;
mod crc;
pub mod cut;
mod damage;
mod directory;
mod entries;
#[cfg(test)]
mod fixture;
mod judge;
mod metadata;
mod name;
mod plan;
mod readdress;
mod report;
mod segment;
#[cfg(test)]
mod segment_tests;
mod snapshot;
mod snapshot_content;
mod snapshot_meta;
mod torn;
mod verify;
#[cfg(test)]
mod verify_tests;

pub use batch::BatchFault;
pub(crate) use batch::{add_to_digest, extent as batch_extent};
pub(crate) use configuration::decode as decode_configuration;
pub(crate) use crc::crc32;
pub use damage::{Damage, DamageKind, Error, Lost};
pub use directory::{Directory, verify_directory};
#[cfg(test)]
pub(crate) use fixture::batch as test_batch;
pub(crate) use metadata::{Metadata, NAMES as METADATA_NAMES};
pub(crate) use name::FileName;
pub use name::SnapshotId;
pub use plan::FoundFile;
pub use readdress::{AddressChanges, AddressFault};
pub use report::{ClosedReport, Configuration, OpenReport, Remnant, Report, SnapshotReport};
pub use snapshot_content::Database;
pub use verify::{Files, verify};

//! The history of a store in an object store or a directory: formats, names, and what leads to which revision.
//!
//! An archive holds two kinds of objects. A **base** is the store at one revision: a backup file, byte for byte. A
//! **delta** holds what came after the delta before it: batches of changes as the database has them, and changed leases
//! and settings. The deltas are one chain. Each names the SHA-256 of the one before, and its own name follows from that
//! one alone: who has read the end of the chain knows the only name under which it can go on. Deltas are put on
//! condition that there is none of that name, so two writers cannot go on from the same end.
//!
//! A base counts only if a delta announces it. The first delta of a chain announces the first base; a base after a
//! **gap** takes the place of revisions that are lost to the archive.
//!
//! | Folder or file | Owns |
//! |---|---|
//! | `format/` | the bytes of a delta |
//! | `names.rs` | names of objects, in the order of revisions |
//! | `chain/` | which base and which deltas lead to a revision, and whether they fit each other |
//! | `inspection/` | what is in an archive, and whether it is whole |
//! | `retention.rs` | which objects may go |
//! | `objects/` | reading and writing objects |
//! | `encryption/` | sealing an object before it leaves this machine |
//! | `place/` | the directory or the bucket that holds the objects |
//! | `secret_file.rs` | reading files that hold keys and credentials |
//!
//! Formats, names, the chain and retention are pure. Encryption, where it is on, is around the bytes that are described here.
#![forbid(unsafe_code)]

mod chain;
pub mod encryption;
mod format;
pub mod inspection;
mod names;
mod objects;
pub mod place;
pub mod retention;
mod secret_file;

pub use self::{
    chain::{ChainError, End, Listing},
    format::{
        BaseInfo, Delta, DeltaError, Digest, HEADER_BYTES, Header, Kind, MAX_DELTA_BYTES, Record,
        RecordChange,
    },
    names::{BaseName, DeltaName, ObjectName},
    objects::{BaseUpload, Moment, ObjectError, Objects, Put, Route, RouteError},
    secret_file::SecretFileError,
};

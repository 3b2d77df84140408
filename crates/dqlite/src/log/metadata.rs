//! The term and the vote (dqlite: src/raft/uv_metadata.c).
//!
//! Four numbers of eight bytes, little endian: format 1, version, term, and the id of the node that
//! was voted for, 0 for none. There is no checksum. The version counts changes: `metadata1` has the
//! odd ones and `metadata2` the even ones, each written in place, and the greater one counts. So the
//! other file always has the version before.
//!
//! The engine deletes a file that is too short and believes the other. That is right only where the
//! file was just being created, for version 1 or 2; later it would take back a vote.

use super::{
    bytes::u64_at,
    damage::{Damage, DamageKind, Fault, Lost},
};
use crate::wire::NodeId;

pub const NAMES: [&str; 2] = ["metadata1", "metadata2"];

/// Format, version, term, vote.
pub const FILE_BYTES: u64 = 32;

/// Neither elections nor changes of the metadata come that far: more is damage.
const COUNT_MAX: u64 = 1 << 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metadata {
    /// 0 in a directory that no engine has started in.
    pub version: u64,
    pub term: u64,
    /// The id of a node, or 0.
    pub voted_for: NodeId,
}

impl Metadata {
    /// The metadata of a cluster that begins.
    pub const FIRST: Self = Self {
        version: 1,
        term: 1,
        voted_for: NodeId::UNKNOWN,
    };

    pub fn encode(&self) -> [u8; FILE_BYTES as usize] {
        let mut bytes = [0; FILE_BYTES as usize];
        let numbers = [1, self.version, self.term, self.voted_for.number()];
        for (word, number) in bytes.chunks_exact_mut(8).zip(numbers) {
            word.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }
}

/// The content of one of the two files, if it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Shorter than it has to be, which is what an interrupted creation leaves.
    Short(u64),
    Whole(Metadata),
}

/// The metadata that the engine will use, from the two files where they exist, and the name of one
/// whose creation was interrupted. `has_data` says whether there is any other file of the engine.
pub fn read(
    files: [Option<&[u8]>; 2],
    has_data: bool,
) -> Result<(Metadata, Option<&'static str>), Box<Damage>> {
    let damage = |which: usize, fault: Fault| fault.into_damage(NAMES[which], Lost::Vote);
    let mut found = [None; 2];
    for (which, bytes) in files.into_iter().enumerate() {
        let content = bytes.map(decode).transpose();
        found[which] = content.map_err(|fault| damage(which, fault))?;
    }
    let short = |which: usize, found| {
        let expected = FILE_BYTES;
        damage(
            which,
            Fault::of_file(DamageKind::Length { found, expected }),
        )
    };
    let missing = |which| damage(which, Fault::of_file(DamageKind::MetadataMissing));
    match found {
        [None, None] if !has_data => Ok((Metadata::default(), None)),
        [Some(Content::Short(_)), None] if !has_data => Ok((Metadata::default(), Some(NAMES[0]))),
        [Some(Content::Whole(only)), None] if only.version == 1 => Ok((only, None)),
        [Some(Content::Whole(only)), Some(Content::Short(_))] if only.version == 1 => {
            Ok((only, Some(NAMES[1])))
        }
        [Some(Content::Whole(first)), Some(Content::Whole(second))] => Ok((
            newer(first, second).map_err(|(which, kind)| damage(which, Fault::of_file(kind)))?,
            None,
        )),
        [Some(Content::Short(len)), _] => Err(short(0, len)),
        [_, Some(Content::Short(len))] => Err(short(1, len)),
        [None, _] => Err(missing(0)),
        [_, None] => Err(missing(1)),
    }
}

fn decode(bytes: &[u8]) -> Result<Content, Fault> {
    let found = bytes.len() as u64;
    if found < FILE_BYTES {
        return Ok(Content::Short(found));
    }
    let number = |at| u64_at(bytes, at).unwrap_or(0);
    let (format, version, term) = (number(0), number(8), number(16));
    if found > FILE_BYTES {
        let expected = FILE_BYTES;
        return Err(Fault::of_file(DamageKind::Length { found, expected }));
    }
    if format != 1 {
        return Err(Fault::at(0, DamageKind::Format(format)));
    }
    if version == 0 || version >= COUNT_MAX {
        return Err(Fault::at(8, DamageKind::ImpossibleVersion(version)));
    }
    if term == 0 || term >= COUNT_MAX {
        return Err(Fault::at(16, DamageKind::ImpossibleTerm(term)));
    }
    Ok(Content::Whole(Metadata {
        version,
        term,
        voted_for: NodeId::new(number(24)),
    }))
}

/// The newer of two, if the engine can have written the one after the other: a new term comes
/// without a vote, and a vote within the term (dqlite: src/raft/uv.c, `uvSetTerm`, `uvSetVote`).
fn newer(first: Metadata, second: Metadata) -> Result<Metadata, (usize, DamageKind)> {
    let (which, older, newer) = match first.version < second.version {
        true => (0, first, second),
        false => (1, second, first),
    };
    if newer.version - older.version != 1 || first.version % 2 != 1 {
        let (found, other) = (older.version, newer.version);
        return Err((which, DamageKind::MetadataVersion { found, other }));
    }
    let is_vote = newer.term == older.term && !newer.voted_for.is_unknown();
    let is_term = newer.term > older.term && newer.voted_for.is_unknown();
    match is_vote || is_term {
        true => Ok(newer),
        false => {
            let (found, other) = (older.term, newer.term);
            Err((which, DamageKind::MetadataTerm { found, other }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(version: u64, term: u64, voted_for: u64) -> Vec<u8> {
        let metadata = Metadata {
            version,
            term,
            voted_for: NodeId::new(voted_for),
        };
        metadata.encode().to_vec()
    }

    #[test]
    fn the_greater_version_counts() {
        let (first, second) = (file(7, 4, 9), file(8, 5, 0));
        let (metadata, interrupted) = read([Some(&first), Some(&second)], true).unwrap();
        assert_eq!((metadata.term, metadata.voted_for), (5, NodeId::UNKNOWN));
        assert_eq!(interrupted, None);
    }

    #[test]
    fn what_an_interrupted_creation_leaves() {
        let first = file(1, 1, 0);
        for (files, version, interrupted) in [
            ([None, None], 0, None),
            ([Some(&[][..]), None], 0, Some("metadata1")),
            ([Some(&first), None], 1, None),
            ([Some(&first), Some(&[])], 1, Some("metadata2")),
        ] {
            let found = read(files, false).unwrap();
            assert_eq!((found.0.version, found.1), (version, interrupted));
        }
    }

    #[test]
    fn everything_else_is_damage() {
        let (first, second) = (file(7, 4, 9), file(8, 5, 0));
        let long = [&first[..], &[0]].concat();
        let mut other_format = first.clone();
        other_format[0] = 2;
        for (files, has_data) in [
            ([None, None], true),
            ([Some(&[][..]), None], true),
            ([Some(&[][..]), Some(&[][..])], true),
            ([Some(&first), None], true),
            ([None, Some(&second)], true),
            ([Some(&first), Some(&second[..31])], true),
            ([Some(&long), Some(&second)], true),
            ([Some(&other_format), Some(&second)], true),
            // One of them is an older copy.
            ([Some(&file(5, 4, 9)), Some(&second)], true),
            ([Some(&first), Some(&file(7, 5, 0))], true),
            ([Some(&second), Some(&first)], true),
            // A term went back, or came with a vote.
            ([Some(&first), Some(&file(8, 3, 0))], true),
            ([Some(&first), Some(&file(8, 5, 1))], true),
            ([Some(&first), Some(&file(8, 4, 0))], true),
            ([Some(&file(7, 0, 0)), Some(&file(8, 1, 0))], true),
        ] {
            let damage = read(files, has_data).unwrap_err();
            assert_eq!(damage.lost, Lost::Vote, "{damage}");
        }
    }
}

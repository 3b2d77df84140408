//! The messages of a Raft link (dqlite `src/raft/uv_encoding.c`, `uv_recv.c`).
//!
//! A preamble of two words, the type (in its low 16 bits) and the length of the header; the header;
//! and with entries or a snapshot a payload, whose length is in the header. An entry may be a
//! configuration, which the engine reads only when it has written it: one that it cannot read, or of
//! which it aborts, would end it at every start.

use std::collections::VecDeque;

use crate::log;

/// The most that the engine reads; it closes the link beyond.
const MAX_HEADER_BYTES: usize = 4 * 1024 * 1024;
const MAX_PAYLOAD_BYTES: usize = 500 * 1024 * 1024;

const PREAMBLE_BYTES: usize = 16;

const APPEND_ENTRIES: u16 = 1;
const APPEND_ENTRIES_RESULT: u16 = 2;
const REQUEST_VOTE: u16 = 3;
const REQUEST_VOTE_RESULT: u16 = 4;
const INSTALL_SNAPSHOT: u16 = 5;
const TIMEOUT_NOW: u16 = 6;

/// The type of an entry that is a configuration.
const CHANGE: u8 = 3;

/// The longest configuration, which is received whole: some hundred nodes.
const MAX_CONFIGURATION_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RaftViolation {
    #[error("unknown type {0}")]
    Type(u16),
    #[error("header of {0} bytes")]
    HeaderSize(u64),
    #[error("header is inconsistent")]
    Header,
    #[error("payload of {0} bytes")]
    PayloadSize(u64),
    #[error("a configuration of {0} bytes")]
    ConfigurationSize(usize),
    #[error("a configuration is not one")]
    Configuration,
    #[error("another leader of term {0}, in which this node leads")]
    SecondLeader(u64),
}

/// Bytes of a payload that follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// As many, of which any may pass.
    Data(usize),
    /// A configuration of this length.
    Configuration(usize),
}

/// The part of a message that was checked, and what follows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MessageStart {
    pub bytes: usize,
    /// None of them is empty data.
    pub payload: VecDeque<Part>,
    /// The term, of what only a leader sends.
    pub leader_term: Option<u64>,
}

/// Checks the preamble and header at the start of `data`; `None` while they are not all there.
pub(super) fn message_start(data: &[u8]) -> Result<Option<MessageStart>, RaftViolation> {
    if data.len() < PREAMBLE_BYTES {
        return Ok(None);
    }
    // The upper bits may carry a version one day; the engine ignores them.
    let kind = word(data, 0).ok_or(RaftViolation::Header)? as u16;
    let header_bytes = word(data, 1).ok_or(RaftViolation::Header)?;
    check_header_size(kind, header_bytes)?;
    let bytes = PREAMBLE_BYTES + header_bytes as usize;
    let Some(header) = data.get(PREAMBLE_BYTES..bytes) else {
        return Ok(None);
    };
    let payload = match kind {
        APPEND_ENTRIES => entries_payload(header)?,
        INSTALL_SNAPSHOT => snapshot_payload(header)?,
        _ => VecDeque::new(),
    };
    Ok(Some(MessageStart {
        bytes,
        payload,
        leader_term: match kind {
            APPEND_ENTRIES | INSTALL_SNAPSHOT => word(header, 0),
            _ => None,
        },
    }))
}

fn check_header_size(kind: u16, bytes: u64) -> Result<(), RaftViolation> {
    let fits = match kind {
        APPEND_ENTRIES => bytes >= 40,
        APPEND_ENTRIES_RESULT => matches!(bytes, 24 | 32),
        REQUEST_VOTE => matches!(bytes, 32 | 40),
        REQUEST_VOTE_RESULT => matches!(bytes, 16 | 24),
        INSTALL_SNAPSHOT => bytes >= 48,
        TIMEOUT_NOW => bytes == 24,
        other => return Err(RaftViolation::Type(other)),
    };
    if !fits || bytes > MAX_HEADER_BYTES as u64 {
        return Err(RaftViolation::HeaderSize(bytes));
    }
    Ok(())
}

/// Term, previous index and term, commit index, and the entries: their count, and for each its term,
/// type and length. The engine sums up the lengths as they are but steps through the data in whole
/// words, so it would read beyond the data of an entry of odd length.
fn entries_payload(header: &[u8]) -> Result<VecDeque<Part>, RaftViolation> {
    let count = word(header, 4).ok_or(RaftViolation::Header)?;
    let entries = &header[40..];
    if count > entries.len() as u64 / 16 {
        return Err(RaftViolation::Header);
    }
    let mut parts = VecDeque::new();
    let mut total = 0;
    for entry in entries.chunks_exact(16).take(count as usize) {
        let descriptor = word(entry, 1).ok_or(RaftViolation::Header)?;
        let (kind, len) = (descriptor as u8, descriptor >> 32);
        if !(1..=CHANGE).contains(&kind) || !len.is_multiple_of(8) {
            return Err(RaftViolation::Header);
        }
        total += len;
        let len = payload_bytes(total).map(|_| len as usize)?;
        match (kind, parts.back_mut()) {
            (CHANGE, _) if len > MAX_CONFIGURATION_BYTES => {
                return Err(RaftViolation::ConfigurationSize(len));
            }
            (CHANGE, _) => parts.push_back(Part::Configuration(len)),
            (_, Some(Part::Data(bytes))) => *bytes += len,
            _ if len > 0 => parts.push_back(Part::Data(len)),
            _ => {}
        }
    }
    Ok(parts)
}

fn payload_bytes(bytes: u64) -> Result<usize, RaftViolation> {
    match bytes <= MAX_PAYLOAD_BYTES as u64 {
        true => Ok(bytes as usize),
        false => Err(RaftViolation::PayloadSize(bytes)),
    }
}

/// Term, last index and term, index of the configuration, its length, itself, and the length of the
/// snapshot.
fn snapshot_payload(header: &[u8]) -> Result<VecDeque<Part>, RaftViolation> {
    let parts = || {
        let configuration_bytes = usize::try_from(word(header, 4)?).ok()?;
        let (configuration, rest) = header.get(40..)?.split_at_checked(configuration_bytes)?;
        Some((configuration, u64::from_le_bytes(*rest.first_chunk()?)))
    };
    let (configuration, bytes) = parts().ok_or(RaftViolation::Header)?;
    check_configuration(configuration)?;
    let data = Some(payload_bytes(bytes)?).filter(|bytes| *bytes > 0);
    Ok(data.map(Part::Data).into_iter().collect())
}

/// Checks that this is a list of nodes that the engine takes. It aborts on an id of 0 (dqlite: src/raft/configuration.c,
/// `configurationAdd`).
pub(super) fn check_configuration(bytes: &[u8]) -> Result<(), RaftViolation> {
    if bytes.len() > MAX_CONFIGURATION_BYTES {
        return Err(RaftViolation::ConfigurationSize(bytes.len()));
    }
    match log::decode_configuration(bytes) {
        Some(_) => Ok(()),
        None => Err(RaftViolation::Configuration),
    }
}

fn word(data: &[u8], index: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*data.get(index * 8..)?.first_chunk()?))
}

//! The messages of a Raft link (dqlite `src/raft/uv_encoding.c`, `uv_recv.c`).
//!
//! A preamble of two words, the type (in its low 16 bits) and the length of the header; the header;
//! and with entries or a snapshot a payload, whose length is in the header.

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

/// The format of a configuration.
const FORMAT: u8 = 1;

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
    #[error("another leader of term {0}, in which this node leads")]
    SecondLeader(u64),
}

/// The part of a message that was checked, and what follows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MessageStart {
    pub bytes: usize,
    pub payload_bytes: usize,
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
        INSTALL_SNAPSHOT => snapshot_payload(header).ok_or(RaftViolation::Header)?,
        _ => 0,
    };
    if payload > MAX_PAYLOAD_BYTES as u64 {
        return Err(RaftViolation::PayloadSize(payload));
    }
    Ok(Some(MessageStart {
        bytes,
        payload_bytes: payload as usize,
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
fn entries_payload(header: &[u8]) -> Result<u64, RaftViolation> {
    let count = word(header, 4).ok_or(RaftViolation::Header)?;
    let entries = &header[40..];
    if count > entries.len() as u64 / 16 {
        return Err(RaftViolation::Header);
    }
    entries
        .chunks_exact(16)
        .take(count as usize)
        .try_fold(0, |total: u64, entry| {
            let descriptor = word(entry, 1).ok_or(RaftViolation::Header)?;
            let (kind, len) = (descriptor as u8, descriptor >> 32);
            if !(1..=3).contains(&kind) || !len.is_multiple_of(8) {
                return Err(RaftViolation::Header);
            }
            Ok(total + len)
        })
}

/// Term, last index and term, index of the configuration, its length, itself, and the length of the
/// snapshot.
fn snapshot_payload(header: &[u8]) -> Option<u64> {
    let configuration_bytes = usize::try_from(word(header, 4)?).ok()?;
    let (configuration, rest) = header.get(40..)?.split_at_checked(configuration_bytes)?;
    check_configuration(configuration)?;
    Some(u64::from_le_bytes(*rest.first_chunk()?))
}

/// Format, number of servers, and each: id, address with its NUL, role. The engine aborts on an id of 0
/// (dqlite: src/raft/configuration.c, `configurationAdd`). Zeros may follow.
fn check_configuration(mut bytes: &[u8]) -> Option<()> {
    let (&FORMAT, rest) = bytes.split_first()? else {
        return None;
    };
    let (count, rest) = rest.split_first_chunk()?;
    bytes = rest;
    for _ in 0..u64::from_le_bytes(*count) {
        let (id, rest) = bytes.split_first_chunk()?;
        let address_bytes = rest.iter().position(|byte| *byte == 0)?;
        let (_role, rest) = rest[address_bytes + 1..].split_first()?;
        if u64::from_le_bytes(*id) == 0 {
            return None;
        }
        bytes = rest;
    }
    Some(())
}

fn word(data: &[u8], index: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*data.get(index * 8..)?.first_chunk()?))
}

//! Checks what a client sends to the engine.
//!
//! The engine trusts the lengths it reads. A request of more than 2 GiB sends its event loop, and with it all
//! databases, into an endless loop; one without a body hangs its connection. So every length is checked before the
//! engine sees it, and the contents of every request ([`check`]), for which it is received as
//! a whole. The engine would hold it as well.

use std::collections::VecDeque;

use super::raft::{self, Part, RaftViolation};
use super::requests::{Checked, check};
use crate::wire::{
    Failure, Header, PROTOCOL_VERSION, PROTOCOL_VERSION_LEGACY, RequestKind, WireError,
};

/// Bytes of a request without a statement or parameters: an address, a name.
const MAX_SMALL_BYTES: usize = 4096;

/// The reason why a connection is closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("protocol version {0:#x}")]
    Version(u64),
    #[error("request: {0}")]
    Request(#[from] WireError),
    /// The sender of a CONNECT waits for no answer.
    #[error("{0}")]
    Connect(String),
    #[error("a request of type {kind} with {bytes} bytes")]
    TooLarge { kind: u8, bytes: usize },
    #[error("raft message: {0}")]
    Raft(#[from] RaftViolation),
}

/// The judgement on the next bytes of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// More must come first.
    Incomplete,
    /// They may be passed on: a request, or what none is.
    Pass {
        bytes: usize,
        request: Option<Checked>,
    },
    /// They may not. The client gets this answer.
    Refuse { bytes: usize, failure: Failure },
}

/// Follows the bytes of one client.
#[derive(Debug)]
pub struct Inspector {
    expected: Expected,
}

#[derive(Debug)]
enum Expected {
    Version,
    /// After the version, where a node may make the connection a Raft link. Later the engine would lose the database
    /// that the connection has open.
    FirstRequest,
    Request,
    RaftMessage,
    /// The rest of a message, which is not empty.
    RaftPayload(VecDeque<Part>),
}

impl Default for Inspector {
    fn default() -> Self {
        Inspector {
            expected: Expected::Version,
        }
    }
}

impl Inspector {
    /// Judges the beginning of `data`, which are the bytes after those that were judged before. At most a request with
    /// its header is ever needed, or the start of a Raft message.
    pub fn next(&mut self, data: &[u8]) -> Result<Verdict, Violation> {
        let bytes = match &mut self.expected {
            Expected::Version => self.version(data)?,
            Expected::FirstRequest | Expected::Request => return self.request(data),
            Expected::RaftMessage => return self.raft_message(data),
            Expected::RaftPayload(left) => {
                let bytes = payload(left, data)?;
                if left.is_empty() {
                    self.expected = Expected::RaftMessage;
                }
                bytes
            }
        };
        Ok(match bytes {
            0 => Verdict::Incomplete,
            bytes => Verdict::Pass {
                bytes,
                request: None,
            },
        })
    }

    fn version(&mut self, data: &[u8]) -> Result<usize, Violation> {
        let Some(word) = data.first_chunk() else {
            return Ok(0);
        };
        match u64::from_le_bytes(*word) {
            PROTOCOL_VERSION | PROTOCOL_VERSION_LEGACY => {
                self.expected = Expected::FirstRequest;
                Ok(word.len())
            }
            other => Err(Violation::Version(other)),
        }
    }

    fn request(&mut self, data: &[u8]) -> Result<Verdict, Violation> {
        if data.len() < Header::BYTES {
            return Ok(Verdict::Incomplete);
        }
        let header = Header::decode(data)?;
        let has_content = RequestKind::from_code(header.kind).is_some_and(RequestKind::has_content);
        if header.body_bytes() > MAX_SMALL_BYTES && !has_content {
            return Err(Violation::TooLarge {
                kind: header.kind,
                bytes: header.body_bytes(),
            });
        }
        let bytes = Header::BYTES + header.body_bytes();
        let Some(body) = data.get(Header::BYTES..bytes) else {
            return Ok(Verdict::Incomplete);
        };
        let checked = check(&header, body);
        if header.kind == RequestKind::Connect as u8 {
            let is_first = matches!(self.expected, Expected::FirstRequest);
            checked.map_err(|failure| Violation::Connect(failure.message))?;
            if !is_first {
                return Err(Violation::Connect("not the first request".into()));
            }
            self.expected = Expected::RaftMessage;
            return Ok(Verdict::Pass {
                bytes,
                request: Some(Checked::Connects),
            });
        }
        self.expected = Expected::Request;
        Ok(match checked {
            Ok(request) => Verdict::Pass {
                bytes,
                request: Some(request),
            },
            Err(failure) => Verdict::Refuse { bytes, failure },
        })
    }

    fn raft_message(&mut self, data: &[u8]) -> Result<Verdict, Violation> {
        let Some(start) = raft::message_start(data)? else {
            return Ok(Verdict::Incomplete);
        };
        if !start.payload.is_empty() {
            self.expected = Expected::RaftPayload(start.payload);
        }
        Ok(Verdict::Pass {
            bytes: start.bytes,
            request: start.leader_term.map(|term| Checked::Leads { term }),
        })
    }
}

/// Returns how many bytes of a payload may pass, and takes them off what is left of it.
fn payload(left: &mut VecDeque<Part>, data: &[u8]) -> Result<usize, RaftViolation> {
    let bytes = match left.front_mut() {
        Some(Part::Data(bytes)) if *bytes > data.len() => {
            *bytes -= data.len();
            return Ok(data.len());
        }
        Some(Part::Data(bytes)) => *bytes,
        Some(Part::Configuration(bytes)) => {
            let Some(configuration) = data.get(..*bytes) else {
                return Ok(0);
            };
            raft::check_configuration(configuration)?;
            *bytes
        }
        None => 0,
    };
    left.pop_front();
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{NodeId, Request};

    fn session(requests: &[Request<'_>]) -> Vec<u8> {
        let mut out = BytesMut::from(&PROTOCOL_VERSION.to_le_bytes()[..]);
        for request in requests {
            request.encode(&mut out).unwrap();
        }
        out.to_vec()
    }

    fn connected() -> Vec<u8> {
        session(&[Request::Connect {
            id: NodeId::new(1),
            address: "10.0.0.1:9000",
        }])
    }

    /// Feeds `data` in pieces of `step` bytes; what was passed on, and how it ended.
    fn pass(data: &[u8], step: usize) -> (Vec<u8>, Result<(), Violation>) {
        let mut inspector = Inspector::default();
        let (mut waiting, mut passed) = (Vec::new(), Vec::new());
        for piece in data.chunks(step) {
            waiting.extend_from_slice(piece);
            loop {
                match inspector.next(&waiting) {
                    Ok(Verdict::Incomplete) => break,
                    Ok(Verdict::Pass { bytes, .. }) => passed.extend(waiting.drain(..bytes)),
                    Ok(Verdict::Refuse { bytes, .. }) => drop(waiting.drain(..bytes)),
                    Err(violation) => return (passed, Err(violation)),
                }
            }
        }
        (passed, Ok(()))
    }

    fn raft(kind: u64, header: &[u64], payload: &[u8]) -> Vec<u8> {
        let preamble = [kind, header.len() as u64 * 8];
        let words = preamble
            .iter()
            .chain(header)
            .flat_map(|word| word.to_le_bytes());
        words.chain(payload.iter().copied()).collect()
    }

    /// Entries are (type, length of the data).
    fn append_entries(entries: &[(u64, u64)], payload: &[u8]) -> Vec<u8> {
        let mut header = vec![3, 10, 2, 9, entries.len() as u64];
        for (kind, len) in entries {
            header.extend([3, kind | len << 32]);
        }
        raft(1, &header, payload)
    }

    /// A configuration of one node, of this id and role.
    fn configuration(id: u64, role: u8) -> Vec<u8> {
        let mut configuration = vec![1];
        configuration.extend([1, id].iter().flat_map(|word: &u64| word.to_le_bytes()));
        configuration.extend([b'1', 0, role]);
        configuration.resize(configuration.len().next_multiple_of(8), 0);
        configuration
    }

    /// A command, and this configuration.
    fn append_configuration(configuration: &[u8]) -> Vec<u8> {
        let entries = [(1, 16), (3, configuration.len() as u64), (1, 8)];
        append_entries(&entries, &[&[7; 16], configuration, &[8; 8]].concat())
    }

    /// A snapshot whose configuration has one node, of this id.
    fn install_snapshot(id: u64, image: &[u8]) -> Vec<u8> {
        let configuration = configuration(id, 1);
        let words = configuration.chunks_exact(8);
        let words = words.map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        let mut header = vec![3, 10, 2, 9, configuration.len() as u64];
        header.extend(words);
        header.push(image.len() as u64);
        raft(5, &header, image)
    }

    #[test]
    fn requests_pass_whole_in_pieces_of_any_size() {
        let data = session(&[
            Request::Leader,
            Request::Open { name: "db" },
            Request::ExecSql {
                db: 0,
                sql: "INSERT INTO t VALUES (1)",
                params: vec![].into(),
            },
        ]);
        for step in 1..data.len() {
            assert_eq!(pass(&data, step), (data.clone(), Ok(())));
        }
    }

    #[test]
    fn raft_messages_pass_whole_in_pieces_of_any_size() {
        let mut data = connected();
        data.extend(raft(3, &[1, 2, 3, 4, 0], &[]));
        data.extend(append_entries(&[], &[]));
        data.extend(append_entries(&[(1, 16), (1, 0), (2, 8)], &[7; 24]));
        data.extend(append_configuration(&configuration(7, 2)));
        data.extend(install_snapshot(7, b"image"));
        data.extend(raft(6, &[1, 2, 3], &[]));
        for step in 1..data.len() {
            assert_eq!(pass(&data, step), (data.clone(), Ok(())));
        }
    }

    #[test]
    fn lengths_that_the_engine_mishandles_do_not_reach_it() {
        let version = PROTOCOL_VERSION.to_le_bytes();
        for words in [0u32, 0x1000_0001, 0x2000_0000, u32::MAX] {
            let header = [&words.to_le_bytes()[..], &[0, 0, 0, 0]].concat();
            let (passed, end) = pass(&[&version[..], &header].concat(), 1);
            assert_eq!(passed, version, "{words:#x} words");
            assert!(
                matches!(end, Err(Violation::Request(_))),
                "{words:#x} words: {end:?}"
            );
        }
    }

    #[test]
    fn other_protocols_are_refused_at_their_first_word() {
        for other in [&b"GET / HTTP/1.1\r\n"[..], &[0; 16], &[0xff; 16]] {
            let (passed, end) = pass(other, 16);
            assert!(passed.is_empty());
            assert!(matches!(end, Err(Violation::Version(_))));
        }
        let legacy = PROTOCOL_VERSION_LEGACY.to_le_bytes();
        assert_eq!(pass(&legacy, 8), (legacy.to_vec(), Ok(())));
    }

    #[test]
    fn a_connection_becomes_a_link_at_once_and_of_a_node_only() {
        let address = "10.0.0.1:9000";
        let connect = |id, address| Request::Connect {
            id: NodeId::new(id),
            address,
        };
        for refused in [
            vec![connect(0, address)],
            vec![connect(1, "")],
            vec![connect(1, "10.0.0.1 :9000")],
            vec![connect(1, &"a".repeat(5000))],
            vec![Request::Leader, connect(1, address)],
        ] {
            let end = pass(&session(&refused), 64).1;
            assert!(
                matches!(end, Err(Violation::Connect(_) | Violation::TooLarge { .. })),
                "{refused:?}: {end:?}"
            );
        }
    }

    #[test]
    fn a_refused_request_is_left_out_and_the_next_one_passes() {
        let refused = Request::Describe { format: 9 };
        let data = session(&[Request::Leader, refused, Request::Leader]);
        let expected = session(&[Request::Leader, Request::Leader]);
        for step in 1..data.len() {
            assert_eq!(pass(&data, step), (expected.clone(), Ok(())));
        }
    }

    #[test]
    fn malformed_raft_messages_do_not_reach_the_engine() {
        let malformed = [
            raft(0, &[1], &[]),
            raft(7, &[1], &[]),
            raft(1, &[], &[]),
            // Votes of a wrong size, entries beyond the message, of no known type or of odd size.
            raft(3, &[1, 2, 3], &[]),
            raft(1, &[3, 10, 2, 9, 2, 3, 1], &[]),
            raft(1, &[3, 10, 2, 9, u64::MAX], &[]),
            append_entries(&[(9, 8)], &[0; 8]),
            append_entries(&[(1, 9)], &[0; 16]),
            append_entries(&[(1, 0x2000_0000)], &[]),
            // Snapshots with a configuration beyond the message, and with too much data.
            raft(5, &[3, 10, 2, 9, 9, 0, 0], &[]),
            raft(5, &[3, 10, 2, 9, u64::MAX, 0, 0], &[]),
            raft(5, &[3, 10, 2, 9, 0, 1 << 30], &[]),
            // Configurations that cannot be read, and one of a node that is none.
            raft(5, &[3, 10, 2, 9, 8, 0x1111, 0], &[]),
            raft(5, &[3, 10, 2, 9, 16, 0x0301, 0, 0], &[]),
            install_snapshot(0, &[]),
            [1u64, (4 << 20) + 1]
                .iter()
                .flat_map(|word| word.to_le_bytes())
                .collect(),
        ];
        for message in malformed {
            let (passed, end) = pass(&[connected(), message.clone()].concat(), 8);
            assert_eq!(passed, connected(), "{message:?}");
            assert!(
                matches!(end, Err(Violation::Raft(_))),
                "{message:?}: {end:?}"
            );
        }
    }

    #[test]
    fn entries_with_configurations_that_end_the_engine_do_not_reach_it() {
        for refused in [
            configuration(0, 1),
            configuration(7, 3),
            vec![],
            vec![1; 8],
            vec![0; 64 * 1024 + 8],
        ] {
            let message = append_configuration(&refused);
            let (passed, end) = pass(&[connected(), message.clone()].concat(), 8);
            // At most what comes before it.
            let most = connected().len() + message.len() - refused.len() - 8;
            assert!(passed.len() <= most, "{refused:?}");
            assert!(matches!(end, Err(Violation::Raft(_))), "{end:?}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_survived_and_never_need_much(
            connects in any::<bool>(),
            words in proptest::collection::vec(prop_oneof![0..12u64, any::<u64>()], 0..60),
        ) {
            let start = if connects { connected() } else { PROTOCOL_VERSION.to_le_bytes().to_vec() };
            let words = words.iter().flat_map(|word| word.to_le_bytes());
            let data: Vec<u8> = start.into_iter().chain(words).collect();
            let (passed, _) = pass(&data, 8);
            // What is refused is left out.
            let mut rest = data.iter();
            prop_assert!(passed.iter().all(|byte| rest.any(|other| other == byte)));
        }
    }
}

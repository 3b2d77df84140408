//! Counts the replies of the engine as their bytes pass, and reads the numbers of prepared statements. Pure.
//!
//! The engine answers each request, in order, with one message; rows with as many as they need, of which all but the
//! last end in a mark (dqlite: src/response.h).

use crate::wire::{Header, ROWS_PART_MARK, RowsPart, STATEMENT_KIND};

const WORD_BYTES: usize = 8;

/// Follows the bytes of the engine.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// The beginning of a header that is not all there.
    header: Vec<u8>,
    /// The rest of a body, and whether it is a part of rows.
    body: Option<Body>,
}

/// The replies that some bytes have ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ended {
    pub replies: usize,
    /// The numbers of statements that the client may use from now on.
    pub prepared: Vec<u32>,
}

#[derive(Debug)]
struct Body {
    left: usize,
    kind: u8,
    /// The first bytes, up to a word.
    first: Vec<u8>,
    /// The last bytes, up to a word.
    last: [u8; WORD_BYTES],
}

impl Replies {
    /// Returns what these bytes end.
    pub(super) fn pass(&mut self, mut data: &[u8]) -> Ended {
        let mut ended = Ended::default();
        while !data.is_empty() {
            let Some(body) = &mut self.body else {
                data = self.pass_header(data);
                continue;
            };
            let (piece, rest) = data.split_at(body.left.min(data.len()));
            body.pass(piece);
            data = rest;
            if body.left == 0 {
                ended.replies += usize::from(!body.is_part());
                ended.prepared.extend(body.prepared());
                self.body = None;
            }
        }
        ended
    }

    fn pass_header<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let missing = Header::BYTES - self.header.len();
        let (piece, rest) = data.split_at(missing.min(data.len()));
        self.header.extend_from_slice(piece);
        if self.header.len() == Header::BYTES
            && let Some((words, [kind, ..])) = self.header.split_first_chunk()
        {
            self.body = Some(Body {
                left: u32::from_le_bytes(*words) as usize * WORD_BYTES,
                kind: *kind,
                first: Vec::with_capacity(WORD_BYTES),
                last: [0; WORD_BYTES],
            });
            self.header.clear();
        }
        rest
    }
}

impl Body {
    fn pass(&mut self, piece: &[u8]) {
        self.left -= piece.len();
        let missing = WORD_BYTES - self.first.len();
        self.first
            .extend_from_slice(&piece[..missing.min(piece.len())]);
        let kept = WORD_BYTES.saturating_sub(piece.len());
        self.last.copy_within(WORD_BYTES - kept.., 0);
        self.last[kept..].copy_from_slice(&piece[piece.len() - (WORD_BYTES - kept)..]);
    }

    fn is_part(&self) -> bool {
        self.kind == RowsPart::KIND && u64::from_le_bytes(self.last) == ROWS_PART_MARK
    }

    /// Returns the number of the statement that was prepared; that of the database comes before it.
    fn prepared(&self) -> Option<u32> {
        let [_, _, _, _, id @ ..]: [u8; WORD_BYTES] = self.first[..].try_into().ok()?;
        (self.kind == STATEMENT_KIND).then(|| u32::from_le_bytes(id))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::wire::{Failure, NodeId, Reply};

    fn rows(mark: u64) -> Vec<u8> {
        let words = [1u64, u64::from_le_bytes(*b"column\0\0"), 1, 7, mark];
        let mut out = (words.len() as u32).to_le_bytes().to_vec();
        out.extend([RowsPart::KIND, 0, 0, 0]);
        out.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        out
    }

    fn reply(reply: &Reply) -> Vec<u8> {
        let mut out = BytesMut::new();
        reply.encode(&mut out).unwrap();
        out.to_vec()
    }

    #[test]
    fn replies_are_counted_in_pieces_of_any_size() {
        let failure = Reply::Failure(Failure {
            code: 1,
            message: "no such table: t".into(),
        });
        let data = [
            reply(&Reply::Empty),
            rows(ROWS_PART_MARK),
            rows(ROWS_PART_MARK),
            rows(u64::MAX),
            reply(&failure),
            reply(&Reply::Statement {
                db: 1,
                id: 7,
                params: 3,
            }),
            reply(&Reply::Server {
                id: NodeId::new(ROWS_PART_MARK),
                address: "10.0.0.1:9000".into(),
            }),
        ]
        .concat();
        for step in 1..=data.len() {
            let mut replies = Replies::default();
            let mut all = Ended::default();
            for piece in data.chunks(step) {
                let ended = replies.pass(piece);
                all.replies += ended.replies;
                all.prepared.extend(ended.prepared);
            }
            assert_eq!(all.replies, 5, "pieces of {step} bytes");
            assert_eq!(all.prepared, [7], "pieces of {step} bytes");
            assert!(replies.body.is_none() && replies.header.is_empty());
        }
    }
}

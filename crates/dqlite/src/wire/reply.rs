//! Replies of a server (dqlite `src/response.h`).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::bytes::{Reader, WORD_BYTES, blob_bytes, check_text, put_blob, put_text, text_bytes};
use super::{Header, NodeId, RowsPart, WireError};

/// The role of a node, by its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    Voter = 0,
    StandBy = 1,
    Spare = 2,
}

impl Role {
    /// The word for it in files, tables and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::StandBy => "stand-by",
            Self::Spare => "spare",
        }
    }
}

impl TryFrom<u64> for Role {
    type Error = WireError;

    fn try_from(code: u64) -> Result<Role, WireError> {
        match code {
            0 => Ok(Role::Voter),
            1 => Ok(Role::StandBy),
            2 => Ok(Role::Spare),
            code => Err(WireError::Unknown { what: "role", code }),
        }
    }
}

/// A member of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub id: NodeId,
    pub address: String,
    pub role: Role,
}

/// A file of a DUMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub name: String,
    pub data: Bytes,
}

/// The server's error: an SQLite (extended) code, or one of dqlite's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: u64,
    pub message: String,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    Failure(Failure),
    /// Id 0 and an empty address where the leader is not known.
    Server {
        id: NodeId,
        address: String,
    },
    Welcome {
        heartbeat_timeout_ms: u64,
    },
    Servers(Vec<Server>),
    Database {
        id: u32,
    },
    Statement {
        db: u32,
        id: u32,
        params: u64,
    },
    Result {
        last_insert_rowid: u64,
        rows_affected: u64,
    },
    Rows(RowsPart),
    Empty,
    Files(Vec<File>),
    Metadata {
        failure_domain: u64,
        weight: u64,
    },
}

const FAILURE: u8 = 0;
const SERVER: u8 = 1;
const WELCOME: u8 = 2;
const SERVERS: u8 = 3;
const DATABASE: u8 = 4;
pub(crate) const STATEMENT: u8 = 5;
const RESULT: u8 = 6;
const ROWS: u8 = RowsPart::KIND;
const EMPTY: u8 = 8;
const FILES: u8 = 9;
const METADATA: u8 = 10;

impl Reply {
    /// The type byte.
    pub fn kind(&self) -> u8 {
        match self {
            Reply::Failure(_) => FAILURE,
            Reply::Server { .. } => SERVER,
            Reply::Welcome { .. } => WELCOME,
            Reply::Servers(_) => SERVERS,
            Reply::Database { .. } => DATABASE,
            Reply::Statement { .. } => STATEMENT,
            Reply::Result { .. } => RESULT,
            Reply::Rows(_) => ROWS,
            Reply::Empty => EMPTY,
            Reply::Files(_) => FILES,
            Reply::Metadata { .. } => METADATA,
        }
    }

    /// Reads the reply that `header` announced.
    pub fn decode(header: &Header, raw: &Bytes) -> Result<Reply, WireError> {
        let mut body = Reader::new(raw);
        let reply = match header.kind {
            FAILURE => return Failure::decode(raw).map(Reply::Failure),
            ROWS => return RowsPart::decode(raw).map(Reply::Rows),
            SERVER => Reply::Server {
                id: NodeId::new(body.u64("SERVER")?),
                address: owned(&mut body)?,
            },
            WELCOME => Reply::Welcome {
                heartbeat_timeout_ms: body.u64("WELCOME")?,
            },
            SERVERS => Reply::Servers(decode_servers(&mut body)?),
            DATABASE => {
                let id = body.u32("DB")?;
                body.u32("DB")?;
                Reply::Database { id }
            }
            STATEMENT => Reply::Statement {
                db: body.u32("STMT")?,
                id: body.u32("STMT")?,
                params: body.u64("STMT")?,
            },
            RESULT => Reply::Result {
                last_insert_rowid: body.u64("RESULT")?,
                rows_affected: body.u64("RESULT")?,
            },
            EMPTY => body.u64("EMPTY").map(|_| Reply::Empty)?,
            FILES => Reply::Files(decode_files(&mut body)?),
            METADATA => Reply::Metadata {
                failure_domain: body.u64("METADATA")?,
                weight: body.u64("METADATA")?,
            },
            code => {
                return Err(WireError::Unknown {
                    what: "reply type",
                    code: code.into(),
                });
            }
        };
        body.finish()?;
        Ok(reply)
    }

    /// Appends the reply with its header, as a server does. On error `out` is as it was.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let body_bytes = self.check()?;
        Header::put(out, self.kind(), 0, body_bytes)?;
        self.put(out);
        Ok(())
    }

    fn check(&self) -> Result<usize, WireError> {
        let text = |text: &str| check_text(text).map(|()| text_bytes(text));
        Ok(match self {
            Reply::Failure(failure) => WORD_BYTES + text(&failure.message)?,
            Reply::Server { address, .. } => WORD_BYTES + text(address)?,
            Reply::Servers(servers) => servers.iter().try_fold(WORD_BYTES, |total, server| {
                Ok(total + 2 * WORD_BYTES + text(&server.address)?)
            })?,
            Reply::Rows(part) => part.check()?,
            Reply::Files(files) => files.iter().try_fold(WORD_BYTES, |total, file| {
                Ok(total + text(&file.name)? + blob_bytes(&file.data))
            })?,
            Reply::Statement { .. } | Reply::Result { .. } | Reply::Metadata { .. } => {
                2 * WORD_BYTES
            }
            Reply::Welcome { .. } | Reply::Database { .. } | Reply::Empty => WORD_BYTES,
        })
    }

    fn put(&self, out: &mut BytesMut) {
        match self {
            Reply::Failure(Failure { code, message }) => {
                out.put_u64_le(*code);
                put_text(out, message);
            }
            Reply::Server { id, address } => {
                out.put_u64_le(id.number());
                put_text(out, address);
            }
            Reply::Welcome {
                heartbeat_timeout_ms,
            } => out.put_u64_le(*heartbeat_timeout_ms),
            Reply::Servers(servers) => {
                out.put_u64_le(servers.len() as u64);
                for server in servers {
                    out.put_u64_le(server.id.number());
                    put_text(out, &server.address);
                    out.put_u64_le(server.role as u64);
                }
            }
            Reply::Database { id } => {
                out.put_u32_le(*id);
                out.put_u32_le(0);
            }
            Reply::Statement { db, id, params } => {
                out.put_u32_le(*db);
                out.put_u32_le(*id);
                out.put_u64_le(*params);
            }
            Reply::Result {
                last_insert_rowid: first,
                rows_affected: second,
            }
            | Reply::Metadata {
                failure_domain: first,
                weight: second,
            } => {
                out.put_u64_le(*first);
                out.put_u64_le(*second);
            }
            Reply::Rows(part) => part.put(out),
            Reply::Empty => out.put_u64_le(0),
            Reply::Files(files) => {
                out.put_u64_le(files.len() as u64);
                for file in files {
                    put_text(out, &file.name);
                    put_blob(out, &file.data);
                }
            }
        }
    }
}

impl Failure {
    /// A statement that fails after its first rows makes the server append the failure to the rows it
    /// had already put into the message, and send all of it as a FAILURE. So the failure is read
    /// from the end: the message is the last text, and the code, a small number, is the nearest word
    /// before it that has a zero byte.
    fn decode(raw: &Bytes) -> Result<Failure, WireError> {
        let has_zero = |word: &[u8]| word.contains(&0);
        let mut words = raw.chunks_exact(WORD_BYTES).enumerate().rev();
        let (_, last) = words.next().ok_or(WireError::Truncated("FAILURE"))?;
        if !raw.len().is_multiple_of(WORD_BYTES) || !has_zero(last) {
            return Err(WireError::Truncated("FAILURE message"));
        }
        let (code_at, mut code) = words
            .find(|(_, word)| has_zero(word))
            .ok_or(WireError::Truncated("FAILURE code"))?;
        let text = &raw[(code_at + 1) * WORD_BYTES..];
        let end = text
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(text.len());
        let message = String::from_utf8_lossy(&text[..end]).into_owned();
        Ok(Failure {
            code: code.get_u64_le(),
            message,
        })
    }
}

fn owned(body: &mut Reader<'_>) -> Result<String, WireError> {
    Ok(body.text("address")?.to_owned())
}

/// The count that starts a list whose items take at least `item_words`, so that a false count cannot
/// reserve more than the message could hold.
fn decode_count(body: &mut Reader<'_>, item_words: usize) -> Result<usize, WireError> {
    let count = body.u64("count")?;
    let fit = body.remaining() / (item_words * WORD_BYTES);
    usize::try_from(count)
        .ok()
        .filter(|&count| count <= fit)
        .ok_or(WireError::Truncated("list"))
}

fn decode_servers(body: &mut Reader<'_>) -> Result<Vec<Server>, WireError> {
    let count = decode_count(body, 3)?;
    (0..count)
        .map(|_| {
            let id = NodeId::new(body.u64("server id")?);
            let address = owned(body)?;
            let role = Role::try_from(body.u64("server role")?)?;
            Ok(Server { id, address, role })
        })
        .collect()
}

fn decode_files(body: &mut Reader<'_>) -> Result<Vec<File>, WireError> {
    let count = decode_count(body, 2)?;
    (0..count)
        .map(|_| {
            let name = body.text("file name")?.to_owned();
            Ok(File {
                name,
                data: body.blob("file data")?,
            })
        })
        .collect()
}

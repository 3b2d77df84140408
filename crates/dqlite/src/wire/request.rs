//! Requests of a client (dqlite `src/request.h`).

use bytes::{BufMut, Bytes, BytesMut};

use super::bytes::{Reader, WORD_BYTES, check_text, put_text, text_bytes};
use super::{Header, NodeId, Params, WireError, params};

/// The type byte of a request. HEARTBEAT (2) is gone from the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RequestKind {
    Leader = 0,
    Client = 1,
    Open = 3,
    Prepare = 4,
    Exec = 5,
    Query = 6,
    Finalize = 7,
    ExecSql = 8,
    QuerySql = 9,
    Interrupt = 10,
    Connect = 11,
    Add = 12,
    Assign = 13,
    Remove = 14,
    Dump = 15,
    Cluster = 16,
    Transfer = 17,
    Describe = 18,
    Weight = 19,
}

impl RequestKind {
    const ALL: [RequestKind; 19] = [
        RequestKind::Leader,
        RequestKind::Client,
        RequestKind::Open,
        RequestKind::Prepare,
        RequestKind::Exec,
        RequestKind::Query,
        RequestKind::Finalize,
        RequestKind::ExecSql,
        RequestKind::QuerySql,
        RequestKind::Interrupt,
        RequestKind::Connect,
        RequestKind::Add,
        RequestKind::Assign,
        RequestKind::Remove,
        RequestKind::Dump,
        RequestKind::Cluster,
        RequestKind::Transfer,
        RequestKind::Describe,
        RequestKind::Weight,
    ];

    /// Returns the type of a request with this byte, if there is one.
    pub fn from_code(code: u8) -> Option<RequestKind> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }

    /// Returns whether it carries a statement or parameters, which may be large.
    pub fn has_content(self) -> bool {
        matches!(
            self,
            Self::Prepare | Self::Exec | Self::Query | Self::ExecSql | Self::QuerySql
        )
    }
}

/// A request. `db` is the number that OPEN answered, which is always 0.
#[derive(Debug, Clone, PartialEq)]
pub enum Request<'a> {
    Leader,
    Client {
        id: u64,
    },
    Open {
        name: &'a str,
    },
    Prepare {
        db: u64,
        sql: &'a str,
    },
    Exec {
        db: u32,
        statement: u32,
        params: Params<'a>,
    },
    Query {
        db: u32,
        statement: u32,
        params: Params<'a>,
    },
    Finalize {
        db: u32,
        statement: u32,
    },
    ExecSql {
        db: u64,
        sql: &'a str,
        params: Params<'a>,
    },
    QuerySql {
        db: u64,
        sql: &'a str,
        params: Params<'a>,
    },
    Interrupt {
        db: u64,
    },
    /// Turns the connection into a Raft link; nobody but a node sends it.
    Connect {
        id: NodeId,
        address: &'a str,
    },
    Add {
        id: NodeId,
        address: &'a str,
    },
    Assign {
        id: NodeId,
        role: u64,
    },
    Remove {
        id: NodeId,
    },
    Dump {
        name: &'a str,
    },
    /// Format 1 carries the roles, format 0 does not.
    Cluster {
        format: u64,
    },
    Transfer {
        id: NodeId,
    },
    Describe {
        format: u64,
    },
    Weight {
        weight: u64,
    },
}

impl<'a> Request<'a> {
    pub fn kind(&self) -> RequestKind {
        match self {
            Request::Leader => RequestKind::Leader,
            Request::Client { .. } => RequestKind::Client,
            Request::Open { .. } => RequestKind::Open,
            Request::Prepare { .. } => RequestKind::Prepare,
            Request::Exec { .. } => RequestKind::Exec,
            Request::Query { .. } => RequestKind::Query,
            Request::Finalize { .. } => RequestKind::Finalize,
            Request::ExecSql { .. } => RequestKind::ExecSql,
            Request::QuerySql { .. } => RequestKind::QuerySql,
            Request::Interrupt { .. } => RequestKind::Interrupt,
            Request::Connect { .. } => RequestKind::Connect,
            Request::Add { .. } => RequestKind::Add,
            Request::Assign { .. } => RequestKind::Assign,
            Request::Remove { .. } => RequestKind::Remove,
            Request::Dump { .. } => RequestKind::Dump,
            Request::Cluster { .. } => RequestKind::Cluster,
            Request::Transfer { .. } => RequestKind::Transfer,
            Request::Describe { .. } => RequestKind::Describe,
            Request::Weight { .. } => RequestKind::Weight,
        }
    }

    /// Appends the request with its header. On error `out` is as it was.
    pub fn encode(&self, out: &mut BytesMut) -> Result<(), WireError> {
        let body_bytes = self.check()?;
        Header::put(out, self.kind() as u8, self.schema(), body_bytes)?;
        let end = out.len() + body_bytes;
        self.put(out);
        debug_assert_eq!(out.len(), end);
        Ok(())
    }

    fn schema(&self) -> u8 {
        match self {
            Request::Exec { params, .. }
            | Request::Query { params, .. }
            | Request::ExecSql { params, .. }
            | Request::QuerySql { params, .. } => params::schema(params.len()),
            _ => 0,
        }
    }

    /// Size of the body, after checking that it can be sent faithfully.
    fn check(&self) -> Result<usize, WireError> {
        let text = |text: &str| check_text(text).map(|()| text_bytes(text));
        Ok(match self {
            Request::Open { name } => text(name)? + 2 * WORD_BYTES,
            Request::Prepare { sql, .. } => WORD_BYTES + text(sql)?,
            Request::Exec { params, .. } | Request::Query { params, .. } => {
                WORD_BYTES + params::check(params)?
            }
            Request::ExecSql { sql, params, .. } | Request::QuerySql { sql, params, .. } => {
                WORD_BYTES + text(sql)? + params::check(params)?
            }
            Request::Connect { address, .. } | Request::Add { address, .. } => {
                WORD_BYTES + text(address)?
            }
            Request::Assign { .. } => 2 * WORD_BYTES,
            Request::Dump { name } => text(name)?,
            _ => WORD_BYTES,
        })
    }

    fn put(&self, out: &mut BytesMut) {
        match self {
            Request::Leader => out.put_u64_le(0),
            Request::Open { name } => {
                put_text(out, name);
                out.put_u64_le(0);
                put_text(out, "");
            }
            Request::Prepare { db, sql } => {
                out.put_u64_le(*db);
                put_text(out, sql);
            }
            Request::Exec {
                db,
                statement,
                params,
            }
            | Request::Query {
                db,
                statement,
                params,
            } => {
                out.put_u32_le(*db);
                out.put_u32_le(*statement);
                params::put(out, params);
            }
            Request::Finalize { db, statement } => {
                out.put_u32_le(*db);
                out.put_u32_le(*statement);
            }
            Request::ExecSql { db, sql, params } | Request::QuerySql { db, sql, params } => {
                out.put_u64_le(*db);
                put_text(out, sql);
                params::put(out, params);
            }
            Request::Connect { id, address } | Request::Add { id, address } => {
                out.put_u64_le(id.number());
                put_text(out, address);
            }
            Request::Assign { id, role } => {
                out.put_u64_le(id.number());
                out.put_u64_le(*role);
            }
            Request::Dump { name } => put_text(out, name),
            Request::Remove { id } | Request::Transfer { id } => out.put_u64_le(id.number()),
            Request::Client { id: word }
            | Request::Interrupt { db: word }
            | Request::Cluster { format: word }
            | Request::Describe { format: word }
            | Request::Weight { weight: word } => out.put_u64_le(*word),
        }
    }

    /// Reads the request that `header` announced. A one-word ASSIGN is its old form PROMOTE and means
    /// the voter role.
    pub fn decode(header: &Header, body: &'a Bytes) -> Result<Request<'a>, WireError> {
        let mut body = Reader::new(body);
        let request = Self::decode_fields(header, &mut body)?;
        body.finish()?;
        Ok(request)
    }

    fn decode_fields(header: &Header, body: &mut Reader<'a>) -> Result<Request<'a>, WireError> {
        Ok(match header.kind {
            0 => body.u64("LEADER").map(|_| Request::Leader)?,
            1 => Request::Client {
                id: body.u64("CLIENT")?,
            },
            3 => {
                let name = body.text("OPEN name")?;
                body.u64("OPEN flags")?;
                body.text("OPEN vfs")?;
                Request::Open { name }
            }
            4 => Request::Prepare {
                db: body.u64("PREPARE")?,
                sql: body.text("PREPARE")?,
            },
            5 => Request::Exec {
                db: body.u32("EXEC")?,
                statement: body.u32("EXEC")?,
                params: params::decode(body, header.schema)?.into(),
            },
            6 => Request::Query {
                db: body.u32("QUERY")?,
                statement: body.u32("QUERY")?,
                params: params::decode(body, header.schema)?.into(),
            },
            7 => Request::Finalize {
                db: body.u32("FINALIZE")?,
                statement: body.u32("FINALIZE")?,
            },
            8 => Request::ExecSql {
                db: body.u64("EXEC_SQL")?,
                sql: body.text("EXEC_SQL")?,
                params: params::decode(body, header.schema)?.into(),
            },
            9 => Request::QuerySql {
                db: body.u64("QUERY_SQL")?,
                sql: body.text("QUERY_SQL")?,
                params: params::decode(body, header.schema)?.into(),
            },
            10 => Request::Interrupt {
                db: body.u64("INTERRUPT")?,
            },
            11 => Request::Connect {
                id: NodeId::new(body.u64("CONNECT")?),
                address: body.text("CONNECT")?,
            },
            12 => Request::Add {
                id: NodeId::new(body.u64("ADD")?),
                address: body.text("ADD")?,
            },
            13 => {
                let id = NodeId::new(body.u64("ASSIGN")?);
                let role = if body.is_empty() {
                    0
                } else {
                    body.u64("ASSIGN")?
                };
                Request::Assign { id, role }
            }
            14 => Request::Remove {
                id: NodeId::new(body.u64("REMOVE")?),
            },
            15 => Request::Dump {
                name: body.text("DUMP")?,
            },
            16 => Request::Cluster {
                format: body.u64("CLUSTER")?,
            },
            17 => Request::Transfer {
                id: NodeId::new(body.u64("TRANSFER")?),
            },
            18 => Request::Describe {
                format: body.u64("DESCRIBE")?,
            },
            19 => Request::Weight {
                weight: body.u64("WEIGHT")?,
            },
            code => {
                return Err(WireError::Unknown {
                    what: "request type",
                    code: code.into(),
                });
            }
        })
    }
}

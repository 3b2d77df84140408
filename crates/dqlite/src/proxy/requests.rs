//! Checks the contents of a request before the engine reads it, by an allow list for each type. Pure.
//!
//! The engine aborts on a node of number 0 (dqlite: src/raft/configuration.c), on a format that DESCRIBE does not have
//! (src/gateway.c), on names that SQLite treats specially (src/vfs.c), and binds what lies behind a message where the
//! length of a blob wraps around (src/lib/serialize.h). It reads a null pointer where a statement is used that was freed
//! before a later one (src/lib/registry.h, `get`); which there are is known to [`super::client`]. A request that it would answer with an error goes through: its
//! answer says more.

use super::names::{check_address, check_database_name};
use crate::sql::fails_halfway;
use crate::wire::{Failure, Header, MAX_PARAMS, NodeId, Reader, RequestKind, Role, WireError};

/// The code of the engine for a request that cannot be read (dqlite: src/lib/serialize.h).
const PARSE: u64 = 1005;
/// SQLite's code of an error without a code of its own, which clients do not retry.
const ERROR: u64 = 1;
/// SQLite's code for what is not found.
const NOT_FOUND: u64 = 12;
/// SQLite's code for a file that cannot be opened.
const CANNOT_OPEN: u64 = 14;
/// SQLite's code for a statement that is not allowed.
const NOT_ALLOWED: u64 = 23;

const WORD_BYTES: usize = 8;

/// A request whose contents are allowed, as far as the port has to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// The engine answers it.
    Answered,
    /// It is about a statement that was prepared before; `ends` is true where it frees it.
    UsesStatement { id: u32, ends: bool },
    /// It changes which nodes there are, their roles, or who leads. The node that loses its vote must not be the last
    /// voter: the engine aborts without any.
    ChangesNodes { loses_vote: Option<NodeId> },
    /// The connection becomes a Raft link, and is not answered.
    Connects,
    /// A message on a link that only a leader of this term sends.
    Leads { term: u64 },
}

/// Returns what is known of a request, or the answer that its client gets instead of the engine's.
pub fn check(header: &Header, body: &[u8]) -> Result<Checked, Failure> {
    let Some(kind) = RequestKind::from_code(header.kind) else {
        return Err(failure(
            PARSE,
            format!("unknown type of request {}", header.kind),
        ));
    };
    let known_schemas = match kind {
        RequestKind::Prepare
        | RequestKind::Exec
        | RequestKind::Query
        | RequestKind::ExecSql
        | RequestKind::QuerySql => 0..=1,
        _ => 0..=0,
    };
    if !known_schemas.contains(&header.schema) {
        return Err(failure(
            PARSE,
            format!("{kind:?}: unknown schema {}", header.schema),
        ));
    }
    let mut body = Reader::borrowed(body);
    let checked = check_fields(kind, header.schema, &mut body)
        .map_err(|refused| refused.into_failure(kind))?;
    body.finish()
        .map_err(|error| Refused::from(error).into_failure(kind))?;
    Ok(checked)
}

/// The reason why a request is refused.
enum Refused {
    Malformed(WireError),
    Not { code: u64, why: String },
}

impl From<WireError> for Refused {
    fn from(error: WireError) -> Self {
        Refused::Malformed(error)
    }
}

impl Refused {
    fn into_failure(self, kind: RequestKind) -> Failure {
        match self {
            Refused::Malformed(error) => failure(PARSE, format!("{kind:?}: {error}")),
            Refused::Not { code, why } => failure(code, format!("{kind:?}: {why}")),
        }
    }
}

fn failure(code: u64, message: String) -> Failure {
    Failure { code, message }
}

fn not(code: u64, why: impl Into<String>) -> Refused {
    Refused::Not {
        code,
        why: why.into(),
    }
}

fn check_fields(kind: RequestKind, schema: u8, body: &mut Reader<'_>) -> Result<Checked, Refused> {
    const WHAT: &str = "a field";
    match kind {
        RequestKind::Leader
        | RequestKind::Client
        | RequestKind::Interrupt
        | RequestKind::Weight => drop(body.u64(WHAT)?),
        RequestKind::Open => {
            check_database(body.text("the name")?)?;
            body.u64("the flags")?;
            body.text("the VFS")?;
        }
        RequestKind::Dump => check_database(body.text("the name")?)?,
        RequestKind::Prepare => {
            body.u64(WHAT)?;
            check_sql(body)?;
        }
        RequestKind::Exec | RequestKind::Query => {
            let id = statement_id(body)?;
            check_params(schema, body)?;
            return Ok(Checked::UsesStatement { id, ends: false });
        }
        RequestKind::Finalize => {
            let id = statement_id(body)?;
            return Ok(Checked::UsesStatement { id, ends: true });
        }
        RequestKind::ExecSql | RequestKind::QuerySql => {
            body.u64(WHAT)?;
            check_sql(body)?;
            check_params(schema, body)?;
        }
        RequestKind::Connect => {
            check_node(body)?;
            check_node_address(body)?;
            return Ok(Checked::Connects);
        }
        RequestKind::Add => {
            check_node(body)?;
            check_node_address(body)?;
            return Ok(Checked::ChangesNodes { loses_vote: None });
        }
        RequestKind::Assign => {
            let id = check_node(body)?;
            // Without a role it is the former request PROMOTE.
            let role = match body.is_empty() {
                true => Role::Voter,
                false => Role::try_from(body.u64(WHAT)?)
                    .map_err(|error| not(ERROR, format!("{error}: 0, 1 or 2 is allowed")))?,
            };
            return Ok(Checked::ChangesNodes {
                loses_vote: (role != Role::Voter).then_some(id),
            });
        }
        RequestKind::Remove => {
            let id = check_node(body)?;
            return Ok(Checked::ChangesNodes {
                loses_vote: Some(id),
            });
        }
        RequestKind::Transfer => {
            check_node(body)?;
            return Ok(Checked::ChangesNodes { loses_vote: None });
        }
        RequestKind::Cluster => check_format(body, 1)?,
        RequestKind::Describe => check_format(body, 0)?,
    }
    Ok(Checked::Answered)
}

/// Reads the numbers of a database and a statement.
fn statement_id(body: &mut Reader<'_>) -> Result<u32, WireError> {
    body.u32("the number of the database")?;
    body.u32("the number of the statement")
}

/// Returns the engine's answer to a request about a statement that there is not (dqlite: src/gateway.c, `LOOKUP_STMT`).
pub fn no_statement() -> Failure {
    failure(NOT_FOUND, "no statement with the given id".to_owned())
}

fn check_database(name: &str) -> Result<(), Refused> {
    check_database_name(name).map_err(|error| not(CANNOT_OPEN, error.to_string()))
}

fn check_node(body: &mut Reader<'_>) -> Result<NodeId, Refused> {
    match body.u64("the number of a node")? {
        0 => Err(not(ERROR, "a node never has the number 0")),
        id => Ok(NodeId::new(id)),
    }
}

fn check_node_address(body: &mut Reader<'_>) -> Result<(), Refused> {
    check_address(body.text("the address")?).map_err(|error| not(ERROR, error.to_string()))
}

fn check_format(body: &mut Reader<'_>, newest: u64) -> Result<(), Refused> {
    match body.u64("the format")? {
        format if format <= newest => Ok(()),
        format => Err(not(
            ERROR,
            format!("unknown format {format}: at most {newest} is allowed"),
        )),
    }
}

fn check_sql(body: &mut Reader<'_>) -> Result<(), Refused> {
    // SQLite takes any bytes in a literal.
    if fails_halfway(&String::from_utf8_lossy(body.text_slice("the statement")?)) {
        return Err(not(
            NOT_ALLOWED,
            "FAIL as the answer to a conflict would keep half a statement, which the engine cannot replicate: ABORT \
             or ROLLBACK is allowed",
        ));
    }
    Ok(())
}

/// Steps through the parameters as the engine will. Texts need not be UTF-8: SQLite keeps their bytes.
fn check_params(schema: u8, body: &mut Reader<'_>) -> Result<(), WireError> {
    const WHAT: &str = "the parameters";
    if body.is_empty() {
        return Ok(());
    }
    let (count, count_bytes) = match schema {
        0 => (usize::from(body.u8(WHAT)?), 1),
        _ => (body.u32(WHAT)? as usize, 4),
    };
    if count > MAX_PARAMS {
        return Err(WireError::TooLarge {
            what: "the count of parameters",
            limit: MAX_PARAMS,
        });
    }
    let kinds = body.take(count, WHAT)?;
    let used = count_bytes + count;
    body.take(used.next_multiple_of(WORD_BYTES) - used, WHAT)?;
    for kind in kinds {
        match kind {
            // INTEGER, FLOAT, NULL and BOOLEAN.
            1 | 2 | 5 | 11 => drop(body.u64(WHAT)?),
            // TEXT, and ISO8601, which is one.
            3 | 10 => drop(body.text_slice(WHAT)?),
            4 => drop(body.blob_slice(WHAT)?),
            code => {
                return Err(WireError::Unknown {
                    what: "type of a parameter",
                    code: u64::from(*code),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;

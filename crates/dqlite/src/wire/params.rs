//! The parameter tuple of EXEC, QUERY and their SQL forms (dqlite `src/tuple.c`).
//!
//! Absent without parameters. Else a count (one byte in schema 0, four in schema 1), one type byte
//! for each, zeros up to a whole word, and the values.

use std::ops::Deref;

use bytes::{BufMut, BytesMut};

use super::bytes::{Reader, WORD_BYTES};
use super::{MAX_PARAMS, Param, WireError};

/// The parameters of a request: borrowed when it is sent, owned when it was decoded. Not a `Cow`, whose
/// lifetimes could not shrink.
#[derive(Debug, Clone)]
pub enum Params<'a> {
    Borrowed(&'a [Param<'a>]),
    Owned(Vec<Param<'a>>),
}

impl<'a> Deref for Params<'a> {
    type Target = [Param<'a>];

    fn deref(&self) -> &[Param<'a>] {
        match self {
            Params::Borrowed(params) => params,
            Params::Owned(params) => params,
        }
    }
}

impl PartialEq for Params<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<'a> From<&'a [Param<'a>]> for Params<'a> {
    fn from(params: &'a [Param<'a>]) -> Self {
        Params::Borrowed(params)
    }
}

impl<'a> From<Vec<Param<'a>>> for Params<'a> {
    fn from(params: Vec<Param<'a>>) -> Self {
        Params::Owned(params)
    }
}

/// The most parameters that schema 0 can count, and that servers before 1.12 can take.
const MAX_PARAMS_SCHEMA_0: usize = 255;

/// The schema of a request with `count` parameters.
pub(super) fn schema(count: usize) -> u8 {
    u8::from(count > MAX_PARAMS_SCHEMA_0)
}

fn count_bytes(schema: u8) -> usize {
    if schema == 0 { 1 } else { 4 }
}

/// Size of the tuple on the wire, after checking every value.
pub(super) fn check(params: &[Param<'_>]) -> Result<usize, WireError> {
    if params.is_empty() {
        return Ok(0);
    }
    if params.len() > MAX_PARAMS {
        return Err(WireError::TooLarge {
            what: "parameter count",
            limit: MAX_PARAMS,
        });
    }
    let types = (count_bytes(schema(params.len())) + params.len()).next_multiple_of(WORD_BYTES);
    params
        .iter()
        .try_fold(types, |total, param| Ok(total + param.check()?))
}

/// Appends the tuple; [`check`] must have passed.
pub(super) fn put(out: &mut BytesMut, params: &[Param<'_>]) {
    if params.is_empty() {
        return;
    }
    let schema = schema(params.len());
    if schema == 0 {
        out.put_u8(params.len() as u8);
    } else {
        out.put_u32_le(params.len() as u32);
    }
    out.extend(params.iter().map(Param::kind));
    let used = count_bytes(schema) + params.len();
    out.put_bytes(0, used.next_multiple_of(WORD_BYTES) - used);
    for param in params {
        param.put(out);
    }
}

/// Reads the tuple that ends a request of the given schema.
pub(super) fn decode<'a>(body: &mut Reader<'a>, schema: u8) -> Result<Vec<Param<'a>>, WireError> {
    if body.is_empty() {
        return Ok(Vec::new());
    }
    let count = match schema {
        0 => usize::from(body.u8("parameter count")?),
        1 => body.u32("parameter count")? as usize,
        code => {
            return Err(WireError::Unknown {
                what: "schema",
                code: code.into(),
            });
        }
    };
    if count > MAX_PARAMS {
        return Err(WireError::TooLarge {
            what: "parameter count",
            limit: MAX_PARAMS,
        });
    }
    let used = count_bytes(schema) + count;
    let types = body.take(count, "parameter types")?;
    body.take(used.next_multiple_of(WORD_BYTES) - used, "parameter types")?;
    if count.saturating_mul(WORD_BYTES) > body.remaining() {
        return Err(WireError::Truncated("parameters"));
    }
    types
        .iter()
        .map(|&kind| Param::decode(kind, body))
        .collect()
}

//! Values as they go out (parameters, borrowed) and come in (columns, owned).

use bytes::{BufMut, Bytes, BytesMut};

use super::WireError;
use super::bytes::{Reader, WORD_BYTES, blob_bytes, check_text, put_blob, put_text, text_bytes};

const INTEGER: u8 = 1;
const FLOAT: u8 = 2;
const TEXT: u8 = 3;
const BLOB: u8 = 4;
const NULL: u8 = 5;
const UNIX_TIME: u8 = 9;
const ISO8601: u8 = 10;
const BOOLEAN: u8 = 11;

/// A parameter of a statement. There is no unix time: the server refuses that type as a parameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Param<'a> {
    Integer(i64),
    /// SQLite stores NaN as NULL.
    Float(f64),
    /// Must not contain a NUL byte: the wire would cut the text there, so encoding fails.
    Text(&'a str),
    Blob(&'a [u8]),
    Null,
    /// Bound as text.
    Iso8601(&'a str),
    /// Bound as integer 0 or 1.
    Boolean(bool),
}

impl<'a> Param<'a> {
    pub(super) fn kind(&self) -> u8 {
        match self {
            Param::Integer(_) => INTEGER,
            Param::Float(_) => FLOAT,
            Param::Text(_) => TEXT,
            Param::Blob(_) => BLOB,
            Param::Null => NULL,
            Param::Iso8601(_) => ISO8601,
            Param::Boolean(_) => BOOLEAN,
        }
    }

    /// Size on the wire; fails where the value cannot be sent faithfully.
    pub(super) fn check(&self) -> Result<usize, WireError> {
        match self {
            Param::Text(text) | Param::Iso8601(text) => {
                check_text(text)?;
                Ok(text_bytes(text))
            }
            Param::Blob(blob) => Ok(blob_bytes(blob)),
            _ => Ok(WORD_BYTES),
        }
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        match self {
            Param::Integer(value) => out.put_i64_le(*value),
            Param::Float(value) => out.put_f64_le(*value),
            Param::Text(text) | Param::Iso8601(text) => put_text(out, text),
            Param::Blob(blob) => put_blob(out, blob),
            Param::Null => out.put_u64_le(0),
            Param::Boolean(value) => out.put_u64_le(u64::from(*value)),
        }
    }

    pub(super) fn decode(kind: u8, body: &mut Reader<'a>) -> Result<Self, WireError> {
        const WHAT: &str = "parameter";
        Ok(match kind {
            INTEGER => Param::Integer(body.u64(WHAT)?.cast_signed()),
            FLOAT => Param::Float(f64::from_bits(body.u64(WHAT)?)),
            TEXT => Param::Text(body.text(WHAT)?),
            BLOB => Param::Blob(body.blob_slice(WHAT)?),
            NULL => body.u64(WHAT).map(|_| Param::Null)?,
            ISO8601 => Param::Iso8601(body.text(WHAT)?),
            BOOLEAN => Param::Boolean(body.u64(WHAT)? != 0),
            code => {
                return Err(WireError::Unknown {
                    what: "parameter type",
                    code: code.into(),
                });
            }
        })
    }
}

/// A column of a row.
///
/// The last three come only from columns declared DATETIME, DATE, TIMESTAMP or BOOLEAN, where the
/// server also turns NULL into an empty text or false. Do not declare such columns: a value of
/// another class in them aborts the server.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Integer(i64),
    Float(f64),
    Text(String),
    /// Shares memory with the received message: copy what is kept for long. A TEXT that is not UTF-8
    /// also arrives as a blob, so that no byte of it is lost.
    Blob(Bytes),
    Null,
    Iso8601(String),
    /// Seconds since 1970.
    UnixTime(i64),
    Boolean(bool),
}

impl Value {
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Value::Integer(value) => Some(*value),
            _ => None,
        }
    }

    pub fn as_text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_blob(&self) -> Option<&Bytes> {
        match self {
            Value::Blob(blob) => Some(blob),
            _ => None,
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub(super) fn kind(&self) -> u8 {
        match self {
            Value::Integer(_) => INTEGER,
            Value::Float(_) => FLOAT,
            Value::Text(_) => TEXT,
            Value::Blob(_) => BLOB,
            Value::Null => NULL,
            Value::Iso8601(_) => ISO8601,
            Value::UnixTime(_) => UNIX_TIME,
            Value::Boolean(_) => BOOLEAN,
        }
    }

    pub(super) fn check(&self) -> Result<usize, WireError> {
        match self {
            Value::Text(text) | Value::Iso8601(text) => {
                check_text(text)?;
                Ok(text_bytes(text))
            }
            Value::Blob(blob) => Ok(blob_bytes(blob)),
            _ => Ok(WORD_BYTES),
        }
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        match self {
            Value::Integer(value) | Value::UnixTime(value) => out.put_i64_le(*value),
            Value::Float(value) => out.put_f64_le(*value),
            Value::Text(text) | Value::Iso8601(text) => put_text(out, text),
            Value::Blob(blob) => put_blob(out, blob),
            Value::Null => out.put_u64_le(0),
            Value::Boolean(value) => out.put_u64_le(u64::from(*value)),
        }
    }

    pub(super) fn decode(kind: u8, body: &mut Reader<'_>) -> Result<Self, WireError> {
        const WHAT: &str = "column value";
        Ok(match kind {
            INTEGER => Value::Integer(body.u64(WHAT)?.cast_signed()),
            FLOAT => Value::Float(f64::from_bits(body.u64(WHAT)?)),
            TEXT => text_value(body.text_slice(WHAT)?, Value::Text),
            BLOB => Value::Blob(body.blob(WHAT)?),
            NULL => body.u64(WHAT).map(|_| Value::Null)?,
            ISO8601 => text_value(body.text_slice(WHAT)?, Value::Iso8601),
            UNIX_TIME => Value::UnixTime(body.u64(WHAT)?.cast_signed()),
            BOOLEAN => Value::Boolean(body.u64(WHAT)? != 0),
            code => {
                return Err(WireError::Unknown {
                    what: "column type",
                    code: code.into(),
                });
            }
        })
    }
}

fn text_value(raw: &[u8], wrap: fn(String) -> Value) -> Value {
    match str::from_utf8(raw) {
        Ok(text) => wrap(text.to_owned()),
        Err(_) => Value::Blob(Bytes::copy_from_slice(raw)),
    }
}

//! Result sets: one or more ROWS messages, each with the column names and some rows.
//!
//! A row is a type code of four bits for each column, padded to whole words, and the values. In
//! place of the next row's types stands a marker: the result ends here, or another message follows.

use std::ops::Deref;

use bytes::{BufMut, Bytes, BytesMut};

use super::bytes::{Reader, WORD_BYTES, check_text, put_text, text_bytes};
use super::{MAX_COLUMNS, Value, WireError};

const END: u64 = u64::MAX;
pub(crate) const MORE: u64 = 0xeeee_eeee_eeee_eeee;

/// The values of one row, one for each column.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(pub Vec<Value>);

impl Deref for Row {
    type Target = [Value];

    fn deref(&self) -> &[Value] {
        &self.0
    }
}

/// One message of a result set. The server cuts a part once it holds 4096 bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct RowsPart {
    pub columns: Vec<String>,
    pub rows: Vec<Row>,
    /// True if another part follows.
    pub more: bool,
}

impl RowsPart {
    /// The type byte of a part.
    pub const KIND: u8 = 7;

    pub(super) fn decode(body: &Bytes) -> Result<RowsPart, WireError> {
        let mut body = Reader::new(body);
        let width = column_count(&mut body)?;
        let columns = (0..width)
            .map(|_| Ok(String::from_utf8_lossy(body.text_slice("column name")?).into_owned()))
            .collect::<Result<Vec<_>, WireError>>()?;
        let (rows, more) = decode_rows(body, width)?;
        Ok(RowsPart {
            columns,
            rows,
            more,
        })
    }

    /// Decodes a later part of a result of `width` columns: its rows, and whether more follow. The
    /// names, which every part repeats, are passed over.
    pub fn decode_next(body: &Bytes, width: usize) -> Result<(Vec<Row>, bool), WireError> {
        let mut body = Reader::new(body);
        let got = column_count(&mut body)?;
        if got != width {
            return Err(WireError::ColumnCount {
                got,
                expected: width,
            });
        }
        for _ in 0..width {
            body.text_slice("column name")?;
        }
        decode_rows(body, width)
    }

    pub(super) fn check(&self) -> Result<usize, WireError> {
        let mut total = 2 * WORD_BYTES;
        for name in &self.columns {
            check_text(name)?;
            total += text_bytes(name);
        }
        for row in &self.rows {
            if row.len() != self.columns.len() {
                let (got, expected) = (row.len(), self.columns.len());
                return Err(WireError::ColumnCount { got, expected });
            }
            total += types_bytes(row.len());
            for value in row.iter() {
                total += value.check()?;
            }
        }
        Ok(total)
    }

    /// Appends the part; [`check`](Self::check) must have passed.
    pub(super) fn put(&self, out: &mut BytesMut) {
        out.put_u64_le(self.columns.len() as u64);
        for name in &self.columns {
            put_text(out, name);
        }
        for row in &self.rows {
            let start = out.len();
            out.extend(
                row.chunks(2).map(|pair| {
                    pair[0].kind() | pair.get(1).map_or(0, |second| second.kind() << 4)
                }),
            );
            out.put_bytes(0, start + types_bytes(row.len()) - out.len());
            for value in row.iter() {
                value.put(out);
            }
        }
        out.put_u64_le(if self.more { MORE } else { END });
    }
}

fn types_bytes(width: usize) -> usize {
    width.div_ceil(2).next_multiple_of(WORD_BYTES)
}

fn column_count(body: &mut Reader<'_>) -> Result<usize, WireError> {
    let count = body.u64("column count")?;
    if count > MAX_COLUMNS as u64 {
        return Err(WireError::TooLarge {
            what: "column count",
            limit: MAX_COLUMNS,
        });
    }
    let count = count as usize;
    if count * WORD_BYTES > body.remaining() {
        return Err(WireError::Truncated("column names"));
    }
    Ok(count)
}

fn decode_rows(mut body: Reader<'_>, width: usize) -> Result<(Vec<Row>, bool), WireError> {
    let mut rows = Vec::new();
    loop {
        let mut ahead = body;
        match ahead.u64("row")? {
            END => {
                ahead.finish()?;
                return Ok((rows, false));
            }
            // With names of 4096 bytes or more the server never gets to the first row, and sends
            // such parts for ever.
            MORE if rows.is_empty() => return Err(WireError::EmptyRowsPart),
            MORE => {
                ahead.finish()?;
                return Ok((rows, true));
            }
            // A row without columns has no size: only a marker can stand here.
            code if width == 0 => {
                return Err(WireError::Unknown {
                    what: "row marker",
                    code,
                });
            }
            _ => rows.push(decode_row(&mut body, width)?),
        }
    }
}

fn decode_row(body: &mut Reader<'_>, width: usize) -> Result<Row, WireError> {
    let types = body.take(types_bytes(width), "row types")?;
    if width * WORD_BYTES > body.remaining() {
        return Err(WireError::Truncated("row"));
    }
    let mut values = Vec::with_capacity(width);
    for column in 0..width {
        let kind = (types[column / 2] >> (column % 2 * 4)) & 0xf;
        values.push(Value::decode(kind, body)?);
    }
    Ok(Row(values))
}

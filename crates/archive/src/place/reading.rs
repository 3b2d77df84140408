//! An object that comes in pieces.

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream::BoxStream};
use object_store::GetResult;

use super::{Place, PlaceError};

/// The pieces of an object, or of its end. A piece that is missing at the end is an error.
pub struct Reading {
    place: Place,
    name: String,
    pieces: BoxStream<'static, object_store::Result<Bytes>>,
    /// Bytes of the whole object.
    bytes: u64,
    expected: u64,
    left: u64,
}

impl Reading {
    pub(super) fn new(place: &Place, name: &str, found: GetResult) -> Self {
        let expected = found.range.end - found.range.start;
        let bytes = found.meta.size;
        Self {
            place: place.clone(),
            name: name.to_owned(),
            pieces: found.into_stream(),
            bytes,
            expected,
            left: expected,
        }
    }

    /// Returns the size of the whole object.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the next piece; none after the last one.
    pub async fn next(&mut self) -> Option<Result<Bytes, PlaceError>> {
        let piece = match self.pieces.next().await {
            None if self.left == 0 => return None,
            None => return Some(Err(self.cut_short())),
            Some(Err(error)) => return Some(Err(self.place.failed(&self.name, &error))),
            Some(Ok(piece)) => piece,
        };
        Some(match self.left.checked_sub(piece.len() as u64) {
            Some(left) => {
                self.left = left;
                Ok(piece)
            }
            None => Err(self.cut_short()),
        })
    }

    /// Returns all that is left.
    pub async fn rest(mut self) -> Result<Bytes, PlaceError> {
        let mut rest = BytesMut::new();
        let mut first = Bytes::new();
        while let Some(piece) = self.next().await {
            let piece = piece?;
            // An object that comes as one piece is not copied.
            if first.is_empty() && rest.is_empty() {
                first = piece;
                continue;
            }
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&piece);
        }
        Ok(match rest.is_empty() {
            true => first,
            false => rest.freeze(),
        })
    }

    fn cut_short(&mut self) -> PlaceError {
        let error = PlaceError::CutShort {
            place: self.place.to_string(),
            name: self.name.clone(),
            found: self.expected - self.left,
            bytes: self.expected,
        };
        // After an error there is nothing more.
        self.left = 0;
        error
    }
}

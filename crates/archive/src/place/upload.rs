//! An object that is written in pieces, in bounded memory.

use object_store::{MultipartUpload, ObjectStoreExt, path::Path};

use super::{Place, PlaceError};

/// Bytes of a part, which is what is held in memory. S3 wants 5 MiB and takes 10,000 parts: an object may have 80 GiB.
pub const PART_BYTES: usize = 8 * 1024 * 1024;

/// An object that is not there before [`Upload::finish`]. Other than with [`Place::create`], an object store may let
/// it take the place of one that has its name: give it a name that nobody else gives.
///
/// Dropped, or of a process that was killed, it leaves parts in some object stores, which cost money until a rule of the
/// bucket's life cycle removes them; [`Upload::abandon`] removes them.
pub struct Upload {
    place: Place,
    name: String,
    held: Vec<u8>,
    parts: Option<Box<dyn MultipartUpload>>,
}

impl Upload {
    pub(super) fn new(place: &Place, name: &str) -> Self {
        Self {
            place: place.clone(),
            name: name.to_owned(),
            held: Vec::new(),
            parts: None,
        }
    }

    /// Adds to the object.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), PlaceError> {
        while !bytes.is_empty() {
            let room = PART_BYTES - self.held.len();
            let (piece, rest) = bytes.split_at(room.min(bytes.len()));
            self.held.extend_from_slice(piece);
            bytes = rest;
            if self.held.len() == PART_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// Makes the object of what was written, and makes it last.
    pub async fn finish(mut self) -> Result<(), PlaceError> {
        if self.parts.is_none() {
            return self.place.create(&self.name, self.held.into()).await;
        }
        if !self.held.is_empty() {
            self.send().await?;
        }
        let Some(parts) = &mut self.parts else {
            return Ok(());
        };
        let completed = parts.complete().await;
        completed.map_err(|error| self.place.failed(&self.name, &error))?;
        Ok(())
    }

    /// Removes what was written.
    pub async fn abandon(self) -> Result<(), PlaceError> {
        let Some(mut parts) = self.parts else {
            return Ok(());
        };
        let aborted = parts.abort().await;
        aborted.map_err(|error| self.place.failed(&self.name, &error))
    }

    async fn send(&mut self) -> Result<(), PlaceError> {
        if self.parts.is_none() {
            let path = Path::from(&*self.name);
            let begun = self.place.store().put_multipart(&path).await;
            let begun = begun.map_err(|error| self.place.failed(&self.name, &error))?;
            self.parts = Some(begun);
        }
        let Some(parts) = &mut self.parts else {
            return Ok(());
        };
        let part = std::mem::take(&mut self.held);
        let sent = parts.put_part(part.into()).await;
        sent.map_err(|error| self.place.failed(&self.name, &error))
    }
}

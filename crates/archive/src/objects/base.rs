//! Bases: written in parts while they are made, read into a file.

use std::{fs::File, io::Write};

use bytes::Bytes;
use object_store::{GetOptions, MultipartUpload, PutMultipartOptions, PutPayload};
use openssl::sha::Sha256;
use tokio_stream::StreamExt;

use super::{ObjectError, Objects, attempts::attempt, call, path};
use crate::{BaseInfo, BaseName, Digest};

/// A base that is being written. It counts once a delta announces it.
pub struct BaseUpload {
    upload: Box<dyn MultipartUpload>,
    nonce: u64,
    hash: Sha256,
    bytes: u64,
}

impl Objects {
    /// Begins to write a base.
    pub async fn begin_base(&self, name: BaseName) -> Result<BaseUpload, ObjectError> {
        let options = PutMultipartOptions::default();
        let upload = attempt(|| {
            let options = options.clone();
            async move { call(self.store.put_multipart_opts(&path(name), options)).await }
        })
        .await?;
        Ok(BaseUpload {
            upload,
            nonce: name.nonce,
            hash: Sha256::new(),
            bytes: 0,
        })
    }

    /// Copies a base into a file, and checks it against its announcement.
    pub async fn read_base(
        &self,
        name: BaseName,
        info: BaseInfo,
        out: &mut File,
        mut progress: impl FnMut(u64),
    ) -> Result<(), ObjectError> {
        let found = attempt(|| {
            let path = path(name);
            async move { call(self.store.get_opts(&path, GetOptions::default())).await }
        })
        .await?;
        let damaged = |what| ObjectError::Base {
            name: name.to_string(),
            what,
        };
        if found.meta.size != info.bytes {
            return Err(damaged("bytes in number"));
        }
        let (mut hash, mut count) = (Sha256::new(), 0);
        let mut chunks = found.into_stream();
        loop {
            let next = tokio::time::timeout(super::CALL_TIMEOUT, chunks.next()).await;
            let Some(chunk) = next.map_err(|_| ObjectError::TimedOut(super::CALL_TIMEOUT))? else {
                break;
            };
            let chunk = chunk?;
            hash.update(&chunk);
            count += chunk.len() as u64;
            if count > info.bytes {
                return Err(damaged("bytes in number"));
            }
            out.write_all(&chunk).map_err(ObjectError::Local)?;
            progress(chunk.len() as u64);
        }
        match Digest(hash.finish()) == info.digest && count == info.bytes {
            true => Ok(()),
            false => Err(damaged("bytes")),
        }
    }
}

impl BaseUpload {
    /// Parts of this many bytes: stores want at least 5 MiB, and allow 10,000 of them.
    pub const PART_BYTES: usize = 16 * 1024 * 1024;

    /// Writes the next part: of [`Self::PART_BYTES`], but for the last.
    pub async fn part(&mut self, part: Bytes) -> Result<(), ObjectError> {
        if part.is_empty() {
            return Ok(());
        }
        self.hash.update(&part);
        self.bytes += part.len() as u64;
        call(self.upload.put_part(PutPayload::from(part))).await
    }

    /// Ends the base. Returns what its announcement says of it.
    pub async fn complete(mut self) -> Result<BaseInfo, ObjectError> {
        call(self.upload.complete()).await?;
        Ok(BaseInfo {
            nonce: self.nonce,
            bytes: self.bytes,
            digest: Digest(self.hash.finish()),
        })
    }

    /// Gives up what was written.
    pub async fn abort(mut self) {
        // A place that keeps the parts of an upload can be told to delete old ones.
        let _ = call(self.upload.abort()).await;
    }
}

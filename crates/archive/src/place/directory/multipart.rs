//! An upload in parts: they are written into a file that gets its name at the end.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use futures_util::FutureExt;
use object_store::{Error, MultipartUpload, PutPayload, PutResult, Result, UploadPart};

use super::{blocking, failed, file::NewFile, publish};

#[derive(Debug)]
pub struct Parts {
    file: Option<Arc<NewFile>>,
    path: PathBuf,
    name: String,
    bytes: u64,
}

impl Parts {
    pub fn new(file: NewFile, path: PathBuf, name: String) -> Self {
        Self {
            file: Some(Arc::new(file)),
            path,
            name,
            bytes: 0,
        }
    }

    fn ended(&self) -> Error {
        Error::Generic {
            store: "file",
            source: format!("the upload of {} has ended", self.name).into(),
        }
    }
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let mut at = self.bytes;
        self.bytes += part.content_length() as u64;
        let (file, path) = (self.file.clone(), self.path.clone());
        let ended = self.ended();
        blocking(move || {
            let file = file.ok_or(ended)?;
            for piece in &part {
                file.write_at(piece, at)
                    .map_err(|error| failed(&path, error))?;
                at += piece.len() as u64;
            }
            Ok(())
        })
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let file = self.file.take().ok_or_else(|| self.ended())?;
        let (path, name) = (self.path.clone(), self.name.clone());
        blocking(move || publish(&file, &path, name)).await
    }

    async fn abort(&mut self) -> Result<()> {
        let file = self.file.take();
        blocking(move || {
            drop(file);
            Ok(())
        })
        .await
    }
}

//! An object store whose objects are sealed on their way into another one, and opened on their way back.
//!
//! The name of an object is the context in which it is sealed. Lists show the bytes that are stored; what is read has the bytes of the
//! content. An object that is not sealed is refused, so that nobody can slip one in.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    UploadPart, path::Path,
};

use crate::encryption::{EncryptionError, KeyRing, Opener, Salt, Sealer, content_bytes};

pub struct Sealed {
    inner: Arc<dyn ObjectStore>,
    ring: KeyRing,
}

impl Sealed {
    pub fn new(inner: Arc<dyn ObjectStore>, ring: KeyRing) -> Self {
        Self { inner, ring }
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed with {}", self.ring.sealing_id())
    }
}

impl fmt::Display for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

fn failed(error: EncryptionError) -> Error {
    Error::Generic {
        store: "encryption",
        source: Box::new(error),
    }
}

fn not_done(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "Sealed".to_owned(),
    }
}

#[async_trait]
impl ObjectStore for Sealed {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let content = Bytes::from(payload);
        let salt = Salt::random().map_err(failed)?;
        let sealed = self.ring.seal(&content, location.as_ref(), salt);
        let sealed = sealed.map_err(failed)?;
        self.inner.put_opts(location, sealed.into(), options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let salt = Salt::random().map_err(failed)?;
        let mut header = Vec::new();
        let sealer = Sealer::begin(&self.ring, location.as_ref(), salt, &mut header);
        Ok(Box::new(SealedParts {
            sealer: Some(sealer.map_err(failed)?),
            ready: header,
            inner: self.inner.put_multipart_opts(location, options).await?,
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if options.range.is_some() {
            return Err(not_done("reading a part"));
        }
        let is_head = options.head;
        let mut found = self.inner.get_opts(location, options).await?;
        let size = content_bytes(found.meta.size).ok_or(EncryptionError::NotSealed);
        found.meta.size = size.map_err(failed)?;
        found.range = 0..if is_head { 0 } else { found.meta.size };
        let meta = (found.meta.clone(), found.range.clone());
        let attributes = std::mem::take(&mut found.attributes);
        let extensions = std::mem::take(&mut found.extensions);
        let content = match is_head {
            true => stream::empty().boxed(),
            false => {
                let opener = Opener::new(&self.ring, location.as_ref());
                opened(found.into_stream(), opener)
            }
        };
        Ok(GetResult {
            payload: GetResultPayload::Stream(content),
            meta: meta.0,
            range: meta.1,
            attributes,
            extensions,
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(not_done("copying"))
    }
}

/// Opens the pieces of an object; the last one is there only if nothing is missing.
fn opened(
    sealed: BoxStream<'static, Result<Bytes>>,
    opener: Opener,
) -> BoxStream<'static, Result<Bytes>> {
    stream::try_unfold((sealed, Some(opener)), |(mut sealed, opener)| async move {
        let Some(mut opener) = opener else {
            return Ok(None);
        };
        let mut content = Vec::new();
        let opener = match sealed.next().await.transpose()? {
            Some(piece) => {
                opener.push(&piece, &mut content).map_err(failed)?;
                Some(opener)
            }
            None => {
                opener.finish(&mut content).map_err(failed)?;
                None
            }
        };
        Ok(Some((Bytes::from(content), (sealed, opener))))
    })
    .boxed()
}

/// Bytes of a part that is not the last one, which S3 wants at least.
const MIN_PART_BYTES: usize = 5 * 1024 * 1024;

struct SealedParts {
    sealer: Option<Sealer>,
    /// The bytes that are sealed and not sent yet, less than [`MIN_PART_BYTES`]: behind each part comes at least the last tag.
    ready: Vec<u8>,
    inner: Box<dyn MultipartUpload>,
}

impl fmt::Debug for SealedParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedParts")
    }
}

#[async_trait]
impl MultipartUpload for SealedParts {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let Some(sealer) = &mut self.sealer else {
            return async { Err(not_done("writing behind the end")) }.boxed();
        };
        for piece in &part {
            if let Err(error) = sealer.push(piece, &mut self.ready) {
                return async move { Err(failed(error)) }.boxed();
            }
        }
        if self.ready.len() < MIN_PART_BYTES {
            return async { Ok(()) }.boxed();
        }
        let sealed = std::mem::take(&mut self.ready);
        self.inner.put_part(sealed.into())
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let sealer = self.sealer.take();
        let sealer = sealer.ok_or_else(|| not_done("ending twice"))?;
        let mut sealed = std::mem::take(&mut self.ready);
        sealer.finish(&mut sealed).map_err(failed)?;
        self.inner.put_part(sealed.into()).await?;
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

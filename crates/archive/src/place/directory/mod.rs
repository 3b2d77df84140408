//! A directory as an object store, such as one that is mounted by NFS.
//!
//! Invariants: what has its final name is complete and was synced, and its name survives a power failure once the
//! call returns; a name is given once; nobody but the owner may read a file, and none but those below the directory is
//! touched. The directory itself is never made: it is missing where nothing is mounted.
//!
//! Names that begin with a dot are files that are being written, and what a crash has left of them.

mod file;
mod list;
mod multipart;

use std::{
    fmt,
    fs::{self, File},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path as FilePath, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, path::Path,
};

use self::{file::NewFile, multipart::Parts};

/// Bytes that are read at a time.
const PIECE_BYTES: u64 = 256 * 1024;

/// A file, or the directory, cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct FileError {
    pub path: PathBuf,
    pub source: io::Error,
}

fn failed(path: &FilePath, source: io::Error) -> Error {
    Error::Generic {
        store: "file",
        source: Box::new(FileError {
            path: path.to_owned(),
            source,
        }),
    }
}

fn not_done(operation: &str) -> Error {
    Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "Directory".to_owned(),
    }
}

/// Runs what may block in a thread of its own.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

#[derive(Debug)]
pub struct Directory {
    root: Arc<FilePath>,
}

impl Directory {
    pub fn new(root: &FilePath) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, location: &Path) -> PathBuf {
        self.root.join(location.as_ref())
    }

    fn new_file(&self, location: &Path) -> impl FnOnce() -> Result<NewFile> + Send + use<> {
        let (root, path) = (Arc::clone(&self.root), self.path(location));
        move || NewFile::begin(&root, &path).map_err(|error| failed(&path, error))
    }

    fn listed(
        &self,
        prefix: Option<&Path>,
        after: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (root, prefix) = (Arc::clone(&self.root), prefix.cloned());
        let after = after.cloned();
        let all = blocking(move || {
            list::list(&root, prefix.as_ref(), after.as_ref())
                .map_err(|error| failed(&error.path, error.source))
        });
        let all = stream::once(all).map_ok(|found| stream::iter(found.into_iter().map(Ok)));
        all.try_flatten().boxed()
    }
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.root.display())
    }
}

fn open(path: &FilePath, location: &Path) -> Result<(File, ObjectMeta)> {
    let file = File::open(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::NotFound {
            path: location.to_string(),
            source: error.into(),
        },
        _ => failed(path, error),
    })?;
    let found = file
        .metadata()
        .and_then(|meta| Ok((meta.modified()?, meta)));
    let (modified, meta) = found.map_err(|error| failed(path, error))?;
    let meta = ObjectMeta {
        location: location.clone(),
        last_modified: modified.into(),
        size: meta.size(),
        e_tag: None,
        version: None,
    };
    Ok((file, meta))
}

/// Returns the bytes from one offset up to another, or fails if the file ends before.
fn pieces(file: File, path: PathBuf, from: u64, to: u64) -> BoxStream<'static, Result<Bytes>> {
    let (file, path) = (Arc::new(file), Arc::new(path));
    stream::try_unfold(from, move |at| {
        let (file, path) = (Arc::clone(&file), Arc::clone(&path));
        async move {
            if at >= to {
                return Ok(None);
            }
            let bytes = PIECE_BYTES.min(to - at);
            let piece = blocking(move || {
                let mut piece = vec![0; bytes as usize];
                let read = file.read_exact_at(&mut piece, at);
                read.map_err(|error| failed(&path, error))?;
                Ok(Bytes::from(piece))
            });
            Ok(Some((piece.await?, at + bytes)))
        }
    })
    .boxed()
}

#[async_trait]
impl ObjectStore for Directory {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        if options.mode != PutMode::Create {
            return Err(not_done("replacing an object"));
        }
        let (begin, path) = (self.new_file(location), self.path(location));
        let name = location.to_string();
        blocking(move || {
            let file = begin()?;
            let mut at = 0;
            for piece in &payload {
                file.write_at(piece, at)
                    .map_err(|error| failed(&path, error))?;
                at += piece.len() as u64;
            }
            publish(&file, &path, name)
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let file = blocking(self.new_file(location)).await?;
        let (path, name) = (self.path(location), location.to_string());
        Ok(Box::new(Parts::new(file, path, name)))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (path, location) = (self.path(location), location.clone());
        let opened = path.clone();
        let (file, meta) = blocking(move || open(&opened, &location)).await?;
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            None => 0..meta.size,
            Some(range) => range.as_range(meta.size).map_err(|error| Error::Generic {
                store: "file",
                source: error.into(),
            })?,
        };
        let bytes = pieces(file, path, range.start, range.end);
        Ok(GetResult {
            payload: GetResultPayload::Stream(bytes),
            meta,
            range,
            attributes: Default::default(),
            extensions: Default::default(),
        })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let root = Arc::clone(&self.root);
        locations
            .and_then(move |location| {
                let path = root.join(location.as_ref());
                blocking(move || match fs::remove_file(&path) {
                    Err(error) if error.kind() == ErrorKind::NotFound => Err(Error::NotFound {
                        path: location.to_string(),
                        source: error.into(),
                    }),
                    Err(error) => Err(failed(&path, error)),
                    Ok(()) => file::sync_parent(&path)
                        .map(|()| location)
                        .map_err(|error| failed(&path, error)),
                })
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(not_done("listing with a delimiter"))
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(not_done("copying"))
    }
}

/// Gives a file its name, if nothing has it.
fn publish(file: &NewFile, path: &FilePath, name: String) -> Result<PutResult> {
    match file.publish() {
        Ok(()) => Ok(PutResult {
            e_tag: None,
            version: None,
            extensions: Default::default(),
        }),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Error::AlreadyExists {
            path: name,
            source: error.into(),
        }),
        Err(error) => Err(failed(path, error)),
    }
}

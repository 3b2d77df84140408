//! The place of an archive: a directory, or a bucket of an object store.
//!
//! A [`Place`] holds objects with names. An object that [`Place::create`] makes is new, complete and durable, or it is not there; two
//! that create one of the same name cannot both succeed, unless they write the same.
//!
//! Invariants: no secret is in a URL, in what is printed or logged of a place, or in an error; each call ends by itself (a
//! request is repeated for at most a minute, and given up when the server was silent for one); what is held in memory is one
//! object of a bounded size, or one part of a larger one.
//!
//! | File | Owns |
//! |---|---|
//! | `url.rs` | the URL of a place |
//! | `open.rs` | from there to an object store, by the crate object_store |
//! | `credentials.rs` | a file with credentials |
//! | `directory/` | a directory as an object store |
//! | `http/` | HTTP and TLS for that crate |
//! | `crypto.rs` | the signatures of its requests |
//! | `reading.rs`, `upload.rs` | objects that come and go in pieces |
//! | `sealed.rs` | objects that are sealed on their way |
//! | `error.rs` | errors by what an operator can do |

mod credentials;
mod crypto;
mod directory;
mod error;
mod http;
mod open;
mod reading;
mod sealed;
mod upload;
mod url;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream::BoxStream};
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode, memory::InMemory, path::Path,
    prefix::PrefixStore,
};
use openssl::rand::rand_bytes;

use crate::{ObjectError, encryption::KeyRing};

use self::sealed::Sealed;
pub use self::{
    error::PlaceError,
    open::PlaceOptions,
    reading::Reading,
    upload::{PART_BYTES, Upload},
    url::{PlaceUrl, UrlError},
};

/// Bytes of an object that is read as a whole: those of the largest delta.
pub const MAX_READ_BYTES: u64 = crate::MAX_DELTA_BYTES as u64;

/// The folder of objects that only show whether a place is exclusive.
const PROBES: &str = "probe";

#[derive(Clone)]
pub struct Place(Arc<Inner>);

struct Inner {
    /// Its paths are the names of objects.
    store: Arc<dyn ObjectStore>,
    /// The host of the object store.
    host: Option<String>,
    shown: String,
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name, as it was created.
    pub name: String,
    pub bytes: u64,
    /// When it was written, in milliseconds since 1970, by the clock of the place.
    pub written_ms: i64,
}

/// Opens the place with this URL. Nothing is asked of it yet.
pub fn open(url: &str, options: &PlaceOptions) -> Result<Place, PlaceError> {
    let url: PlaceUrl = url.parse()?;
    let opened = open::open(&url, options)?;
    let mut store: Arc<dyn ObjectStore> = match &url {
        PlaceUrl::Bucket(bucket) if !bucket.prefix.is_empty() => {
            Arc::new(PrefixStore::new(opened.store, &*bucket.prefix))
        }
        _ => opened.store,
    };
    if let Some(path) = &options.key_file {
        let ring = KeyRing::load(path).map_err(PlaceError::KeyFile)?;
        store = Arc::new(Sealed::new(store, ring));
    }
    Ok(Place(Arc::new(Inner {
        store,
        host: opened.host,
        shown: url.to_string(),
    })))
}

impl Place {
    /// Returns an empty place in memory, for tests.
    pub fn memory() -> Self {
        Self(Arc::new(Inner {
            store: Arc::new(InMemory::new()),
            host: None,
            shown: "memory".to_owned(),
        }))
    }

    /// Returns the object store, of which the paths are names of objects. [`Place::failed`] names its errors.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.0.store
    }

    /// Names an error of the object store, of a request about one object.
    pub fn failed(&self, name: &str, error: &object_store::Error) -> PlaceError {
        PlaceError::of(&self.0.shown, self.0.host.as_deref(), name, error)
    }

    /// Names an error of reading or writing by what an operator can do; none if it is not one of the place.
    pub fn failed_object(&self, error: &ObjectError) -> Option<PlaceError> {
        match error {
            ObjectError::Store(error) => Some(self.failed("", error)),
            _ => None,
        }
    }

    /// Creates an object. After an error that [may be over](PlaceError::is_passing) do the same again, with the same content: if
    /// the object is there with this content, that is success.
    pub async fn create(&self, name: &str, content: Bytes) -> Result<(), PlaceError> {
        let (path, payload) = (Path::from(name), content.clone().into());
        let put = self
            .0
            .store
            .put_opts(&path, payload, PutMode::Create.into());
        let Err(error) = put.await else {
            return Ok(());
        };
        let failed = self.failed(name, &error);
        if !matches!(failed, PlaceError::Exists { .. }) && !failed.is_passing() {
            return Err(failed);
        }
        // An answer may have been lost, and the repeated request refused.
        match self.read_up_to(name, content.len() as u64).await {
            Ok(found) if found == content => Ok(()),
            Ok(_) | Err(PlaceError::TooLarge { .. }) => Err(PlaceError::Exists {
                place: self.to_string(),
                name: name.to_owned(),
            }),
            // S3 refuses both of two that come at the same time.
            Err(PlaceError::Missing { .. }) if !failed.is_passing() => {
                Err(PlaceError::Unavailable {
                    place: self.to_string(),
                    reason: format!("{name} was being written by another one"),
                })
            }
            Err(error) if !failed.is_passing() => Err(error),
            Err(_) => Err(failed),
        }
    }

    /// Begins an object that may be larger than memory.
    pub fn upload(&self, name: &str) -> Upload {
        Upload::new(self, name)
    }

    /// Reads an object of at most [`MAX_READ_BYTES`].
    pub async fn read(&self, name: &str) -> Result<Bytes, PlaceError> {
        self.read_up_to(name, MAX_READ_BYTES).await
    }

    async fn read_up_to(&self, name: &str, limit: u64) -> Result<Bytes, PlaceError> {
        let reading = self.reader(name, 0).await?;
        match reading.bytes() {
            bytes if bytes > limit => Err(PlaceError::TooLarge {
                place: self.to_string(),
                name: name.to_owned(),
                bytes,
                limit,
            }),
            _ => reading.rest().await,
        }
    }

    /// Reads the first bytes of an object, all if it has fewer.
    pub async fn read_start(&self, name: &str, bytes: u64) -> Result<Bytes, PlaceError> {
        let range = GetRange::Bounded(0..bytes);
        self.get(name, Some(range)).await?.rest().await
    }

    /// Reads an object piece by piece, from an offset on that is below its size.
    pub async fn reader(&self, name: &str, from: u64) -> Result<Reading, PlaceError> {
        let range = (from > 0).then_some(GetRange::Offset(from));
        self.get(name, range).await
    }

    async fn get(&self, name: &str, range: Option<GetRange>) -> Result<Reading, PlaceError> {
        let options = GetOptions {
            range,
            ..GetOptions::default()
        };
        let found = self.0.store.get_opts(&Path::from(name), options).await;
        let found = found.map_err(|error| self.failed(name, &error))?;
        Ok(Reading::new(self, name, found))
    }

    /// Returns the objects in a folder whose names come after `after`, in the order of their names.
    pub fn list(
        &self,
        folder: &str,
        after: Option<&str>,
    ) -> BoxStream<'static, Result<Listed, PlaceError>> {
        let place = self.clone();
        let (path, folder) = (Path::from(folder), folder.to_owned());
        let found = match after {
            None => self.0.store.list(Some(&path)),
            Some(after) => {
                let after = Path::from(after);
                self.0.store.list_with_offset(Some(&path), &after)
            }
        };
        let named = found.map(move |found| {
            let meta = found.map_err(|error| place.failed(&folder, &error))?;
            Ok(Listed {
                name: meta.location.to_string(),
                bytes: meta.size,
                written_ms: meta.last_modified.timestamp_millis(),
            })
        });
        named.boxed()
    }

    /// Removes an object, or does nothing if it is not there.
    pub async fn remove(&self, name: &str) -> Result<(), PlaceError> {
        let removed = self.0.store.delete(&Path::from(name)).await;
        match removed.map_err(|error| self.failed(name, &error)) {
            Err(PlaceError::Missing { .. }) => Ok(()),
            removed => removed,
        }
    }

    /// Fails if this place lets an object take the place of another one. It leaves nothing.
    pub async fn prove_exclusive(&self) -> Result<(), PlaceError> {
        let mut random = [0; 8];
        // Without a random number another one's probe is in the way at worst, which is found out.
        let _ = rand_bytes(&mut random);
        let name = format!("{PROBES}/{:016x}", u64::from_le_bytes(random));
        self.create(&name, Bytes::from_static(b"first")).await?;
        let second = self.create(&name, Bytes::from_static(b"second")).await;
        self.remove(&name).await?;
        match second {
            Err(PlaceError::Exists { .. }) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => Err(PlaceError::NotExclusive {
                place: self.to_string(),
            }),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.shown)
    }
}

/// Shows no more than [`fmt::Display`]: what is inside may hold secrets.
impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({})", self.0.shown)
    }
}

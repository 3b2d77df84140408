//! Reads and writes the objects of one archive.
//!
//! Invariants: a call ends in a bounded time, after a bounded number of attempts; a delta is written once, whatever answers
//! get lost; what is read was checked to its last byte.

mod attempts;
mod base;
mod delta;
mod route;
#[cfg(test)]
mod route_tests;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc, time::Duration};

use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tokio::time::timeout;
use tokio_stream::StreamExt;

use self::attempts::attempt;
pub use self::{
    base::BaseUpload,
    delta::Put,
    route::{Moment, Route, RouteError},
};
use crate::{DeltaError, DeltaName, Listing, ObjectName};

/// The longest that one request for a delta may take, or for a part of a base: 8 MiB at 2.2 Mbit/s.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest that a list may take: a million names are a thousand requests.
const LIST_TIMEOUT: Duration = Duration::from_secs(300);

/// Names in a place that are looked at: a delta every 10 s for three years.
const MAX_NAMES: usize = 10_000_000;

/// The reason why an object could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("{name} is not there")]
    NotFound { name: String },
    #[error("{name} has more bytes than any delta: it is none, or of a newer version")]
    TooLarge { name: String },
    #[error("{name} cannot be read: {source}")]
    Delta { name: DeltaName, source: DeltaError },
    #[error("{name} is damaged: its {what} are not those that its announcement has")]
    Base { name: String, what: &'static str },
    #[error("{0}")]
    Store(object_store::Error),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("cannot write the local copy: {0}")]
    Local(std::io::Error),
    #[error("there are more than {MAX_NAMES} names in it")]
    TooMany,
}

impl From<object_store::Error> for ObjectError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { path, .. } => Self::NotFound { name: path },
            error => Self::Store(error),
        }
    }
}

impl ObjectError {
    /// Returns whether another attempt could have another outcome.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::TimedOut(_) => true,
            Self::Store(error) => !matches!(
                error,
                object_store::Error::NotSupported { .. }
                    | object_store::Error::NotImplemented { .. }
                    | object_store::Error::InvalidPath { .. }
                    | object_store::Error::AlreadyExists { .. }
                    | object_store::Error::Precondition { .. }
            ),
            _ => false,
        }
    }
}

/// The objects of one archive.
#[derive(Clone)]
pub struct Objects {
    store: Arc<dyn ObjectStore>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The store may know secrets.
        f.write_str("Objects")
    }
}

impl Objects {
    /// `store` has the place of the archive as its root.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store }
    }

    /// Lists the names in the place. What is named otherwise is left out.
    pub async fn list(&self) -> Result<Listing, ObjectError> {
        attempt(|| async {
            let listing = timeout(LIST_TIMEOUT, self.list_once()).await;
            listing.unwrap_or(Err(ObjectError::TimedOut(LIST_TIMEOUT)))
        })
        .await
    }

    async fn list_once(&self) -> Result<Listing, ObjectError> {
        let mut listing = Listing::default();
        let mut found = self.store.list(None);
        let mut count = 0;
        while let Some(meta) = found.next().await {
            let meta = match meta {
                Ok(meta) => meta,
                // A directory that nobody has written to yet.
                Err(object_store::Error::NotFound { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            count += 1;
            if count > MAX_NAMES {
                return Err(ObjectError::TooMany);
            }
            if let Ok(name) = meta.location.as_ref().parse() {
                listing.insert(name, meta.size);
            }
        }
        Ok(listing)
    }
}

impl Objects {
    /// Removes an object, or does nothing if it is not there.
    pub async fn remove(&self, name: ObjectName) -> Result<(), ObjectError> {
        let path = path(name);
        match attempt(|| call(self.store.delete(&path))).await {
            Err(ObjectError::NotFound { .. }) => Ok(()),
            removed => removed,
        }
    }
}

fn path(name: impl fmt::Display) -> Path {
    Path::from(name.to_string())
}

/// Ends a request after its time.
async fn call<T>(
    request: impl Future<Output = Result<T, object_store::Error>>,
) -> Result<T, ObjectError> {
    match timeout(CALL_TIMEOUT, request).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(ObjectError::TimedOut(CALL_TIMEOUT)),
    }
}

//! Deltas: read whole, written once.

use bytes::Bytes;
use object_store::{GetOptions, ObjectStoreExt, PutMode, PutOptions};

use super::{ObjectError, Objects, attempts::attempt, call, path};
use crate::{Delta, DeltaName, Digest, MAX_DELTA_BYTES};

/// The outcome of an attempt to write a delta.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is in the archive.
    Written,
    /// Another one has its name: somebody else has continued the archive.
    Taken,
}

impl Objects {
    /// Reads and checks a delta, but for what is in its batches.
    pub async fn delta(&self, name: DeltaName) -> Result<(Delta, Digest), ObjectError> {
        let bytes = attempt(|| self.bytes(name)).await?;
        Delta::parse(&bytes).map_err(|source| ObjectError::Delta { name, source })
    }

    async fn bytes(&self, name: DeltaName) -> Result<Bytes, ObjectError> {
        call(async {
            let found = self
                .store
                .get_opts(&path(name), GetOptions::default())
                .await?;
            if found.meta.size > MAX_DELTA_BYTES as u64 {
                return Ok(None);
            }
            found.bytes().await.map(Some)
        })
        .await?
        .ok_or_else(|| ObjectError::TooLarge {
            name: name.to_string(),
        })
    }

    /// Writes a delta unless one of its name is there, and returns its digest and its bytes, too. An answer that gets lost is
    /// found out: the delta is read back.
    pub async fn put_delta(&self, delta: &Delta) -> Result<(Put, Digest, u64), ObjectError> {
        let (bytes, digest) = delta.encode();
        let bytes = Bytes::from(bytes);
        let name = delta.header.name;
        // Nobody could read it.
        if bytes.len() > MAX_DELTA_BYTES {
            let name = name.to_string();
            return Err(ObjectError::TooLarge { name });
        }
        let put = attempt(|| self.put_once(name, bytes.clone(), digest)).await?;
        Ok((put, digest, bytes.len() as u64))
    }

    async fn put_once(
        &self,
        name: DeltaName,
        bytes: Bytes,
        digest: Digest,
    ) -> Result<Put, ObjectError> {
        let options = PutOptions::from(PutMode::Create);
        let put = call(self.store.put_opts(&path(name), bytes.into(), options)).await;
        match put {
            Ok(_) => Ok(Put::Written),
            // This may be what an earlier attempt has written.
            Err(ObjectError::Store(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            )) => match self.delta(name).await {
                Ok((_, found)) if found == digest => Ok(Put::Written),
                Ok(_) => Ok(Put::Taken),
                Err(error) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Returns whether a delta is there.
    pub async fn has_delta(&self, name: DeltaName) -> Result<bool, ObjectError> {
        let path = path(name);
        let found = attempt(|| call(self.store.head(&path))).await;
        match found {
            Ok(_) => Ok(true),
            Err(ObjectError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

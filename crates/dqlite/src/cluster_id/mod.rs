//! The history that this node belongs to, and the proof of it between nodes.
//!
//! A history is what one cluster has agreed on since it began. Whoever begins, restores or recovers one gives it an id
//! of its own (`cluster-id.yaml`), so that it is never mixed up with another that has the same addresses, the same
//! key pair and perhaps the same first entries.
//!
//! Every connection between nodes begins with an introduction, before anything else passes: see
//! [`introduction`]. Clients need no proof, nor do nodes of an older version, which have no cluster id: they may
//! connect.

mod introduction;
mod refusals;

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::introduction::is_introduction;
use self::{
    introduction::{Answer, Introduced},
    refusals::Refusals,
};
use crate::files::{FileError, HistoryId, Identity, read_cluster_id, write_cluster_id};

/// The database belongs to another history than its directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the database is of the cluster {stored:x}, but cluster-id.yaml says {own:x}: the file is of another directory; \
     put back the one that belongs to this one, or delete it"
)]
pub struct Foreign {
    pub own: u64,
    pub stored: u64,
}

/// The change that the id in the database needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Agrees,
    /// The history was recovered: the database gets this id.
    Becomes(u64),
}

/// The history of one directory. Clones share it.
#[derive(Clone)]
pub struct ClusterId(Arc<Inner>);

struct Inner {
    dir: PathBuf,
    state: Mutex<State>,
    refusals: Refusals,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The directory is older than ids: its database will tell. Nobody is refused.
    Unknown,
    /// A member will tell the id. Until then no node that proves an id may connect.
    Joining,
    Known(HistoryId),
}

impl ClusterId {
    /// Returns the history of a directory whose node is `node`.
    pub fn of(dir: &Path, node: &Identity) -> Result<Self, FileError> {
        match (node.is_joining, node.bootstrap) {
            (true, _) => Ok(Self::joining(dir)),
            (false, true) => Self::begin(dir),
            (false, false) => Self::open(dir),
        }
    }

    /// Returns the history of a directory whose node is a member.
    pub fn open(dir: &Path) -> Result<Self, FileError> {
        let known = read_cluster_id(dir)?;
        Ok(Self::new(dir, known.map_or(State::Unknown, State::Known)))
    }

    /// Returns the history of a directory in which a cluster begins: it gets an id, unless an interrupted try gave it
    /// one.
    fn begin(dir: &Path) -> Result<Self, FileError> {
        if read_cluster_id(dir)?.is_none() {
            let id = new_id();
            write_cluster_id(dir, HistoryId { id, former: None })?;
        }
        Self::open(dir)
    }

    /// Returns a history of this id without a directory.
    pub fn fixed(id: u64) -> Self {
        let history = HistoryId { id, former: None };
        Self::new(Path::new(""), State::Known(history))
    }

    /// Returns the history of a directory whose node has not joined yet.
    fn joining(dir: &Path) -> Self {
        Self::new(dir, State::Joining)
    }

    fn new(dir: &Path, state: State) -> Self {
        Self(Arc::new(Inner {
            dir: dir.to_owned(),
            state: Mutex::new(state),
            refusals: Refusals::default(),
        }))
    }

    /// Splits a new history off. The directory is not in use; `former` is the id in its database, if that is known.
    pub fn renew(dir: &Path) -> Result<u64, FileError> {
        let former = read_cluster_id(dir)?.map_or(0, |found| found.former.unwrap_or(found.id));
        let id = new_id();
        let former = Some(former);
        write_cluster_id(dir, HistoryId { id, former })?;
        Ok(id)
    }

    pub fn known(&self) -> Option<u64> {
        match *self.state() {
            State::Known(history) => Some(history.id),
            State::Unknown | State::Joining => None,
        }
    }

    /// Compares with the id in the database, and takes it where the directory has none yet.
    pub fn settle(&self, stored: u64) -> Result<Settled, Foreign> {
        let mut state = self.state();
        let State::Known(HistoryId { id: own, former }) = *state else {
            let history = HistoryId {
                id: stored,
                former: None,
            };
            // The next start tries again.
            if let Err(error) = write_cluster_id(&self.0.dir, history) {
                tracing::warn!(%error, "cannot save the id of the cluster");
            }
            *state = State::Known(history);
            return Ok(Settled::Agrees);
        };
        match former {
            _ if own == stored => Ok(Settled::Agrees),
            Some(former) if former == stored || former == 0 => Ok(Settled::Becomes(own)),
            _ => Err(Foreign { own, stored }),
        }
    }

    /// Takes the id of the cluster that this node is about to join; None if that cluster knows none.
    pub fn adopt(&self, id: Option<u64>) -> Result<(), FileError> {
        let mut state = self.state();
        *state = match id {
            None => State::Unknown,
            Some(id) => {
                let history = HistoryId { id, former: None };
                write_cluster_id(&self.0.dir, history)?;
                State::Known(history)
            }
        };
        Ok(())
    }

    /// The node has not joined after all; another member may be asked next.
    pub fn part(&self) {
        *self.state() = State::Joining;
    }

    /// Says who we are, on a connection that was just made to the node at this address. Returns whether that node
    /// understood; if not, the connection is spoilt, and the node has no id to compare with.
    pub(crate) async fn introduce<S>(&self, stream: &mut S, address: &str) -> io::Result<bool>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let own = self.known();
        match introduction::introduce(stream, own).await? {
            Introduced::NotUnderstood => Ok(false),
            Introduced::Answered(Answer {
                id: theirs,
                is_refused,
            }) => {
                let differs = own.is_some() && theirs.is_some() && own != theirs;
                match is_refused || differs {
                    false => Ok(true),
                    true => Err(self.0.refusals.dialled(address, own, theirs)),
                }
            }
        }
    }

    /// Answers a node that has introduced itself, from `received` on; `peer` is where it comes from. Fails if it is
    /// of another history, after it was told.
    pub(crate) async fn answer<S>(
        &self,
        stream: &mut S,
        received: &mut bytes::BytesMut,
        peer: &str,
    ) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let theirs = introduction::read(stream, received).await?;
        let state = *self.state();
        let is_refused = match (state, theirs) {
            (_, None) | (State::Unknown, _) => false,
            (State::Joining, Some(_)) => true,
            (State::Known(own), Some(theirs)) => own.id != theirs,
        };
        let own = self.known();
        introduction::answer(
            stream,
            Answer {
                id: own,
                is_refused,
            },
        )
        .await?;
        match is_refused {
            false => Ok(()),
            true => Err(self.0.refusals.received(peer, own, theirs)),
        }
    }

    /// Returns the number of connections with nodes of other histories that were refused.
    pub fn refused(&self) -> u64 {
        self.0.refusals.count()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no panic while locked")
    }
}

/// Asks the node at the other end of a new connection for its history.
pub(crate) async fn ask<S>(stream: &mut S) -> io::Result<Option<u64>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    Ok(match introduction::introduce(stream, None).await? {
        Introduced::NotUnderstood => None,
        Introduced::Answered(answer) => answer.id,
    })
}

/// Returns a random id, which is never 0.
fn new_id() -> u64 {
    rand::random_range(1..=u64::MAX)
}

#[cfg(test)]
mod tests;

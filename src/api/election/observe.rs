//! Follows the leader of an election and its proclamations.

use std::convert::Infallible;

use bytes::Bytes;
use etcd_proto::{mvccpb::KeyValue, v3electionpb::LeaderResponse};
use etcd_state::mvcc::{KeyRange, Revision};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::Status;

use crate::{
    api::{
        concurrency::{Prefix, RecipeError, Recipes, Session, is_deletion, revision_of},
        status::recipe_status,
    },
    watch::{FollowError, Options},
};

/// The number of leaders that wait for a client to read them. Later changes wait in the history.
const LEADERS_AHEAD: usize = 1;

/// Ends with an error only when the server stops; as in etcd, without one when the reader may not
/// read.
pub fn leaders(
    recipes: Recipes,
    session: Session,
    prefix: Prefix,
) -> impl Stream<Item = Result<LeaderResponse, Status>> {
    let (sender, receiver) = mpsc::channel(LEADERS_AHEAD);
    tokio::spawn(async move {
        let mut observer = Observer {
            recipes,
            session,
            prefix,
            sender: sender.clone(),
            last: None,
        };
        let ended = tokio::select! {
            ended = observer.run() => ended,
            () = sender.closed() => return,
        };
        if matches!(ended, Err(End::Stopped)) {
            let stopped = RecipeError::from(FollowError::Stopped);
            // An error means that the client is gone.
            let _ = sender.send(Err(recipe_status(stopped))).await;
        }
    });
    ReceiverStream::new(receiver)
}

enum End {
    Refused,
    Gone,
    Stopped,
}

/// The result of following the events.
enum Next<T> {
    Found(T),
    /// Events were lost, or the leader has changed: read again.
    ReadAgain,
}

struct Observer {
    recipes: Recipes,
    session: Session,
    prefix: Prefix,
    sender: mpsc::Sender<Result<LeaderResponse, Status>>,
    /// Key and revision of what was sent last.
    last: Option<(Bytes, Revision)>,
}

impl Observer {
    async fn run(&mut self) -> Result<Infallible, End> {
        loop {
            let oldest = self.prefix.oldest();
            let oldest = self.session.read(&oldest).await.map_err(|_| End::Refused)?;
            let read_revision = revision_of(&oldest);
            let (revision, leader) = match oldest.kvs.into_iter().next() {
                Some(leader) => (read_revision, leader),
                None => match self.first_put(read_revision.next()).await? {
                    Next::Found(leader) => (Revision::new(leader.mod_revision), leader),
                    Next::ReadAgain => continue,
                },
            };
            let key = leader.key.clone();
            self.send(revision, leader).await?;
            self.follow_leader(key, revision.next()).await?;
        }
    }

    async fn first_put(&self, from: Revision) -> Result<Next<KeyValue>, End> {
        let only_puts = Options {
            no_delete: true,
            ..Options::default()
        };
        let follower = self.session.follow(self.prefix.range(), from, only_puts);
        match follower.map_err(end)?.next().await {
            Ok(response) => {
                let first = response.events.into_iter().find_map(|event| event.kv);
                Ok(first.map_or(Next::ReadAgain, Next::Found))
            }
            Err(FollowError::Lost) => Ok(Next::ReadAgain),
            Err(error) => Err(end(error)),
        }
    }

    /// Sends the proclamations of a leader, until it leads no more.
    async fn follow_leader(&mut self, key: Bytes, from: Revision) -> Result<(), End> {
        let range = KeyRange::new(key, Bytes::new());
        let follower = self.session.follow(range, from, Options::default());
        let mut follower = follower.map_err(end)?;
        loop {
            let response = match follower.next().await {
                Ok(response) => response,
                Err(FollowError::Lost) => return Ok(()),
                Err(error) => return Err(end(error)),
            };
            let revision = response
                .header
                .map_or(Revision::NONE, |header| Revision::new(header.revision));
            for event in response.events {
                if is_deletion(&event) {
                    return Ok(());
                }
                if let Some(kv) = event.kv {
                    self.send(revision, kv).await?;
                }
            }
        }
    }

    async fn send(&mut self, revision: Revision, kv: KeyValue) -> Result<(), End> {
        let sent = Some((kv.key.clone(), Revision::new(kv.mod_revision)));
        // After a loss, the same may be read again.
        if self.last == sent {
            return Ok(());
        }
        self.last = sent;
        let response = LeaderResponse {
            header: self.recipes.header(revision),
            kv: Some(kv),
        };
        let sending = self.sender.send(Ok(response)).await;
        sending.map_err(|_| End::Gone)
    }
}

fn end(_: FollowError) -> End {
    End::Stopped
}

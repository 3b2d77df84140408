//! The connection to the engine, and the write that is on its way to the disk.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use etcd_state::mvcc::Tree;
use telemetry::tracing::{Timeline, batch_sent};
use tokio::time::Instant;

use super::Answer;
use crate::store::{batch::Write, database::Database, purge::Done};

type Writing = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// The writer's connection to the engine, which does one thing at a time.
pub(super) enum Connection {
    Idle(Database),
    Writing(InFlight),
}

impl Connection {
    pub fn is_writing(&self) -> bool {
        matches!(self, Self::Writing(_))
    }

    /// Waits until the write ends; for ever if there is none.
    pub async fn written(&mut self) -> Written {
        match self {
            Self::Idle(_) => std::future::pending().await,
            Self::Writing(in_flight) => in_flight.wait().await,
        }
    }

    /// Returns the answers that wait for the write.
    pub fn into_answers(self) -> Vec<Answer> {
        match self {
            Self::Idle(_) => Vec::new(),
            Self::Writing(in_flight) => in_flight.answers,
        }
    }
}

/// A write that has ended.
pub(super) struct Written {
    pub outcome: Outcome,
    /// The tree that the write leads to.
    pub tree: Tree,
    pub answers: Vec<Answer>,
}

pub(super) struct Outcome {
    pub database: Database,
    pub write: Write,
    pub result: Result<Done, dqlite::client::Error>,
    pub took: Duration,
}

/// A write on its way to the disk.
pub(super) struct InFlight {
    writing: Writing,
    tree: Tree,
    answers: Vec<Answer>,
}

impl InFlight {
    /// Waits until it ends, after which there is nothing to wait for. Cancel safe.
    pub async fn wait(&mut self) -> Written {
        Written {
            outcome: self.writing.as_mut().await,
            tree: self.tree.clone(),
            answers: std::mem::take(&mut self.answers),
        }
    }
}

/// Sends a write before it returns.
pub(super) async fn send(
    mut database: Database,
    write: Write,
    tree: Tree,
    answers: Vec<Answer>,
) -> Connection {
    let mut writing: Writing = Box::pin(async move {
        let started = Instant::now();
        let result = database.write(&write).await;
        Outcome {
            database,
            write,
            result,
            took: started.elapsed(),
        }
    });
    batch_sent(timelines(&answers));
    let first_poll = poll_fn(|context| Poll::Ready(writing.as_mut().poll(context)));
    if let Poll::Ready(outcome) = first_poll.await {
        writing = Box::pin(std::future::ready(outcome));
    }
    Connection::Writing(InFlight {
        writing,
        tree,
        answers,
    })
}

pub(super) fn timelines(answers: &[Answer]) -> impl Iterator<Item = &Timeline> + Clone {
    answers.iter().filter_map(Answer::timeline)
}

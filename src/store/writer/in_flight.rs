//! A write on its way to the disk.

use std::{future::poll_fn, pin::Pin, task::Poll, time::Duration};

use etcd_state::mvcc::Tree;
use telemetry::tracing::{Timeline, batch_sent};
use tokio::time::Instant;

use super::Answer;
use crate::store::{batch::Write, database::Database};

type Writing = Pin<Box<dyn Future<Output = Written> + Send>>;

pub(super) struct Written {
    pub database: Database,
    pub write: Write,
    /// The number of rows that were deleted, or the error of the engine.
    pub result: Result<u64, dqlite::client::Error>,
    pub took: Duration,
}

/// A write on its way to the disk.
pub(super) struct InFlight {
    writing: Writing,
    /// Set if the first poll already finished it.
    written: Option<Written>,
    /// The tree that the write leads to.
    pub tree: Tree,
    pub answers: Vec<Answer>,
}

impl InFlight {
    /// Sends it before it returns; the answer of the engine is awaited by `wait`.
    pub async fn start(
        mut database: Database,
        write: Write,
        tree: Tree,
        answers: Vec<Answer>,
    ) -> Self {
        let mut writing: Writing = Box::pin(async move {
            let started = Instant::now();
            let result = database.write(&write).await;
            Written {
                database,
                write,
                result,
                took: started.elapsed(),
            }
        });
        batch_sent(timelines(&answers));
        let written = poll_fn(|context| match writing.as_mut().poll(context) {
            Poll::Ready(written) => Poll::Ready(Some(written)),
            Poll::Pending => Poll::Ready(None),
        });
        let written = written.await;
        Self {
            writing,
            written,
            tree,
            answers,
        }
    }

    pub async fn wait(&mut self) -> Written {
        match self.written.take() {
            Some(written) => written,
            None => self.writing.as_mut().await,
        }
    }
}

pub(super) fn timelines(answers: &[Answer]) -> impl Iterator<Item = &Timeline> + Clone {
    answers.iter().filter_map(Answer::timeline)
}

pub(super) async fn wait(in_flight: &mut Option<InFlight>) -> Written {
    match in_flight {
        Some(in_flight) => in_flight.wait().await,
        None => std::future::pending().await,
    }
}

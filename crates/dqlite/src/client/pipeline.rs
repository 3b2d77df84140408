//! Several EXECs at a time on one connection.

use tokio::time::timeout;

use super::exchange::{Effect, lost};
use super::{Connection, Error, ExecResult, Loss, Statement};
use crate::wire::{Param, Request};

/// The most requests of a pipeline: beyond some dozens there is nothing left to save, and their replies,
/// at most 4 KiB each, are held in memory.
pub const MAX_PIPELINE_DEPTH: usize = 256;

/// EXECs that go out in one write. The server runs them one after the other, so this saves round
/// trips, and nothing else.
///
/// Queue with [`exec`](Self::exec), then [`send`](Self::send), then call [`next`](Self::next) for
/// each reply. A pipeline that is dropped earlier poisons its connection. A failed request does not
/// keep the later ones from running: put them into a transaction if it should.
#[derive(Debug)]
pub struct Pipeline<'c> {
    connection: &'c mut Connection,
    queued: usize,
    due: usize,
    lost: bool,
}

impl Connection {
    pub fn pipeline(&mut self) -> Result<Pipeline<'_>, Error> {
        self.exchange.check_idle()?;
        Ok(Pipeline {
            connection: self,
            queued: 0,
            due: 0,
            lost: false,
        })
    }
}

impl Pipeline<'_> {
    /// Queues an EXEC. On error nothing was queued. See [`Connection::exec`] for what must never be
    /// executed.
    pub fn exec(&mut self, statement: &Statement, params: &[Param<'_>]) -> Result<(), Error> {
        let request = self.connection.exec_request(statement, params)?;
        self.queue(&request)
    }

    /// Queues an EXEC_SQL. On error nothing was queued.
    pub fn exec_sql(&mut self, sql: &str, params: &[Param<'_>]) -> Result<(), Error> {
        self.queue(&Request::ExecSql {
            db: 0,
            sql,
            params: params.into(),
        })
    }

    fn queue(&mut self, request: &Request<'_>) -> Result<(), Error> {
        if self.queued + self.due >= MAX_PIPELINE_DEPTH {
            return Err(Error::TooLarge {
                what: "pipeline depth",
                limit: MAX_PIPELINE_DEPTH,
            });
        }
        self.connection.exchange.queue(request)?;
        self.queued += 1;
        Ok(())
    }

    /// Writes what is queued. This future may be dropped and called again.
    pub async fn send(&mut self) -> Result<(), Error> {
        self.due += std::mem::take(&mut self.queued);
        let exchange = &mut self.connection.exchange;
        let limit = exchange.request_timeout;
        let sent = timeout(limit, exchange.flush_many()).await;
        self.lost |= !matches!(sent, Ok(Ok(())));
        match sent {
            Ok(Ok(())) => Ok(()),
            // Some requests may have got through whole.
            Ok(Err(Error::Unreachable(error))) if self.due > 1 => {
                Err(lost(Loss::Io(error), Effect::Writes))
            }
            Ok(Err(error)) => Err(error),
            Err(_) => Err(lost(Loss::TimedOut(limit), Effect::Writes)),
        }
    }

    /// The outcome of the next request, in the order of queueing, or `None` after the last one that
    /// was sent. This future may be dropped and called again.
    pub async fn next(&mut self) -> Option<Result<ExecResult, Error>> {
        if self.due == 0 {
            return None;
        }
        let result = self.receive().await;
        self.due -= 1;
        Some(result)
    }

    async fn receive(&mut self) -> Result<ExecResult, Error> {
        if self.lost {
            return Err(lost(Loss::Closed, Effect::Writes));
        }
        let exchange = &mut self.connection.exchange;
        let limit = exchange.request_timeout;
        let due = exchange.due();
        let result = timeout(limit, exchange.receive(Effect::Writes))
            .await
            .unwrap_or_else(|_| Err(lost(Loss::TimedOut(limit), Effect::Writes)))
            .and_then(|reply| self.connection.exec_result(reply));
        self.lost = self.connection.exchange.due() >= due;
        result
    }
}

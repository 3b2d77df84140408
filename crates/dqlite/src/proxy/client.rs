//! The requests of one client on their way to the engine, and the answers that it gets from the port.
//!
//! The engine answers in the order of the requests. So where an answer comes from elsewhere, the port waits until all
//! earlier requests have been answered. A change of the nodes goes to the engine on a connection of its own: where one
//! is under way on a connection with an open database, the end of either would end the process
//! (dqlite: src/gateway.c, `raftChangeCb`). A statement can be used from the answer to its preparation on, until it is
//! freed: one that is not known waits for all earlier answers, and is then refused.

use std::collections::HashSet;
use std::future::pending;
use std::io;
use std::mem::take;
use std::sync::{MutexGuard, PoisonError};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Mutex, watch};

use super::engine::{Link, LocalEngine};
use super::replies::Ended;
use super::requests::no_statement;
use super::{Checked, Inspector, TRAFFIC, Verdict};
use crate::client::{ConnectOptions, Connection};
use crate::wire::{Failure, Header, NodeId, PROTOCOL_VERSION, Reply, Role, Server};

/// The bytes that are read at once from a client: one TLS record.
const BUFFER_BYTES: usize = 16 * 1024;

/// Bytes that are kept for the next requests of a client.
const KEPT_BYTES: usize = 1024 * 1024;

/// The longest answer to a change of the nodes: a text of the engine.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// SQLite's codes of an error without a code of its own, and of a lock that somebody else has.
const ERROR: u64 = 1;
const BUSY: u64 = 5;

/// Held while a node may lose its vote: two such changes at once could take away the last two votes.
static DEMOTION: Mutex<()> = Mutex::const_new(());

type DemotionGuard = tokio::sync::MutexGuard<'static, ()>;

/// The answers that a client waits for.
pub(super) struct Answers<'a, W> {
    writer: &'a Mutex<W>,
    engine: &'a LocalEngine,
    /// The number of requests that the engine has not answered yet.
    waiting: watch::Sender<usize>,
    /// The numbers of the statements that are prepared. The engine has as many.
    statements: std::sync::Mutex<HashSet<u32>>,
}

impl<'a, W: AsyncWrite + Unpin> Answers<'a, W> {
    pub(super) fn new(writer: &'a Mutex<W>, engine: &'a LocalEngine) -> Self {
        Answers {
            writer,
            engine,
            waiting: watch::Sender::new(0),
            statements: std::sync::Mutex::default(),
        }
    }

    /// Tells which answers of the engine the client has got.
    pub(super) fn came(&self, ended: Ended) {
        self.statements().extend(ended.prepared);
        self.waiting
            .send_modify(|waiting| *waiting = waiting.saturating_sub(ended.replies));
    }

    fn statements(&self) -> MutexGuard<'_, HashSet<u32>> {
        // A set that is added to and taken from is whole at any time.
        let locked = self.statements.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, id: u32) -> bool {
        self.statements().contains(&id)
    }

    /// Notes that a statement is freed. Returns whether there was one.
    fn free(&self, id: u32) -> bool {
        self.statements().remove(&id)
    }

    fn expect_one(&self) {
        self.waiting.send_modify(|waiting| *waiting += 1);
    }

    async fn all_came(&self) {
        // The sender is here, so this does not fail.
        let _ = self
            .waiting
            .subscribe()
            .wait_for(|waiting| *waiting == 0)
            .await;
    }

    /// Answers in the engine's place.
    async fn refuse(&self, failure: Failure) -> io::Result<()> {
        tracing::debug!(
            message = failure.message,
            "refused a request on the dqlite port"
        );
        let mut answer = BytesMut::new();
        Reply::Failure(failure)
            .encode(&mut answer)
            .map_err(io::Error::other)?;
        self.answer(&answer).await
    }

    async fn answer(&self, answer: &[u8]) -> io::Result<()> {
        self.all_came().await;
        TRAFFIC.sent(answer.len());
        let mut writer = self.writer.lock().await;
        writer.write_all(answer).await?;
        writer.flush().await
    }

    /// Has a request done on a connection of its own, to its end even if nobody waits for that. The guard is dropped then.
    async fn change_nodes(&self, request: &[u8], guard: Option<DemotionGuard>) -> io::Result<()> {
        self.all_came().await;
        let mut engine = self.engine.connect().await?;
        let message = [&PROTOCOL_VERSION.to_le_bytes(), request].concat();
        let exchange = async move {
            let _guard = guard;
            engine.write_all(&message).await?;
            engine.flush().await?;
            let mut answer = vec![0; Header::BYTES];
            engine.read_exact(&mut answer).await?;
            let header =
                Header::decode_up_to(&answer, MAX_ANSWER_BYTES).map_err(io::Error::other)?;
            answer.resize(Header::BYTES + header.body_bytes(), 0);
            engine.read_exact(&mut answer[Header::BYTES..]).await?;
            Ok::<_, io::Error>(answer)
        };
        let answer = tokio::spawn(exchange).await.map_err(io::Error::other)??;
        self.answer(&answer).await
    }

    /// Lets a request through that takes a vote away, until the guard is dropped.
    async fn demotion(&self, id: NodeId) -> io::Result<Result<DemotionGuard, Failure>> {
        let refused = |code, message: &str| {
            let message = message.to_owned();
            Ok(Err(Failure { code, message }))
        };
        let Ok(guard) = DEMOTION.try_lock() else {
            return refused(BUSY, "a configuration change is already in progress");
        };
        let mut connection = Connection::connect(&self.engine.endpoint, ConnectOptions::default())
            .await
            .map_err(io::Error::other)?;
        let servers = connection.cluster().await.map_err(io::Error::other)?;
        let is_voter = |server: &&Server| server.role == Role::Voter;
        let mut voters = servers.iter().filter(is_voter).map(|server| server.id);
        // With none the engine does not lead, and says so.
        if voters.next() == Some(id) && voters.next().is_none() {
            return refused(
                ERROR,
                "this would leave the cluster without a voter: make another node a voter first",
            );
        }
        Ok(Ok(guard))
    }
}

/// The state of what one client sends.
#[derive(Default)]
struct Passing {
    inspector: Inspector,
    link: Link,
}

/// Passes on what a client sends, until it leaves.
pub(super) async fn pass_requests<W: AsyncWrite + Unpin>(
    mut reader: impl AsyncRead + Unpin,
    mut buffer: BytesMut,
    mut engine: impl AsyncWrite + Unpin,
    answers: &Answers<'_, W>,
) -> io::Result<()> {
    let mut passing = Passing::default();
    TRAFFIC.received(buffer.len());
    loop {
        if !pass_whole(&mut reader, &mut passing, &mut buffer, &mut engine, answers).await? {
            return Ok(());
        }
        if buffer.is_empty() && buffer.capacity() > KEPT_BYTES {
            // What a large request took would stay as long as its client.
            buffer = BytesMut::new();
        }
        buffer.reserve(BUFFER_BYTES);
        match reader.read_buf(&mut buffer).await? {
            0 => return Ok(()),
            bytes => TRAFFIC.received(bytes),
        }
    }
}

/// Passes on as much as is there. Returns whether the client is still there, as far as that was looked at.
async fn pass_whole<W: AsyncWrite + Unpin>(
    reader: &mut (impl AsyncRead + Unpin),
    passing: &mut Passing,
    buffer: &mut BytesMut,
    engine: &mut (impl AsyncWrite + Unpin),
    answers: &Answers<'_, W>,
) -> io::Result<bool> {
    // What may pass is written at once.
    let mut passed = 0;
    loop {
        let verdict = passing
            .inspector
            .next(&buffer[passed..])
            .map_err(|violation| io::Error::new(io::ErrorKind::InvalidData, violation));
        match verdict? {
            Verdict::Incomplete => {
                flush(buffer, passed, engine).await?;
                return Ok(true);
            }
            Verdict::Pass {
                bytes,
                request: Some(Checked::ChangesNodes { loses_vote }),
            } => {
                flush(buffer, take(&mut passed), engine).await?;
                let request = buffer.split_to(bytes);
                // It takes as long as another node does, which may be for ever; the locks of a client that left end now.
                tokio::select! {
                    biased;
                    changed = change_nodes(loses_vote, &request, answers) => changed?,
                    left = leaves(reader, buffer) => return left.map(|()| false),
                }
            }
            Verdict::Pass {
                bytes,
                request: Some(Checked::Leads { term }),
            } => {
                if !passing.link.is_known(term) {
                    flush(buffer, take(&mut passed), engine).await?;
                    passing.link.check(term, answers.engine).await?;
                }
                passed += bytes;
            }
            Verdict::Pass { bytes, request } => {
                if let Some(Checked::UsesStatement { id, ends }) = request {
                    if ends || !answers.has(id) {
                        flush(buffer, take(&mut passed), engine).await?;
                        // The answer to its preparation may be on the way, or that to one which gets the number anew.
                        answers.all_came().await;
                    }
                    let exists = match ends {
                        true => answers.free(id),
                        false => answers.has(id),
                    };
                    if !exists {
                        buffer.advance(bytes);
                        answers.refuse(no_statement()).await?;
                        continue;
                    }
                }
                if request.is_some_and(|request| request != Checked::Connects) {
                    answers.expect_one();
                }
                passed += bytes;
            }
            Verdict::Refuse { bytes, failure } => {
                flush(buffer, take(&mut passed), engine).await?;
                buffer.advance(bytes);
                answers.refuse(failure).await?;
            }
        }
    }
}

async fn change_nodes<W: AsyncWrite + Unpin>(
    loses_vote: Option<NodeId>,
    request: &[u8],
    answers: &Answers<'_, W>,
) -> io::Result<()> {
    let Some(id) = loses_vote else {
        return answers.change_nodes(request, None).await;
    };
    match answers.demotion(id).await? {
        Ok(guard) => answers.change_nodes(request, Some(guard)).await,
        Err(failure) => answers.refuse(failure).await,
    }
}

/// Waits until the client leaves, and keeps what it sends meanwhile, as far as there is room for that.
async fn leaves(reader: &mut (impl AsyncRead + Unpin), buffer: &mut BytesMut) -> io::Result<()> {
    while buffer.len() < BUFFER_BYTES {
        buffer.reserve(BUFFER_BYTES);
        match reader.read_buf(buffer).await? {
            0 => return Ok(()),
            bytes => TRAFFIC.received(bytes),
        }
    }
    pending().await
}

async fn flush(
    buffer: &mut BytesMut,
    bytes: usize,
    engine: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    engine.write_all(&buffer[..bytes]).await?;
    buffer.advance(bytes);
    Ok(())
}

//! Leads or follows, as the engine says, and changes from one to the other.

use std::{sync::Arc, time::Duration};

use dqlite::{tls::Tls, wire::NodeId};
use replication::coordinator::{self, Command, Event};
use stopping::warn;
use tokio::{
    sync::{oneshot, watch},
    time::{Instant, timeout},
};
use tracing::{debug, info};

use super::{
    Dialer, EngineView, IncompatibleNodes, Reads,
    decisions::Decisions,
    follow::{FollowError, Follower},
    leader_loss::HandOvers,
    log_ends::Remembered,
    reads::Role,
    tenure::{Tenure, TenureEnd},
};
use crate::store::{
    Ended, Leading, OpenError, Replica, Stop, WriterError,
    conversion::{ConversionOptions, Halt, Remedy, remedy},
};

/// The longest that a step of a conversion may take to end: it is a fraction of a second on a disk
/// that works.
const HALT_TIMEOUT: Duration = Duration::from_secs(5);

/// The time after which the log first says why this node serves nothing: a node that joins waits for a moment.
pub const REMIND_AFTER: Duration = Duration::from_secs(5);

/// The interval at which it says so again.
const REMIND_INTERVAL: Duration = Duration::from_secs(30);

/// A request of the server to the coordinator.
#[derive(Debug)]
pub enum Order {
    /// Commit the received requests, then write nothing until there is another leader. Answered
    /// when leadership may be given away.
    HandOver(oneshot::Sender<()>),
    /// Lead on: no node took the leadership that was to be given away.
    LeadOn,
    /// Commit the queued requests, and end.
    Stop,
}

#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Writer(#[from] WriterError),
}

pub struct Coordinator {
    pub own_id: NodeId,
    pub replica: Replica,
    pub engine: Arc<EngineView>,
    pub reads: Arc<Reads>,
    pub dialer: Dialer,
    pub decisions: Decisions,
    pub tenure: watch::Sender<Option<Arc<Tenure>>>,
    pub is_loaded: watch::Sender<bool>,
    pub conversion: ConversionOptions,
    /// The time when the log next says what this node waits for.
    pub reminds_at: Instant,
    pub remembered: Arc<Remembered>,
    pub hand_overs: Arc<HandOvers>,
    /// The pair of the nodes, if they connect with TLS.
    pub tls: Option<Tls>,
}

impl Coordinator {
    /// Runs until it is told to stop, or cannot go on.
    pub async fn run(mut self) -> Result<(), CoordinatorError> {
        let (mut event, mut until) = (Event::Started, None);
        // The database, from when it is open until it is written to.
        let mut opened = None;
        loop {
            let command = self.decisions.decide(event, self.replica.is_converted());
            event = match command {
                Command::AskEngine => Event::EngineSaid(self.engine.view().await.ok()),
                Command::Write { term } => match opened.take() {
                    Some(leading) => self.write(leading, term).await?,
                    None => Event::WriterEnded,
                },
                Command::End => return Ok(()),
                Command::GoOn => self.decisions.next(until).await,
                other => {
                    opened = None;
                    match other {
                        Command::Open => {
                            opened = self.open().await?;
                            match opened {
                                Some(_) => Event::Opened,
                                None => Event::NotOpened,
                            }
                        }
                        Command::Convert => self.convert().await?,
                        Command::Follow { address } => self.follow(&address).await,
                        Command::Wait { until: next } => {
                            until = next;
                            self.decisions.next(until).await
                        }
                        // They end what `heed` is called beside.
                        _ => self.decisions.next(until).await,
                    }
                }
            };
        }
    }

    /// Opens the database, unless that is not possible now.
    async fn open(&mut self) -> Result<Option<Leading>, CoordinatorError> {
        match self.replica.become_leader().await {
            Ok(leading) => Ok(Some(leading)),
            Err(error @ (OpenError::Dqlite(_) | OpenError::Overtaken)) => {
                debug!(%error, "cannot lead yet");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn write(&mut self, leading: Leading, term: u64) -> Result<Event, CoordinatorError> {
        info!(term, revision = self.replica.revision().number(), "leading");
        self.hand_overs.forget();
        let tenure = Tenure::new(self.own_id, term, self.engine.clone(), self.reads.clone());
        self.reads.set_role(Role::Leader);
        self.tenure.send_replace(Some(tenure.clone()));
        self.is_loaded.send_replace(true);
        let serving = tokio::spawn(tenure.clone().serve_reads());
        let decisions = &mut self.decisions;
        let stop = async {
            match decisions.heed(true).await {
                Command::StopWriting(coordinator::Stop::Deposed) => Stop::Deposed,
                Command::StopWriting(coordinator::Stop::HandOver) => Stop::HandOver,
                _ => Stop::Close,
            }
        };
        let ended = self.replica.write(leading, stop).await;
        self.reads.set_role(Role::Unknown);
        let end = match ended {
            Ok(Ended::Stopped) => TenureEnd::HandsOver,
            _ => TenureEnd::Deposed,
        };
        if end == TenureEnd::HandsOver {
            self.hand_overs.note(self.own_id.number());
        }
        // First: no session queues anything after it.
        tenure.end(end);
        self.replica.refuse_forwarded();
        self.tenure.send_replace(None);
        serving.abort();
        if ended? == Ended::Deposed {
            info!(term, "leading no more");
        }
        Ok(Event::WriterEnded)
    }

    /// Brings the database to the newest schema, which may take minutes.
    async fn convert(&mut self) -> Result<Event, CoordinatorError> {
        let incompatible = IncompatibleNodes {
            own_id: self.own_id,
            engine: &self.engine,
            dialer: &self.dialer,
        };
        let halt = Halt::default();
        let mut converting = Box::pin(self.replica.convert(&self.conversion, &incompatible, &halt));
        let converted = tokio::select! {
            converted = &mut converting => Some(converted),
            _ = self.decisions.heed(false) => {
                halt.ask();
                if timeout(HALT_TIMEOUT, &mut converting).await.is_err() {
                    warn!("a step of the conversion has not ended within {HALT_TIMEOUT:?}");
                }
                None
            }
        };
        drop(converting);
        let Some(Err(error)) = converted else {
            return Ok(match converted {
                Some(_) => Event::Converted,
                None => Event::NotConverted,
            });
        };
        match remedy(&error) {
            Remedy::Again => debug!(%error, "cannot read the database yet"),
            Remedy::AgainAloud => {
                if self.is_reminder_due() {
                    warn!(%error, "cannot convert the database yet; trying again");
                }
            }
            Remedy::None => return Err(error.into()),
        }
        Ok(Event::NotConverted)
    }

    async fn follow(&mut self, address: &str) -> Event {
        self.reads.set_role(Role::Follower);
        let is_loaded = self.is_loaded.clone();
        let on_loaded = move || {
            is_loaded.send_replace(true);
        };
        let was_loaded = self.replica.is_loaded();
        let mut follower = Follower {
            own_id: self.own_id,
            replica: &mut self.replica,
            engine: &self.engine,
            reads: &self.reads,
            remembered: &self.remembered,
            hand_overs: &self.hand_overs,
            tls: self.tls.as_ref(),
            on_loaded: &on_loaded,
        };
        let until = self.decisions.heed(was_loaded);
        if let Err(reason) = follower.run(&self.dialer, address, until).await {
            debug!(%reason, address, "stopped following the leader");
            self.remind(address, &reason);
        }
        Event::SessionEnded
    }

    /// Says why nothing is served, for as long as this node has nothing.
    fn remind(&mut self, address: &str, reason: &FollowError) {
        if !self.replica.is_loaded() && self.is_reminder_due() {
            warn!(%reason, leader = address, "nothing is served before this node has the store from the leader");
        }
    }

    fn is_reminder_due(&mut self) -> bool {
        let now = Instant::now();
        let is_due = now >= self.reminds_at;
        if is_due {
            self.reminds_at = now + REMIND_INTERVAL;
        }
        is_due
    }
}

//! Feeds the decisions of the coordinator with what happens, and answers orders.

use std::{sync::Arc, time::Duration};

use dqlite::wire::NodeId;
use replication::coordinator::{self, Command, Event, Facts, HAND_OVER_TIMEOUT};
use stopping::warn;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until},
};

use super::{Reads, monitor::ClusterView, replica::Order};
use crate::store::Cluster;

pub struct Decisions {
    coordinator: coordinator::Coordinator,
    cluster_view: watch::Receiver<ClusterView>,
    orders: mpsc::Receiver<Order>,
    reads: Arc<Reads>,
    started: Instant,
    /// Those who wait until the leadership may be given away.
    hand_overs: Vec<oneshot::Sender<()>>,
}

impl Decisions {
    pub fn new(
        own_id: NodeId,
        cluster_view: watch::Receiver<ClusterView>,
        orders: mpsc::Receiver<Order>,
        reads: Arc<Reads>,
    ) -> Self {
        Self {
            coordinator: coordinator::Coordinator::new(own_id.number()),
            cluster_view,
            orders,
            reads,
            started: Instant::now(),
            hand_overs: Vec::new(),
        }
    }

    /// Decides what to do after an event.
    pub fn decide(&mut self, event: Event, is_converted: bool) -> Command {
        if event == Event::TimeIsUp && self.coordinator.waits_for_successor() {
            warn!(
                "no other node took the leadership within {HAND_OVER_TIMEOUT:?}: this node leads on"
            );
        }
        let facts = Facts {
            view: self.cluster_view.borrow_and_update().view.clone(),
            is_single: self.reads.is_single(),
            is_converted,
        };
        let now = self.started.elapsed();
        let mut last = Command::GoOn;
        for command in self.coordinator.decide(event, &facts, now) {
            match command {
                Command::AnswerHandOver => {
                    for done in self.hand_overs.drain(..) {
                        let _ = done.send(());
                    }
                }
                command => last = command,
            }
        }
        last
    }

    /// Waits for an event, at most `until` a time since this was built. Cancel safe.
    pub async fn next(&mut self, until: Option<Duration>) -> Event {
        let started = self.started;
        let time_is_up = async {
            match until {
                Some(until) => sleep_until(started + until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = self.cluster_view.changed() => match changed {
                Ok(()) => Event::Looked,
                // The monitor lives as long as anybody wants this node to run.
                Err(_) => Event::Ordered(coordinator::Order::Stop),
            },
            order = self.orders.recv() => Event::Ordered(match order {
                Some(Order::HandOver(done)) => {
                    self.hand_overs.push(done);
                    coordinator::Order::HandOver
                }
                Some(Order::LeadOn) => coordinator::Order::LeadOn,
                Some(Order::Stop) | None => coordinator::Order::Stop,
            }),
            () = time_is_up => Event::TimeIsUp,
        }
    }

    /// Waits until what is under way is to end. Returns the command that says so. Cancel safe.
    pub async fn heed(&mut self, is_converted: bool) -> Command {
        let mut event = Event::Looked;
        loop {
            match self.decide(event, is_converted) {
                Command::GoOn => event = self.next(None).await,
                command => return command,
            }
        }
    }
}

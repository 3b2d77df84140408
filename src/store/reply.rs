//! The reply to a request: its sender, and a reply that is decided but not sent yet.

use std::{fmt::Debug, sync::Arc, time::Instant};

use etcd_state::{mvcc::Revision, requests::RequestError};
use telemetry::tracing::{Forwarding, Timeline};
use tokio::sync::oneshot;

/// The reply on its way to whoever waits for it.
pub type ReplyReceiver<T> = oneshot::Receiver<Result<T, RequestError>>;

/// The reply to a write, and the revision at which it took effect: a watch from the next one on has
/// everything that happened after it, and nothing of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed<T> {
    pub revision: Revision,
    pub reply: T,
}

/// Sends the reply to a request, and keeps the record of what the request waits for.
#[derive(Debug)]
pub struct ReplySender<T> {
    sender: oneshot::Sender<Result<T, RequestError>>,
    timeline: Option<Arc<Timeline>>,
    /// The span of the request to another node, which ends with the reply.
    forwarding: Option<Forwarding>,
}

impl<T> ReplySender<T> {
    pub fn new(timeline: Option<Arc<Timeline>>) -> (Self, ReplyReceiver<T>) {
        let (sender, receiver) = oneshot::channel();
        let reply = Self {
            sender,
            timeline,
            forwarding: None,
        };
        (reply, receiver)
    }

    /// Sends the reply, unless nobody waits for it any more.
    pub fn send(self, result: Result<T, RequestError>) {
        let _ = self.sender.send(result);
    }

    pub fn timeline(&self) -> Option<&Timeline> {
        self.timeline.as_deref()
    }

    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Notes that another node is asked. Returns the trace context that it is to continue, or an
    /// empty string.
    pub fn note_forwarded(&mut self) -> String {
        let Some(timeline) = &self.timeline else {
            return String::new();
        };
        timeline.forwarded(Instant::now());
        self.forwarding = Forwarding::begin(timeline);
        let forwarding = self.forwarding.as_ref();
        forwarding.map_or_else(String::new, Forwarding::traceparent)
    }
}

/// A reply of any type that is decided, and waits to be sent.
#[derive(Debug)]
pub struct PreparedReply(Box<dyn Prepared>);

impl PreparedReply {
    pub fn new<T: Debug + Send + Sync + 'static>(
        reply: ReplySender<T>,
        result: Result<T, RequestError>,
    ) -> Self {
        Self(Box::new(Typed { reply, result }))
    }

    pub fn send(self) {
        self.0.send();
    }

    /// Sends an error instead.
    pub fn refuse(self, error: RequestError) {
        self.0.refuse(error);
    }

    pub fn timeline(&self) -> Option<&Timeline> {
        self.0.timeline()
    }
}

trait Prepared: Debug + Send + Sync {
    fn send(self: Box<Self>);
    fn refuse(self: Box<Self>, error: RequestError);
    fn timeline(&self) -> Option<&Timeline>;
}

#[derive(Debug)]
struct Typed<T> {
    reply: ReplySender<T>,
    result: Result<T, RequestError>,
}

impl<T: Debug + Send + Sync> Prepared for Typed<T> {
    fn send(self: Box<Self>) {
        self.reply.send(self.result);
    }

    fn refuse(self: Box<Self>, error: RequestError) {
        self.reply.send(Err(error));
    }

    fn timeline(&self) -> Option<&Timeline> {
        self.reply.timeline()
    }
}

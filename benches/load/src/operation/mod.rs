//! The operations that clients repeat, and these clients.

mod read;
mod write;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;
use tonic::transport::Channel;

pub use read::{Count, Get, Range};
pub use write::{CreateTxn, Put, Update};

use crate::crew::{Crew, GRACE, Tally, Window};
use crate::failure::Failure;
use crate::target::{Kv, Target, kv};

/// A client gives up after so many failures: a dead server answers fast and would fill the machine.
const MAX_FAILURES_PER_CLIENT: u32 = 100;

/// One kind of call; the state is one client's own.
pub trait Operation: 'static {
    /// Makes one call and checks its answer.
    async fn call(&mut self, kv: &mut Kv) -> Result<(), Failure>;
}

/// `clients` closed loops on `conns` connections; client c is on connection c modulo `conns`, and
/// connection k on thread k modulo `threads`.
pub struct Clients<'a, M> {
    pub target: &'a Target,
    pub clients: usize,
    pub conns: usize,
    pub threads: usize,
    /// Makes the operation of one client, counted from 0.
    pub make: M,
}

impl<O: Operation, M: Fn(usize) -> O + Sync> Crew for Clients<'_, M> {
    type Ready = Vec<(O, Channel)>;

    async fn prepare(&self, thread: usize) -> Result<Self::Ready, Failure> {
        let mut ready = Vec::new();
        for conn in (thread..self.conns).step_by(self.threads) {
            let channel = self.target.connect().await?;
            for client in (conn..self.clients).step_by(self.conns) {
                ready.push(((self.make)(client), channel.clone()));
            }
        }
        Ok(ready)
    }

    async fn work(&self, ready: Self::Ready, window: Arc<Window>) -> Tally {
        let tally = Rc::new(RefCell::new(Tally::default()));
        let mut clients = JoinSet::new();
        for (operation, channel) in ready {
            clients.spawn_local(repeat(
                operation,
                kv(channel),
                Arc::clone(&window),
                Rc::clone(&tally),
            ));
        }
        await_all(&mut clients, &window, &tally).await;
        drop(clients);
        tally.take()
    }
}

/// Waits until all tasks end; those that do not in time are failures.
pub async fn await_all(tasks: &mut JoinSet<()>, window: &Window, tally: &RefCell<Tally>) {
    let deadline = (window.end + GRACE).into();
    while !tasks.is_empty() {
        if tokio::time::timeout_at(deadline, tasks.join_next())
            .await
            .is_err()
        {
            for _ in 0..tasks.len() {
                let overdue = format!("no answer within {} s", GRACE.as_secs());
                tally
                    .borrow_mut()
                    .failures
                    .add(&Failure::WrongAnswer(overdue));
            }
            return;
        }
    }
}

async fn repeat<O: Operation>(
    mut operation: O,
    mut kv: Kv,
    window: Arc<Window>,
    tally: Rc<RefCell<Tally>>,
) {
    let mut failures_left = MAX_FAILURES_PER_CLIENT;
    while failures_left > 0 && window.admits() {
        let started = Instant::now();
        let outcome = operation.call(&mut kv).await;
        let finished = Instant::now();
        match outcome {
            Ok(()) if window.holds(finished) => tally.borrow_mut().success(finished - started),
            Ok(()) => {}
            Err(failure) => {
                tally.borrow_mut().failures.add(&failure);
                failures_left -= 1;
            }
        }
    }
}

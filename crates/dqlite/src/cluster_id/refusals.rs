//! Logs refused connections with nodes of other histories. The rate is limited, since their engines dial again and
//! again.

use std::{
    collections::HashMap,
    io,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// One line for each address in this time.
const INTERVAL: Duration = Duration::from_secs(60);

/// Addresses that are remembered; the rest shares a line.
const ADDRESSES_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Refusals {
    count: AtomicU64,
    told: Mutex<HashMap<String, Instant>>,
}

impl Refusals {
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// The node that we dialled is of another history.
    pub(super) fn dialled(
        &self,
        address: &str,
        own: Option<u64>,
        theirs: Option<u64>,
    ) -> io::Error {
        let reason = format!(
            "the node at {address} belongs to {}, this one to {}: they are not connected; one of them was restored, \
             recovered or set up anew, and has to be stopped or to join the other's cluster with an empty directory",
            named(theirs),
            named(own)
        );
        self.refuse(address, reason)
    }

    /// A node of another history has dialled us.
    pub(super) fn received(&self, peer: &str, own: Option<u64>, theirs: Option<u64>) -> io::Error {
        let reason = format!(
            "a node at {peer} that belongs to {} wanted to connect, this one belongs to {}: refused; one of them was \
             restored, recovered or set up anew, and has to be stopped or to join the other's cluster with an empty \
             directory",
            named(theirs),
            named(own)
        );
        self.refuse(peer, reason)
    }

    fn refuse(&self, address: &str, reason: String) -> io::Error {
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.is_due(address) {
            tracing::warn!("{reason}");
        }
        io::Error::new(io::ErrorKind::PermissionDenied, reason)
    }

    fn is_due(&self, address: &str) -> bool {
        let now = Instant::now();
        let mut told = self.told.lock().expect("no panic while locked");
        told.retain(|_, at| now.duration_since(*at) < INTERVAL);
        let key = match told.len() < ADDRESSES_MAX {
            true => address,
            false => "",
        };
        match told.contains_key(address) || told.contains_key(key) {
            true => false,
            false => told.insert(key.to_owned(), now).is_none(),
        }
    }
}

fn named(id: Option<u64>) -> String {
    id.map_or("no cluster yet".to_owned(), |id| {
        format!("the cluster {id:x}")
    })
}

//! Calls that wait for a lock or for their election, and are answered during a later step.
//!
//! The keys tell whether a call has to wait: there is an older one below the name. So every
//! step ends in a state that does not depend on timing.

use std::fmt::Write;
use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::answer::Answer;
use super::side::Side;
use crate::harness::*;

/// The time without a word after which an observer is taken for one that gets nothing.
pub const SILENCE: Duration = Duration::from_secs(1);

pub struct Waiting {
    name: Bytes,
    lease: i64,
    own_revision: i64,
    answer: JoinHandle<Answer>,
}

/// Returns the number as Go writes it.
fn hexadecimal(lease: i64) -> String {
    let sign = if lease < 0 { "-" } else { "" };
    format!("{sign}{:x}", lease.unsigned_abs())
}

/// The keys in line, with their create revisions.
type Line = Vec<(Bytes, i64)>;

impl Side {
    /// Returns the keys in line; none while an alarm forbids reading.
    pub async fn line(&self, name: &[u8]) -> Option<Line> {
        let prefix = Bytes::from([name, b"/"].concat());
        let range = get_range(prefix.clone(), prefix_end(&prefix));
        let answer = self.keepers_api().try_ask(range).await.ok()?;
        let keys = answer.kvs.into_iter();
        Some(keys.map(|kv| (kv.key, kv.create_revision)).collect())
    }

    /// Makes the call, and waits for its answer or until it is in line behind others.
    pub async fn stand_in_line(
        &mut self,
        name: &Bytes,
        lease: i64,
        call: impl Future<Output = Answer> + Send + 'static,
    ) -> Answer {
        let is_same = |it: &Waiting| it.name == name && it.lease == lease;
        if self.waiting.iter().any(is_same) {
            return Answer::note("waits already");
        }
        let own_key = [name, &b"/"[..], hexadecimal(lease).as_bytes()].concat();
        if self.is_auth_on {
            // Who leaves leaves traces on etcd, and permissions are checked at other times.
            let line = self.line(name).await.unwrap_or_default();
            if line.iter().any(|(key, _)| *key != own_key) {
                return Answer::note("would wait");
            }
        }
        let answer = tokio::spawn(call);
        let deadline = Instant::now() + TIMEOUT;
        while !answer.is_finished() {
            assert!(Instant::now() < deadline, "neither an answer nor in line");
            let line = self.line(name).await.unwrap_or_default();
            let own = line.iter().find(|(key, _)| *key == own_key);
            if let Some(&(_, own_revision)) = own
                && line.iter().any(|(_, revision)| *revision < own_revision)
            {
                self.waiting.push(Waiting {
                    name: name.clone(),
                    lease,
                    own_revision,
                    answer,
                });
                let mut note = Answer::note("waits");
                note.revision = Some(own_revision);
                return note;
            }
            tokio::time::sleep(POLL_INTERVAL / 5).await;
        }
        answer.await.expect("the call does not panic")
    }

    /// The answers to those that nobody is before any more.
    pub async fn ended_waits(&mut self) -> String {
        let mut text = String::new();
        for waiting in std::mem::take(&mut self.waiting) {
            let line = self.line(&waiting.name).await;
            let is_older = |(_, revision): &(Bytes, i64)| *revision < waiting.own_revision;
            if line.is_none_or(|line| line.iter().any(is_older)) && !waiting.answer.is_finished() {
                self.waiting.push(waiting);
                continue;
            }
            let answer = tokio::time::timeout(TIMEOUT, waiting.answer).await;
            let answer = match answer {
                Ok(answer) => answer.expect("the call does not panic").text,
                Err(_) => "still waits".to_owned(),
            };
            let (name, lease) = (&waiting.name, waiting.lease);
            writeln!(text, "{name:?} of {lease}: {answer}").expect("it fits");
        }
        text
    }

    /// Waits for the end of all calls, which ends with all keys gone.
    pub async fn end_waits(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            let ended = tokio::time::timeout(TIMEOUT, waiting.answer).await;
            assert!(ended.is_ok(), "a waiter that nobody is before waits on");
        }
    }
}

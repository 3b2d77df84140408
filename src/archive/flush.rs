//! Asks the task that writes the archive for what it lacks, when the server stops.

use std::time::Duration;

use stopping::warn;
use tokio::{sync::watch, time::timeout};

/// The longest that a stop waits for the archive: a delta takes less than a second of it.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// Returns both ends.
pub fn flushes() -> (Flush, Flushes) {
    let (asked, hears) = watch::channel(0);
    let (done, answered) = watch::channel(0);
    let flush = Flush { asked, answered };
    let asked = hears;
    (flush, Flushes { asked, done })
}

/// The end of the server.
#[derive(Debug)]
pub struct Flush {
    /// The number of times that it was asked.
    asked: watch::Sender<u64>,
    answered: watch::Receiver<u64>,
}

impl Flush {
    /// Waits until all that is committed is in the archive, or an attempt failed, or it takes too long.
    pub async fn flush(&self) {
        let number = *self.asked.borrow() + 1;
        self.asked.send_replace(number);
        let mut answered = self.answered.clone();
        let done = answered.wait_for(|done| *done >= number);
        if timeout(FLUSH_TIMEOUT, done).await.is_err() {
            warn!(
                "the archive lacks what was committed last: it could not be written within {FLUSH_TIMEOUT:?}"
            );
        }
    }
}

/// The end of the task.
#[derive(Debug)]
pub struct Flushes {
    asked: watch::Receiver<u64>,
    done: watch::Sender<u64>,
}

impl Flushes {
    /// Returns how often it was asked.
    pub fn asked(&self) -> u64 {
        *self.asked.borrow()
    }

    /// Answers what was asked up to a number.
    pub fn answer(&self, number: u64) {
        self.done.send_replace(number);
    }

    /// Waits until it is asked once more.
    pub async fn another(&self, number: u64) {
        let mut asked = self.asked.clone();
        if asked.wait_for(|asked| *asked > number).await.is_err() {
            std::future::pending().await
        }
    }
}

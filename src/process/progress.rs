//! Shows progress: on a terminal one line that changes, elsewhere a line of the log now and then.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use tracing::info;

const TERMINAL_INTERVAL: Duration = Duration::from_millis(200);
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Characters of the bar.
const BAR: usize = 30;

#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    unit: Unit,
    done: u64,
    total: Option<u64>,
    since: Instant,
    said: Instant,
    is_terminal: bool,
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    Bytes,
    Keys,
}

impl Progress {
    pub fn bytes(what: &'static str, total: Option<u64>) -> Self {
        Self::new(what, Unit::Bytes, total)
    }

    pub fn keys(what: &'static str, total: Option<u64>) -> Self {
        Self::new(what, Unit::Keys, total)
    }

    fn new(what: &'static str, unit: Unit, total: Option<u64>) -> Self {
        let now = Instant::now();
        Self {
            what,
            unit,
            done: 0,
            total,
            since: now,
            said: now,
            is_terminal: io::stderr().is_terminal(),
        }
    }

    pub fn advance(&mut self, by: u64) {
        self.done += by;
        let interval = match self.is_terminal {
            true => TERMINAL_INTERVAL,
            false => LOG_INTERVAL,
        };
        if self.said.elapsed() < interval {
            return;
        }
        self.said = Instant::now();
        let line = line(
            self.what,
            self.unit,
            self.done,
            self.total,
            self.since.elapsed(),
        );
        match self.is_terminal {
            // Erases what an older, longer line has left.
            true => eprint!("\r{line}\x1b[K"),
            false => info!("{line}"),
        }
    }

    /// Leaves the terminal to what comes next.
    pub fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
            // If that is closed, nobody sees the line either.
            let _ = io::stderr().flush();
        }
    }
}

fn line(what: &str, unit: Unit, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let per_s = (done as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    let show = |count| match unit {
        Unit::Bytes => format!("{:.1} MiB", count as f64 / (1 << 20) as f64),
        Unit::Keys => format!("{count} keys"),
    };
    let rate = show(per_s);
    match total.filter(|total| *total > 0) {
        Some(total) => {
            let part = (done as f64 / total as f64).min(1.0);
            let full = "#".repeat((part * BAR as f64) as usize);
            let (percent, all) = ((part * 100.0) as u32, show(total));
            format!("{what} [{full:<BAR$}] {percent:>3} % of {all}, {rate}/s")
        }
        None => format!("{what} {}, {rate}/s", show(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_much_of_what_and_how_fast() {
        let second = Duration::from_secs(1);
        let mib = 1 << 20;
        assert_eq!(
            line("backup", Unit::Bytes, mib, Some(2 * mib), second),
            "backup [###############               ]  50 % of 2.0 MiB, 1.0 MiB/s"
        );
        assert_eq!(
            line("copy", Unit::Keys, 10, None, second * 2),
            "copy 10 keys, 5 keys/s"
        );
        assert_eq!(
            line("copy", Unit::Keys, 12, Some(10), second),
            "copy [##############################] 100 % of 10 keys, 12 keys/s"
        );
    }
}

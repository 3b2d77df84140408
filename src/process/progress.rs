//! Shows progress: on a terminal a bar, elsewhere a line of the log now and then.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing::info;

/// Changes of the bar in a second.
const TERMINAL_HZ: u8 = 5;

/// Operators watch a restore and a conversion, for which everything waits.
const ROWS_LOG_INTERVAL: Duration = Duration::from_secs(2);
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Characters of the bar.
const BAR: usize = 30;

#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    unit: Unit,
    /// The part that was done before.
    begun: u64,
    done: u64,
    total: Option<u64>,
    since: Instant,
    said: Instant,
    /// On a terminal.
    bar: Option<ProgressBar>,
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    Bytes,
    Keys,
    Rows,
}

impl Progress {
    pub fn bytes(what: &'static str, total: Option<u64>) -> Self {
        Self::new(what, Unit::Bytes, total)
    }

    pub fn keys(what: &'static str, total: Option<u64>) -> Self {
        Self::new(what, Unit::Keys, total)
    }

    pub fn rows(what: &'static str, total: Option<u64>) -> Self {
        Self::new(what, Unit::Rows, total)
    }

    fn new(what: &'static str, unit: Unit, total: Option<u64>) -> Self {
        let now = Instant::now();
        let total = total.filter(|total| *total > 0);
        let is_terminal = io::stderr().is_terminal();
        Self {
            what,
            unit,
            begun: 0,
            done: 0,
            total,
            since: now,
            said: now,
            bar: is_terminal.then(|| bar(what, unit, total)),
        }
    }

    /// Goes on where an earlier run has ended.
    pub fn from(mut self, done: u64) -> Self {
        (self.begun, self.done) = (done, done);
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.reset_eta();
        }
        self
    }

    pub fn advance(&mut self, by: u64) {
        self.done += by;
        let interval = match self.unit {
            Unit::Rows => ROWS_LOG_INTERVAL,
            Unit::Bytes | Unit::Keys => LOG_INTERVAL,
        };
        if let Some(bar) = &self.bar {
            bar.inc(by);
        } else if self.said.elapsed() > interval {
            self.said = Instant::now();
            self.log();
        }
    }

    pub fn done(&self) -> u64 {
        self.done
    }

    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    fn log(&self) {
        let Self { what, done, .. } = self;
        let elapsed_s = self.since.elapsed().as_secs_f64().max(0.001);
        let per_second = ((done - self.begun) as f64 / elapsed_s) as u64;
        match self.unit {
            Unit::Rows => info!(rows = done, of = self.total, per_second, "{what}"),
            Unit::Bytes => info!("{}", line(what, mib, *done, self.total, per_second)),
            Unit::Keys => info!("{}", line(what, keys, *done, self.total, per_second)),
        }
    }

    /// Leaves the terminal to what comes next.
    pub fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(what: &'static str, unit: Unit, total: Option<u64>) -> ProgressBar {
    let target = ProgressDrawTarget::stderr_with_hz(TERMINAL_HZ);
    let style = ProgressStyle::with_template(&template(unit, total.is_some()));
    // A test parses all of them.
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(total, target)
        .with_style(style.progress_chars("##-"))
        .with_message(what)
}

fn template(unit: Unit, has_total: bool) -> String {
    let (done, all, rate) = match unit {
        Unit::Bytes => (
            "{binary_bytes}",
            "{binary_total_bytes}",
            "{binary_bytes_per_sec}",
        ),
        Unit::Keys => ("{human_pos} keys", "{human_len} keys", "{per_sec}"),
        Unit::Rows => ("{human_pos} rows", "{human_len} rows", "{per_sec}"),
    };
    match has_total {
        true => {
            format!("{{msg}} [{{bar:{BAR}}}] {{percent:>3}} % of {all}, {rate}, {{eta}} left")
        }
        false => format!("{{msg}} {done}, {rate}"),
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

fn keys(count: u64) -> String {
    format!("{count} keys")
}

fn line(
    what: &str,
    show: impl Fn(u64) -> String,
    done: u64,
    total: Option<u64>,
    per_second: u64,
) -> String {
    let rate = show(per_second);
    match total {
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
    fn a_bar_has_a_form_for_every_unit() {
        for unit in [Unit::Bytes, Unit::Keys, Unit::Rows] {
            for has_total in [true, false] {
                let template = template(unit, has_total);
                assert!(
                    ProgressStyle::with_template(&template).is_ok(),
                    "{template}"
                );
            }
        }
    }

    #[test]
    fn a_line_says_how_much_of_what_and_how_fast() {
        let bytes = 1 << 20;
        assert_eq!(
            line("backup", mib, bytes, Some(2 * bytes), bytes),
            "backup [###############               ]  50 % of 2.0 MiB, 1.0 MiB/s"
        );
        assert_eq!(line("copy", keys, 10, None, 5), "copy 10 keys, 5 keys/s");
        assert_eq!(
            line("copy", keys, 12, Some(10), 12),
            "copy [##############################] 100 % of 10 keys, 12 keys/s"
        );
    }
}

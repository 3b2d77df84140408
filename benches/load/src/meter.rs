//! CPU time and memory of processes, from /proc.

use std::fs;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// USER_HZ, the unit of CPU times in /proc: 100 on every Linux that Rust's tier-1 targets run on.
const TICKS_PER_S: u64 = 100;

/// The resources that one measured window used.
#[derive(Debug, Clone)]
pub struct Cost {
    pub elapsed: Duration,
    pub server_cpu: Option<Duration>,
    pub client_cpu: Duration,
    /// Cores kept busy by everything else on the machine: how noisy the measurement was.
    pub others_cores: f64,
    pub server_rss_bytes: Option<u64>,
    /// Bytes that the servers made the disk write. None without processes, and where the kernel does not count them.
    pub server_written_bytes: Option<u64>,
    /// The number of times that a thread of the servers waited for something. `None` without processes.
    pub server_switches: Option<u64>,
}

/// Readings at the start of a window.
pub struct Meter {
    server_pids: Vec<u32>,
    started: Instant,
    server: Option<Duration>,
    client: Duration,
    machine: Duration,
    written: Option<u64>,
    switches: Option<u64>,
}

impl Meter {
    pub fn start(server_pids: &[u32]) -> Result<Self, Failure> {
        Ok(Meter {
            server_pids: server_pids.to_vec(),
            started: Instant::now(),
            server: sum(server_pids, process_cpu)?,
            client: process_cpu(std::process::id())?,
            machine: machine_cpu()?,
            // Another user's process does not show it.
            written: sum(server_pids, process_written_bytes).unwrap_or(None),
            switches: sum(server_pids, process_switches)?,
        })
    }

    pub fn stop(&self) -> Result<Cost, Failure> {
        let now = Meter::start(&self.server_pids)?;
        let elapsed = now.started - self.started;
        let server_cpu = now
            .server
            .zip(self.server)
            .map(|(now, before)| now - before);
        let client_cpu = now.client - self.client;
        let machine = now.machine.saturating_sub(self.machine);
        let others = machine.saturating_sub(client_cpu + server_cpu.unwrap_or_default());
        Ok(Cost {
            elapsed,
            server_cpu,
            client_cpu,
            others_cores: others.as_secs_f64() / elapsed.as_secs_f64(),
            server_rss_bytes: sum(&self.server_pids, process_rss_bytes)?,
            server_written_bytes: now
                .written
                .zip(self.written)
                .map(|(now, before)| now - before),
            // Those of threads that have ended are lost.
            server_switches: now
                .switches
                .zip(self.switches)
                .map(|(now, before)| now.saturating_sub(before)),
        })
    }
}

/// Returns the sum over all processes; `None` without processes.
fn sum<T: std::iter::Sum>(
    pids: &[u32],
    read: fn(u32) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    let total = pids.iter().map(|pid| read(*pid)).sum::<Result<T, _>>()?;
    Ok((!pids.is_empty()).then_some(total))
}

/// User and system time of all threads of a process, also of those that have ended.
fn process_cpu(pid: u32) -> Result<Duration, Failure> {
    let path = format!("/proc/{pid}/stat");
    let stat = read(&path)?;
    stat_ticks(&stat)
        .map(ticks)
        .ok_or_else(|| unreadable(&path))
}

/// Fields 14 and 15; counted from behind the command name, which may hold spaces and parentheses.
fn stat_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Time that all cores were busy; stolen time counts, for it is not ours either.
fn machine_cpu() -> Result<Duration, Failure> {
    let stat = read("/proc/stat")?;
    busy_ticks(&stat)
        .map(ticks)
        .ok_or_else(|| unreadable("/proc/stat"))
}

fn busy_ticks(stat: &str) -> Option<u64> {
    let fields: Vec<u64> = stat
        .lines()
        .next()?
        .split_ascii_whitespace()
        .skip(1)
        .map_while(|f| f.parse().ok())
        .collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, steal, ..] = fields[..] else {
        return None;
    };
    Some(user + nice + system + irq + softirq + steal)
}

fn process_rss_bytes(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/status");
    let status = read(&path)?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib << 10).ok_or_else(|| unreadable(&path))
}

/// Voluntary switches of all threads that a process has now.
fn process_switches(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&path).map_err(|error| {
        Failure::Machine(format!("cannot read {path} (did the server end?): {error}"))
    })?;
    // A thread may end meanwhile.
    let statuses = threads
        .flatten()
        .flat_map(|thread| fs::read_to_string(thread.path().join("status")));
    Ok(statuses
        .filter_map(|status| voluntary_switches(&status))
        .sum())
}

fn voluntary_switches(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let count = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
    count.trim().parse().ok()
}

/// Bytes that a process has sent to the disk, or made dirty in the page cache.
fn process_written_bytes(pid: u32) -> Result<u64, Failure> {
    let path = format!("/proc/{pid}/io");
    written_bytes(&read(&path)?).ok_or_else(|| unreadable(&path))
}

fn written_bytes(io: &str) -> Option<u64> {
    let mut lines = io.lines();
    lines
        .find_map(|line| line.strip_prefix("write_bytes:"))?
        .trim()
        .parse()
        .ok()
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count * 1000 / TICKS_PER_S)
}

fn read(path: &str) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| {
        Failure::Machine(format!("cannot read {path} (did the server end?): {error}"))
    })
}

fn unreadable(path: &str) -> Failure {
    Failure::Machine(format!("{path} does not look as expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_user_and_system_time_behind_any_command_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 0 0 0 30 12 5 6 20 0 8 0 100";
        assert_eq!(stat_ticks(stat), Some(42));
        assert_eq!(stat_ticks("7 (short) S 1"), None);
    }

    #[test]
    fn busy_time_leaves_out_idle_and_waiting() {
        assert_eq!(
            busy_ticks("cpu  1 2 4 1000 2000 8 16 32 0 0\ncpu0 9"),
            Some(63)
        );
        assert_eq!(busy_ticks(""), None);
    }

    #[test]
    fn switches_are_the_voluntary_ones() {
        let status = "Threads:\t2\nvoluntary_ctxt_switches:\t17\nnonvoluntary_ctxt_switches:\t9\n";
        assert_eq!(voluntary_switches(status), Some(17));
        assert_eq!(voluntary_switches("Threads:\t2\n"), None);
    }

    #[test]
    fn bytes_are_those_for_the_disk() {
        let io = "rchar: 1\nwchar: 2\nread_bytes: 3\nwrite_bytes: 4096\ncancelled_write_bytes: 5\n";
        assert_eq!(written_bytes(io), Some(4096));
        assert_eq!(written_bytes("rchar: 1\n"), None);
    }

    #[test]
    fn sees_the_cpu_time_that_this_process_burns() {
        let meter = Meter::start(&[std::process::id()]).unwrap();
        let before = process_cpu(std::process::id()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while process_cpu(std::process::id()).unwrap() < before + Duration::from_millis(30) {
            assert!(Instant::now() < deadline, "no CPU time counted");
        }
        let cost = meter.stop().unwrap();
        assert!(cost.server_cpu.unwrap() >= Duration::from_millis(30));
        assert!(cost.server_rss_bytes.unwrap() > 100 << 10);
    }
}

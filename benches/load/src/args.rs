//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::crew::Schedule;
use crate::target::Target;

/// Connections by default, however many clients share them.
const MAX_DEFAULT_CONNS: usize = 8;

/// Load generator for any etcd v3 endpoint without TLS
#[derive(Debug, Parser)]
#[command(version)]
pub struct Args {
    /// Address of the server
    #[arg(long, global = true, default_value = "http://127.0.0.1:2379")]
    endpoint: String,
    /// Processes whose CPU time and memory are reported, all together
    #[arg(long, global = true, value_name = "PID,...", value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// Name of the server in the output
    #[arg(long, global = true, default_value = "server")]
    pub label: String,
    /// Measured time per run
    #[arg(long, global = true, default_value_t = 3.0, value_parser = positive)]
    seconds: f64,
    /// Load before the measured time
    #[arg(long, global = true, default_value_t = 0.3, value_parser = positive)]
    warm_up_seconds: f64,
    /// Measure so many operations instead of a time
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(1..))]
    operations: Option<u64>,
    /// Print one JSON object instead of a table
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    #[command(flatten)]
    Single(Workload),
    /// Run one workload on two servers in turns and print a Markdown table row of medians
    Compare(Comparison),
    /// Let many leases end at once, and measure the calls of others meanwhile
    Expiry(ExpiryShape),
    /// Renew leases and update pods at a rate, compact, and measure what that makes the disk write
    Upkeep(UpkeepShape),
    /// Hold watches open, write nothing, and measure what the server uses
    Idle(IdleShape),
    /// Measure how long the disk takes to make 4 KiB durable
    Disk {
        /// A directory on the disk in question
        dir: PathBuf,
    },
}

#[derive(Debug, ClapArgs)]
pub struct Comparison {
    /// The reference, as NAME=URL,PID
    #[arg(long)]
    pub base: Target,
    /// A server that is compared with it, as NAME=URL,PID; once or more
    #[arg(long = "other", value_name = "OTHER", required = true)]
    pub others: Vec<Target>,
    /// Runs on each server
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Print the table's head first
    #[arg(long)]
    pub heading: bool,
    /// Append one JSON object per run to this file
    #[arg(long)]
    pub log: Option<PathBuf>,
    #[command(subcommand)]
    pub workload: Workload,
}

#[derive(Debug, Clone, Subcommand)]
pub enum Workload {
    /// Create random keys, each by a transaction that expects it not to exist
    CreateTxn {
        #[command(flatten)]
        shape: Shape,
        #[arg(long, default_value_t = 512)]
        value_bytes: usize,
        /// Write objects that look and compress like pods, of about 5 KB
        #[arg(long, conflicts_with = "value_bytes")]
        pods: bool,
    },
    /// Update existing keys, each by a transaction that expects its last revision
    Update {
        #[command(flatten)]
        shape: Shape,
        #[arg(long, default_value_t = 512)]
        value_bytes: usize,
        #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
        keys: usize,
    },
    /// Put random keys
    Put {
        #[command(flatten)]
        shape: Shape,
        #[arg(long, default_value_t = 512)]
        value_bytes: usize,
    },
    /// Get random existing keys
    Get {
        #[command(flatten)]
        shape: Shape,
        #[arg(long, default_value_t = 512)]
        value_bytes: usize,
        #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
        keys: usize,
        #[arg(long)]
        serializable: bool,
    },
    /// Read random pages of a list
    Range {
        #[command(flatten)]
        shape: Shape,
        #[arg(long, default_value_t = 1024)]
        value_bytes: usize,
        #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
        keys: usize,
        /// Keys per page
        #[arg(long, default_value_t = 500, value_parser = at_least_one)]
        limit: usize,
    },
    /// Count existing keys
    Count {
        #[command(flatten)]
        shape: Shape,
        #[arg(long, default_value_t = 512)]
        value_bytes: usize,
        #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
        keys: usize,
    },
    /// Deliver each put to many watchers
    Watch(WatchShape),
}

#[derive(Debug, Clone, ClapArgs)]
pub struct Shape {
    /// Concurrent clients, each with one call at a time
    #[arg(long, default_value_t = 64, value_parser = at_least_one)]
    pub clients: usize,
    /// Connections that the clients share [default: the clients, at most 8]
    #[arg(long, value_parser = at_least_one)]
    conns: Option<usize>,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct WatchShape {
    /// Watchers of one prefix, each on a stream of its own
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    pub watchers: usize,
    /// Clients that put under the prefix, each with one call at a time
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub writers: usize,
    /// Connections that the watchers share
    #[arg(long, default_value_t = 8, value_parser = at_least_one)]
    pub conns: usize,
    #[arg(long, default_value_t = 512)]
    pub value_bytes: usize,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct ExpiryShape {
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub leases: usize,
    /// Keys of each lease
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub keys: usize,
    /// TTL of the leases: longer than it takes to make them and their keys
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(i64).range(2..=3600))]
    pub ttl_s: i64,
    /// Print the table's head first
    #[arg(long)]
    pub heading: bool,
}

/// The objects of a cluster of 1,000 nodes.
#[derive(Debug, Clone, ClapArgs)]
pub struct UpkeepShape {
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub leases: u64,
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..))]
    pub pods: u64,
    /// Leases that are renewed in a second: each of them every 10 s
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub leases_per_s: u32,
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub pods_per_s: u32,
    /// Time from one compaction to the next, each to what was current at the one before
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub compact_s: u64,
    /// Print the table's head first
    #[arg(long)]
    pub heading: bool,
}

#[derive(Debug, Clone, ClapArgs)]
pub struct IdleShape {
    /// Watches, each on a stream of its own and of a prefix of its own, that ask for notifications of progress
    #[arg(long, default_value_t = 50, value_parser = at_least_one)]
    pub watches: usize,
    /// Print the table's head first
    #[arg(long)]
    pub heading: bool,
}

impl Args {
    pub fn target(&self) -> Target {
        Target {
            name: self.label.clone(),
            endpoint: self.endpoint.clone(),
            server_pids: self.server_pid.clone(),
        }
    }

    pub fn schedule(&self) -> Schedule {
        Schedule {
            warm_up: Duration::from_secs_f64(self.warm_up_seconds),
            length: Duration::from_secs_f64(self.seconds),
            operations: self.operations,
        }
    }
}

impl Shape {
    pub fn conns(&self) -> usize {
        self.conns.unwrap_or(MAX_DEFAULT_CONNS).min(self.clients)
    }
}

impl Workload {
    /// Keys and value size of the data set that must be there first.
    pub fn data(&self) -> Option<(usize, usize)> {
        match *self {
            Workload::Update {
                keys,
                value_bytes,
                ref shape,
            } => Some((keys.max(shape.clients), value_bytes)),
            Workload::Get {
                keys, value_bytes, ..
            }
            | Workload::Range {
                keys, value_bytes, ..
            }
            | Workload::Count {
                keys, value_bytes, ..
            } => Some((keys, value_bytes)),
            Workload::CreateTxn { .. } | Workload::Put { .. } | Workload::Watch(_) => None,
        }
    }

    pub fn clients(&self) -> usize {
        match self {
            Workload::CreateTxn { shape, .. }
            | Workload::Update { shape, .. }
            | Workload::Put { shape, .. }
            | Workload::Get { shape, .. }
            | Workload::Range { shape, .. }
            | Workload::Count { shape, .. } => shape.clients,
            Workload::Watch(shape) => shape.writers,
        }
    }

    pub fn title(&self) -> String {
        match self {
            Workload::CreateTxn { pods: true, .. } => "create-txn pods".into(),
            Workload::CreateTxn { value_bytes, .. } => format!("create-txn {value_bytes} B"),
            Workload::Update {
                value_bytes, keys, ..
            } => {
                format!("update {value_bytes} B of {keys} keys")
            }
            Workload::Put { value_bytes, .. } => format!("put {value_bytes} B"),
            Workload::Get {
                serializable: true, ..
            } => "get, serializable".into(),
            Workload::Get { .. } => "get, linearizable".into(),
            Workload::Range {
                value_bytes,
                keys,
                limit,
                ..
            } => {
                format!("range {limit} x {value_bytes} B of {keys}")
            }
            Workload::Count { keys, .. } => format!("count {keys} keys"),
            Workload::Watch(shape) => format!("watch, {} watchers (events)", shape.watchers),
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".into()),
        Ok(number) => Ok(number),
        Err(_) => Err("is no number".into()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(seconds),
        _ => Err("must be a number of seconds above 0, at most 3600".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_comparison_takes_the_same_workloads_as_a_single_run() {
        let line = "load compare --base a=http://h:1,7 --other b=http://h:2 --other c=http://h:3 get --clients 3 --serializable";
        let Command::Compare(comparison) = Args::parse_from(line.split(' ')).command else {
            panic!("not a comparison");
        };
        assert_eq!(comparison.base.server_pids, [7]);
        assert_eq!(comparison.others.len(), 2);
        assert_eq!((comparison.workload.clients(), comparison.rounds), (3, 3));
        assert_eq!(comparison.workload.title(), "get, serializable");
    }
}

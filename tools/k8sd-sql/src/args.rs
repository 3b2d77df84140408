//! The command line.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use command_line::with_unit;
use k8sd::recover::{Kept, Moved};
use telemetry::logging;

/// The longest time that SQL may be given.
const MAX_SQL_TIMEOUT: Duration = Duration::from_secs(3600);

/// The longest life of a join token: a hundred years.
const MAX_TTL: Duration = Duration::from_secs(3_153_600_000);

/// Manages a cluster of nodes and the database that describes it.
#[derive(Debug, Parser)]
#[command(name = "k8sd", version, args_override_self = true)]
#[command(after_help = "Examples:
  k8sd bootstrap --name node1 --address 10.0.0.1:6400
  k8sd token add node2 --ttl 1h
  k8sd join - --name node2 --address 10.0.0.2:6400 <token.txt
  k8sd members

The last of a repeated flag counts. Exit codes: 2 wrong flags; 3 no permission, or a wrong file; 11 no majority;
12 refused; 13 the daemon or a member cannot be reached; 1 anything else.")]
pub struct Args {
    /// The directory with the state of the node.
    #[arg(
        long,
        global = true,
        env = "STATE_DIR",
        default_value = "/var/snap/k8s/common/var/lib/k8sd/state"
    )]
    pub state_dir: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon.
    #[command(after_help = "Example:\n  k8sd daemon --state-dir /var/lib/k8sd")]
    Daemon {
        /// The group that may use the control socket, and with it everything.
        #[arg(long, env = "SOCKET_GROUP", hide_env_values = true)]
        socket_group: Option<String>,
        /// Name of this node in the cluster that the first join token begins, where there is none yet.
        #[arg(long, requires = "address")]
        name: Option<String>,
        /// `ip:port`, for the members of that cluster.
        #[arg(long, requires = "name")]
        address: Option<String>,
        /// Time that a request with SQL may take, 1s to 1h; a number alone is in seconds.
        #[arg(long, env = "K8SD_SQL_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = sql_timeout)]
        sql_timeout: Duration,
        #[command(flatten)]
        logs: LogFlags,
        #[command(flatten)]
        datastore: Datastore,
    },
    /// Run SQL on the cluster's database.
    Sql(Sql),
    /// Give the cluster to the members that are left, after a majority is lost for good.
    Recover(Recover),
    /// Begin a new cluster.
    #[command(after_help = "Example:\n  k8sd bootstrap --name node1 --address 10.0.0.1:6400")]
    Bootstrap {
        /// Name of this node in the cluster.
        #[arg(long)]
        name: String,
        /// `ip:port`, for the other members.
        #[arg(long)]
        address: String,
        #[command(flatten)]
        datastore: Datastore,
    },
    /// Become a member.
    #[command(
        after_help = "Example:\n  k8sd join - --name node2 --address 10.0.0.2:6400 <token.txt"
    )]
    Join {
        /// `-`: read from standard input, where other users of the machine do not see it.
        token: String,
        /// The name that the token is for.
        #[arg(long)]
        name: String,
        /// `ip:port`, for the other members.
        #[arg(long)]
        address: String,
        #[command(flatten)]
        datastore: Datastore,
    },
    /// Join tokens: each lets in one node of one name.
    #[command(after_help = "Example:\n  k8sd token add node2")]
    #[command(subcommand)]
    Token(Token),
    /// List the members.
    #[command(after_help = "Example:\n  k8sd members --json")]
    Members {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Tell whether the daemon is ready, and which member it is.
    #[command(after_help = "Example:\n  k8sd status")]
    Status,
    /// Look at everything that can be checked, while the daemon runs or not; nothing is changed.
    #[command(after_help = "Example:\n  k8sd doctor --state-dir /var/lib/k8sd")]
    Doctor {
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Remove a member.
    #[command(after_help = "Example:\n  k8sd remove node2")]
    Remove {
        /// Name of the member, as `k8sd members` has it.
        name: String,
        /// Also where it is not reachable.
        #[arg(long)]
        force: bool,
    },
    /// Take this node out of its cluster, also when its daemon is stopped already.
    #[command(after_help = "Example:\n  k8sd leave")]
    Leave,
    /// The pair of the datastore, which nodes that join get from k8sd.
    #[command(after_help = "Example:\n  k8sd certs take /var/lib/k8s-dqlite")]
    #[command(subcommand)]
    Certs(Certs),
    /// Look after the cluster.
    #[command(after_help = "Example:\n  k8sd cluster check --repair")]
    #[command(subcommand)]
    Cluster(Check),
    /// Stop the daemon, and wait until it has ended.
    #[command(after_help = "Example:\n  k8sd shutdown")]
    Shutdown,
    /// Print a completion script for a shell: the older form of `--generate`.
    #[command(hide = true)]
    Completion { shell: clap_complete::Shell },
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  k8sd sql 'select name, address from core_cluster_members'
  k8sd sql --offline --format csv .tables")]
pub struct Sql {
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// All statements or none.
    #[arg(long)]
    pub transaction: bool,
    /// Read a copy of the database while the daemon is stopped.
    #[arg(long)]
    pub offline: bool,
    /// Time to wait for an answer: that of the daemon, if it has another than usual.
    #[arg(long, env = "K8SD_SQL_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = sql_timeout)]
    pub sql_timeout: Duration,
    /// Statements, `.dump`, `.schema`, `.tables`, or `-` for standard input.
    pub query: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  k8sd recover --members node1,node3 --yes
  k8sd recover --addresses 10.0.0.1:6400=10.9.0.1:6400,10.0.0.2:6400=10.9.0.2:6400 --yes")]
pub struct Recover {
    /// State directories of other members, or copies of them: whose data are newest?
    pub compare: Vec<PathBuf>,
    /// The members that the cluster has afterwards, this node among them; without this flag this node alone.
    #[arg(long, value_name = "NAME[=IP:PORT],...", value_delimiter = ',')]
    pub members: Vec<Kept>,
    /// Give all members, and their datastore servers, other addresses: run it with the same list on each of them. All
    /// keep their data, and their majority is not lost.
    #[arg(long, value_name = "OLD=NEW,...", value_delimiter = ',')]
    #[arg(conflicts_with_all = ["compare", "members"])]
    pub addresses: Vec<Moved>,
    /// Do it; without this flag nothing is changed.
    #[arg(long)]
    pub yes: bool,
    /// Accept a condition under which it would be refused.
    #[arg(long, value_name = "WORD")]
    pub force: Option<Accepted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Accepted {
    /// Another directory has newer data, which is lost then
    LoseNewerData,
    /// With --addresses: something answers at old addresses of others
    LeaveOthersRunning,
}

/// The datastore that the node is to run, if it is to run one.
#[derive(Debug, clap::Args)]
pub struct Datastore {
    /// Storage directory of k8s-dqlite, which gets its pair and init.yaml.
    #[arg(long, requires = "datastore_address")]
    pub datastore_dir: Option<PathBuf>,
    /// `host:port`, for its other nodes.
    #[arg(long, requires = "datastore_dir")]
    pub datastore_address: Option<String>,
    /// A number or a name: nodes of one domain are expected to fail together.
    #[arg(long, requires = "datastore_dir")]
    pub failure_domain: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum Token {
    /// Make one.
    #[command(after_help = "Example:\n  k8sd token add node2 --ttl 1h")]
    Add {
        /// Name that the new node will have.
        name: String,
        /// Time until it expires, such as 90s, 1h30m or 24h; a number alone is in seconds, 0: never.
        #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = ttl)]
        ttl: Duration,
    },
    /// List those that were not used.
    #[command(after_help = "Example:\n  k8sd token list")]
    List,
    /// Make one useless.
    #[command(after_help = "Example:\n  k8sd token revoke node2")]
    Revoke {
        /// Name that the token is for.
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Certs {
    /// Take the pair of the datastore's directory, after `k8s-dqlite certs rotate` or another replacement.
    #[command(after_help = "Example:\n  k8sd certs take /var/lib/k8s-dqlite")]
    Take {
        /// Storage directory of k8s-dqlite, with cluster.crt and cluster.key.
        dir: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub enum Check {
    /// Compare rows, dqlite's cluster and trust.
    #[command(after_help = "Example:\n  k8sd cluster check")]
    Check {
        /// Remove what belongs to no member.
        #[arg(long)]
        repair: bool,
    },
}

/// The flags of logs, as the server has them.
#[derive(Debug, clap::Args)]
pub struct LogFlags {
    /// trace, debug, info, warn, error, fatal or panic.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log_level: String,
    /// Format of logs on standard error; the journal has its own.
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON document on each line.
    Json,
}

impl From<LogFormat> for logging::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

fn sql_timeout(text: &str) -> Result<Duration, String> {
    let timeout = with_unit(text, Duration::from_secs(1))?;
    match (Duration::from_secs(1)..=MAX_SQL_TIMEOUT).contains(&timeout) {
        true => Ok(timeout),
        false => Err("must be from 1s to 1h".to_owned()),
    }
}

fn ttl(text: &str) -> Result<Duration, String> {
    // A life in seconds may have more of them than others.
    let ttl = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => with_unit(text, Duration::from_secs(1))?,
    };
    match ttl <= MAX_TTL {
        true => Ok(ttl),
        false => Err("must be at most 3153600000 s, a hundred years".to_owned()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns, for people.
    Table,
    /// One JSON document.
    Json,
    /// RFC 4180.
    Csv,
    /// As the original prints it: the first result's rows.
    Go,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn times_are_durations_or_seconds() {
        for (text, seconds) in [("90", 90), ("1h30m", 5400), ("0", 0)] {
            let args = ["k8sd", "token", "add", "node2", "--ttl", text];
            let args = Args::try_parse_from(args).unwrap();
            let Command::Token(Token::Add { ttl, .. }) = args.command else {
                panic!("another command");
            };
            assert_eq!(ttl, Duration::from_secs(seconds), "{text}");
        }
        for wrong in ["-1s", "soon", "3153600001"] {
            let args = ["k8sd", "token", "add", "node2", "--ttl", wrong];
            assert!(Args::try_parse_from(args).is_err(), "{wrong}");
        }
        assert_eq!(sql_timeout("30s"), Ok(k8sd::USUAL_SQL_TIMEOUT));
        assert_eq!(sql_timeout("2m"), sql_timeout("120"));
        assert!(sql_timeout("0").is_err() && sql_timeout("2h").is_err());
    }

    #[test]
    fn every_command_has_an_example() {
        fn look(command: &clap::Command) {
            for command in command.get_subcommands().filter(|it| !it.is_hide_set()) {
                let after = command.get_after_help().map(ToString::to_string);
                assert!(
                    after.is_some_and(|text| text.contains("  k8sd ")),
                    "{}",
                    command.get_name()
                );
                look(command);
            }
        }
        look(&Args::command());
    }

    /// The snap writes what is set behind what was there.
    #[test]
    fn the_last_of_a_repeated_flag_counts() {
        Args::command().debug_assert();
        let args = [
            "k8sd",
            "--state-dir=/a",
            "daemon",
            "--name=node1",
            "--address=127.0.0.1:1",
            "--state-dir=/b",
            "--name=node2",
            "--address=127.0.0.1:2",
        ];
        let args = Args::try_parse_from(args).unwrap();
        assert_eq!(args.state_dir, PathBuf::from("/b"));
        let Command::Daemon { name, address, .. } = args.command else {
            panic!("another command");
        };
        assert_eq!(name.as_deref(), Some("node2"));
        assert_eq!(address.as_deref(), Some("127.0.0.1:2"));
    }
}

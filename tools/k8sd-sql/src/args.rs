//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use k8sd::{USUAL_SQL_TIMEOUT, recover::Kept};

/// Manages a cluster of nodes and the database that describes it.
#[derive(Debug, Parser)]
#[command(name = "k8sd", version, args_override_self = true)]
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
        /// Seconds that a request with SQL may take.
        #[arg(long, env = "K8SD_SQL_TIMEOUT", value_name = "S", default_value_t = USUAL_SQL_TIMEOUT.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
        sql_timeout: u64,
        #[command(flatten)]
        datastore: Datastore,
    },
    /// Run SQL on the cluster's database.
    Sql(Sql),
    /// Give the cluster to the members that are left, after a majority is lost for good.
    Recover(Recover),
    /// Begin a new cluster.
    Bootstrap {
        #[arg(long)]
        name: String,
        /// `ip:port`, for the other members.
        #[arg(long)]
        address: String,
        #[command(flatten)]
        datastore: Datastore,
    },
    /// Become a member.
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
    #[command(subcommand)]
    Token(Token),
    /// List the members.
    Members {
        #[arg(long)]
        json: bool,
    },
    /// Tell whether the daemon is ready, and which member it is.
    Status,
    /// Remove a member.
    Remove {
        name: String,
        /// Also where it is not reachable.
        #[arg(long)]
        force: bool,
    },
    /// Take this node out of its cluster, also when its daemon is stopped already.
    Leave,
    /// Look after the cluster.
    #[command(subcommand)]
    Cluster(Check),
    /// Stop the daemon.
    Shutdown,
    /// Print a completion script for a shell: the older form of `--generate`.
    #[command(hide = true)]
    Completion { shell: clap_complete::Shell },
}

#[derive(Debug, clap::Args)]
pub struct Sql {
    #[arg(long, value_enum, default_value = "table")]
    pub format: Format,
    /// All statements or none.
    #[arg(long)]
    pub transaction: bool,
    /// Read a copy of the database while the daemon is stopped.
    #[arg(long)]
    pub offline: bool,
    /// Seconds to wait for an answer: those of the daemon, if it has others than usual.
    #[arg(long, env = "K8SD_SQL_TIMEOUT", value_name = "S", default_value_t = USUAL_SQL_TIMEOUT.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub sql_timeout: u64,
    /// Statements, `.dump`, `.schema`, `.tables`, or `-` for standard input.
    pub query: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct Recover {
    /// State directories of other members, or copies of them: whose data are newest?
    pub compare: Vec<PathBuf>,
    /// The members that the cluster has afterwards, this node among them; without this flag this node alone.
    #[arg(long, value_name = "NAME[=IP:PORT],...", value_delimiter = ',')]
    pub members: Vec<Kept>,
    /// Do it; without this flag nothing is changed.
    #[arg(long)]
    pub yes: bool,
    /// Although another directory has newer data, which are lost then.
    #[arg(long, value_name = "WORD", value_parser = ["lose-newer-data"])]
    pub force: Option<String>,
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
    Add {
        name: String,
        /// Seconds until it expires; 0: never.
        #[arg(long, default_value_t = 24 * 3600, value_parser = clap::value_parser!(u64).range(..=3_153_600_000))]
        ttl: u64,
    },
    List,
    Revoke {
        name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Check {
    /// Compare rows, dqlite's cluster and trust.
    Check {
        /// Remove what belongs to no member.
        #[arg(long)]
        repair: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Csv,
    /// As the original prints it: the first result's rows.
    Go,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

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

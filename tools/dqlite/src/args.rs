//! The command line: the original's forms, and more.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use command_line::with_unit;

use crate::error::ShellError;
use crate::render::{Blobs, Format};

/// The original's default.
const TIMEOUT: &str = "2s";

/// The time that `--timeout 0` waits, which means for ever: as long as any machine runs.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The variable that names the storage directory where no flag does, as in the snap.
const STORAGE_DIR: &str = "K8S_DQLITE_STORAGE_DIR";

/// The database of microcluster.
const MICROCLUSTER_DATABASE: &str = "db.bin";

#[derive(Debug, Parser)]
#[command(
    name = "dqlite",
    version,
    about = "The dqlite shell",
    long_about = "The dqlite shell: SQL and cluster commands for a dqlite cluster.\n\n\
        Runs the command, if there is one, and ends; otherwise reads statements and commands from the terminal or from standard input. Commands begin with a full stop: .help lists them.",
    after_help = EXIT_CODES,
    args_override_self = true
)]
pub struct Args {
    /// Servers, or one file://PATH of a cluster.yaml or of an SQLite database of servers
    #[arg(short, long, value_name = "SERVERS", value_delimiter = ',')]
    pub servers: Vec<String>,

    /// State directory of a microcluster (k8sd), whose database is reached through its HTTP port
    #[arg(long, value_name = "STATE_DIR", conflicts_with_all = ["cert", "key", "ca"])]
    pub microcluster: Option<PathBuf>,

    /// Storage directory of a node, which has its servers, certificate and key; without --servers and --microcluster
    #[arg(long, env = STORAGE_DIR, value_name = "DIR", hide_env_values = true)]
    pub storage_dir: Option<PathBuf>,

    /// TLS certificate, which is also what is trusted
    #[arg(short, long, value_name = "FILE")]
    pub cert: Option<PathBuf>,

    /// Key of the TLS certificate
    #[arg(short, long, value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// Trust these certificates instead of the one of --cert
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub ca: Option<PathBuf>,

    /// The name that certificates of servers must have, instead of the first DNS name of --cert
    #[arg(long, value_name = "NAME")]
    pub server_name: Option<String>,

    /// Format of rows; json also for the commands
    #[arg(
        short,
        long,
        value_name = "FORMAT",
        default_value = "tabular",
        value_enum,
        hide_possible_values = false
    )]
    pub format: Format,

    /// Time to find the leader, and for each request; a number alone is in milliseconds, 0 waits for ever
    #[arg(long, value_name = "DURATION", default_value = TIMEOUT, value_parser = milliseconds)]
    pub timeout: Duration,

    /// Do not ask before what cannot be undone
    #[arg(short, long)]
    pub yes: bool,

    /// Do what is refused because it may harm the cluster
    #[arg(long)]
    pub force: bool,

    /// Text for NULL in rows
    #[arg(long, value_name = "TEXT")]
    pub nullvalue: Option<String>,

    /// Show blobs that hold text as text, or all as bytes. Without it: text at a terminal, bytes elsewhere
    #[arg(long, value_name = "FORM", value_enum, hide_possible_values = false)]
    pub blobs: Option<Blobs>,

    /// Rows without the names of their columns
    #[arg(long)]
    pub no_header: bool,

    /// No colours, as with the variable NO_COLOR
    #[arg(long)]
    pub no_color: bool,

    /// No pager for long results
    #[arg(long)]
    pub no_pager: bool,

    /// The database; cluster commands do without
    #[arg(value_name = "DATABASE")]
    pub first: Option<String>,

    /// SQL statements and commands, separated by semicolons
    #[arg(value_name = "COMMAND")]
    pub second: Option<String>,
}

const EXIT_CODES: &str = "Examples:
  dqlite --microcluster /var/snap/k8s/common/var/lib/k8sd/state .cluster
  dqlite -s 10.0.0.1:9000 -c cluster.crt -k cluster.key k8s 'select count(*) from kine'
  dqlite -s file:///var/lib/k8s-dqlite/cluster.yaml -c cluster.crt -k cluster.key k8s

The last of a repeated flag counts, but --servers adds. Exit codes: 0 done; 1 the database cannot run it; 2 wrong flags, files or \
    commands; 3 no permission; 12 refused; 13 no leader, or not reachable; 14 timed out.";

fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(count) => Ok(Duration::from_millis(count)),
        Err(_) => with_unit(text, Duration::from_millis(1)),
    }
}

impl Args {
    /// The database and the command. A single argument that begins with a full stop is a command.
    pub fn target(&self) -> (Option<String>, Option<String>) {
        let default = self
            .microcluster
            .as_ref()
            .map(|_| MICROCLUSTER_DATABASE.to_owned());
        match (&self.first, &self.second) {
            (Some(command), None) if command.trim_start().starts_with('.') => {
                (default, Some(command.clone()))
            }
            (first, second) => (first.clone().or(default), second.clone()),
        }
    }

    /// Returns the form of blobs. What scripts read is as the original has it.
    pub fn blobs(&self, is_terminal: bool) -> Blobs {
        let usual = match is_terminal {
            true => Blobs::Text,
            false => Blobs::Bytes,
        };
        self.blobs.unwrap_or(usual)
    }

    /// Returns whether `dqlite help` was typed: a database of that name needs servers.
    pub fn asks_for_help(&self) -> bool {
        let is_alone = self.servers.is_empty() && self.microcluster.is_none();
        is_alone && self.second.is_none() && self.first.as_deref() == Some("help")
    }

    /// Takes servers and pair from the storage directory, where no servers are named.
    pub fn complete(&mut self) {
        let Some(dir) = &self.storage_dir else { return };
        if !self.servers.is_empty() || self.microcluster.is_some() {
            return;
        }
        let list = dir.join("cluster.yaml");
        self.servers = vec![format!("file://{}", list.display())];
        let pair = ["cluster.crt", "cluster.key"].map(|name| dir.join(name));
        if self.cert.is_none() && self.key.is_none() && pair[0].exists() {
            let [cert, key] = pair;
            (self.cert, self.key) = (Some(cert), Some(key));
        }
    }

    pub fn timeout(&self) -> Duration {
        match self.timeout {
            Duration::ZERO => FOREVER,
            timeout => timeout.min(FOREVER),
        }
    }

    /// Checks the combinations of flags that clap cannot check.
    pub fn check(&self) -> Result<(), ShellError> {
        if self.servers.is_empty() && self.microcluster.is_none() {
            return Err(ShellError::usage(
                "no servers: name them with --servers, or the directory of a node with --storage-dir",
            ));
        }
        if self.cert.is_some() != self.key.is_some() {
            return Err(ShellError::usage(
                "both TLS certificate and key must be given",
            ));
        }
        if self.server_name.is_some() && self.cert.is_none() && self.microcluster.is_none() {
            return Err(ShellError::usage(
                "--server-name needs TLS: give --cert and --key, too",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(arguments: &[&str]) -> Args {
        Args::try_parse_from([&["dqlite"], arguments].concat()).unwrap()
    }

    #[test]
    fn a_storage_directory_stands_for_its_servers_and_pair() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let complete = |more: &[&str]| {
            let mut args = parse(&[&["--storage-dir", path, "k8s"], more].concat());
            args.complete();
            args.check().unwrap();
            (args.servers, args.cert)
        };
        let list = format!("file://{path}/cluster.yaml");
        assert_eq!(complete(&[]), (vec![list.clone()], None));
        let cert = dir.path().join("cluster.crt");
        std::fs::write(&cert, "").unwrap();
        assert_eq!(complete(&[]), (vec![list], Some(cert)));
        assert_eq!(complete(&["-s", "a:1"]), (vec!["a:1".to_owned()], None));
    }

    #[test]
    fn the_originals_forms_are_taken() {
        Args::command().debug_assert();
        let args = parse(&[
            "-s", "a:1,b:2", "-s", "c:3", "-c", "x", "-k", "y", "-f", "json", "k8s", ".cluster",
        ]);
        assert_eq!(args.servers, ["a:1", "b:2", "c:3"]);
        assert_eq!(args.format, Format::Json);
        assert_eq!(args.target(), (Some("k8s".into()), Some(".cluster".into())));
        let long = parse(&[
            "--servers=a:1",
            "--cert=x",
            "--key=y",
            "--format=tabular",
            "--timeout=5",
            "k8s",
        ]);
        assert_eq!(long.timeout(), Duration::from_millis(5));
        assert_eq!(
            parse(&["-s", "a:1", "--timeout=1m30s"]).timeout(),
            Duration::from_secs(90)
        );
        assert_eq!(parse(&["-s", "a:1"]).timeout(), Duration::from_secs(2));
        assert!(parse(&["help"]).asks_for_help());
        assert!(!parse(&["help", "-s", "a:1"]).asks_for_help());
        assert_eq!(long.target(), (Some("k8s".into()), None));
        long.check().unwrap();
        let flags_last = parse(&["k8s", "select 1", "-s", "a:1"]);
        assert_eq!(flags_last.target().1.as_deref(), Some("select 1"));
    }

    #[test]
    fn the_last_of_a_repeated_flag_counts() {
        let args = parse(&[
            "-s",
            "a:1",
            "--timeout=5",
            "--timeout=7",
            "-f",
            "json",
            "-f",
            "csv",
        ]);
        assert_eq!(args.timeout(), Duration::from_millis(7));
        assert_eq!(args.format, Format::Csv);
    }

    #[test]
    fn cluster_commands_do_without_a_database() {
        let args = parse(&["-s", "a:1", ".leader"]);
        assert_eq!(args.target(), (None, Some(".leader".into())));
        let args = parse(&["--microcluster", "/x", ".leader"]);
        assert_eq!(
            args.target(),
            (Some("db.bin".into()), Some(".leader".into()))
        );
    }

    #[test]
    fn half_of_a_pair_and_no_servers_are_refused() {
        for arguments in [
            &["k8s"][..],
            &["-s", "a:1", "-c", "x", "k8s"],
            &["-s", "a", "-k", "x", "k8s"],
        ] {
            assert_eq!(parse(arguments).check().unwrap_err().exit_code(), 2);
        }
        assert!(Args::try_parse_from(["dqlite", "-s", "a", "-f", "xml", "k8s"]).is_err());
        assert!(Args::try_parse_from(["dqlite", "-s", "a", "k8s", "select 1", "more"]).is_err());
    }

    #[test]
    fn completions_and_a_man_page_come_from_the_flags() {
        for what in ["bash", "zsh", "fish", "man"] {
            let mut text = Vec::new();
            let generated: program_docs::Generated = what.parse().unwrap();
            generated.write(Args::command(), &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains("microcluster"), "{what}");
        }
    }
}

//! A server in a directory of its own: k8s-dqlite, or etcd as the reference.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{Api, HttpAnswer, Process, TlsClient, get, http_over, ports, until};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    K8sDqlite,
    Etcd,
}

/// The differences from the usual server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Appended to the command line.
    pub flags: Vec<String>,
    /// Set if the client port is with TLS: the tests connect like this.
    pub tls: Option<TlsClient>,
}

impl Options {
    pub fn flags(flags: &[&str]) -> Self {
        Self {
            flags: flags.iter().map(ToString::to_string).collect(),
            tls: None,
        }
    }
}

pub struct Server {
    kind: Kind,
    options: Options,
    client_port: u16,
    node_port: u16,
    process: Option<Process>,
    // Last, so that the process is gone before its files are.
    dir: TempDir,
}

impl Server {
    /// Starts a server on an empty store and waits until it answers.
    pub async fn start(kind: Kind) -> Self {
        Self::start_with(kind, Options::default()).await
    }

    pub async fn start_with(kind: Kind, options: Options) -> Self {
        let mut server = Self::prepare(kind, options);
        server.launch();
        server.ready().await;
        server
    }

    /// A server that is not started yet, with the files that a first start needs.
    pub fn prepare(kind: Kind, options: Options) -> Self {
        // Beside the binaries: /tmp may be memory, which hides what fsync costs.
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let server = Self {
            kind,
            options,
            client_port: ports::free(),
            node_port: ports::free(),
            process: None,
            dir,
        };
        std::fs::create_dir(server.storage_dir()).unwrap();
        if kind == Kind::K8sDqlite {
            let init = format!("Address: 127.0.0.1:{}\n", server.node_port);
            std::fs::write(server.storage_dir().join("init.yaml"), init).unwrap();
        }
        server
    }

    /// Adds flags, before the server is started.
    pub fn add_flags(&mut self, flags: &[String]) {
        self.options.flags.extend_from_slice(flags);
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the storage version of the cluster and of its files: ours stay readable for etcd 3.6
    /// (docs/compat.md).
    pub fn storage_version(&self) -> &'static str {
        match self.kind {
            Kind::K8sDqlite => "3.6.0",
            Kind::Etcd => "3.7.0",
        }
    }

    pub fn storage_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Returns the directory in which the tests of this server may put files.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn client_port(&self) -> u16 {
        self.client_port
    }

    pub fn node_port(&self) -> u16 {
        self.node_port
    }

    /// Asks for another address of the node, from the next start on.
    pub fn move_node(&mut self) {
        self.node_port = ports::free();
        let update = format!("Address: 127.0.0.1:{}\n", self.node_port);
        std::fs::write(self.storage_dir().join("update.yaml"), update).unwrap();
    }

    pub fn client_url(&self) -> String {
        let scheme = if self.options.tls.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://127.0.0.1:{}", self.client_port)
    }

    /// Returns the TLS settings with which the tests of this server connect.
    pub fn tls(&self) -> &TlsClient {
        self.options.tls.as_ref().expect("the server is with TLS")
    }

    /// A URL without TLS, which leads through a tunnel where the server speaks with it.
    pub async fn plain_url(&self) -> String {
        match &self.options.tls {
            Some(client) => format!("http://127.0.0.1:{}", client.tunnel(self.client_port).await),
            None => self.client_url(),
        }
    }

    /// Sends one request on a new connection.
    pub async fn http(&self, method: &str, path: &str) -> HttpAnswer {
        let port = self.client_port;
        match &self.options.tls {
            Some(client) => http_over(client.connect(port).await.unwrap(), method, path).await,
            None => {
                let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                http_over(stream, method, path).await
            }
        }
    }

    /// The command that starts it.
    pub fn command(&self) -> Command {
        let mut command = match self.kind {
            Kind::K8sDqlite => self.k8s_dqlite_command(),
            Kind::Etcd => self.etcd_command(),
        };
        command.args(&self.options.flags);
        command
    }

    fn k8s_dqlite_command(&self) -> Command {
        // Set, it names an installed server to test instead of the one just built.
        let installed = std::env::var_os("K8S_DQLITE_BIN");
        let binary = installed.unwrap_or_else(|| env!("CARGO_BIN_EXE_k8s-dqlite").into());
        let mut command = Command::new(binary);
        command
            .arg("--storage-dir")
            .arg(self.storage_dir())
            .args(["--listen", &self.client_url()]);
        // Most tests are not about TLS, and the engine's port then needs no certificate.
        if !self
            .options
            .flags
            .iter()
            .any(|flag| flag.starts_with("--enable-tls"))
        {
            command.arg("--enable-tls=false");
        }
        command
    }

    fn etcd_command(&self) -> Command {
        let peer_url = format!("http://127.0.0.1:{}", self.node_port);
        let mut command = Command::new(std::env::var_os("ETCD_BIN").unwrap());
        command
            .arg("--data-dir")
            .arg(self.storage_dir())
            .args(["--listen-client-urls", &self.client_url()])
            .args(["--advertise-client-urls", &self.client_url()])
            .args(["--listen-peer-urls", &peer_url])
            .args(["--initial-advertise-peer-urls", &peer_url])
            .args(["--initial-cluster", &format!("default={peer_url}")])
            .args(["--log-level", "warn"])
            // etcd takes ETCD_* for its flags, and complains about this one.
            .env_remove("ETCD_BIN");
        command
    }

    /// Starts the process without waiting until it answers.
    pub fn launch(&mut self) {
        self.launch_with(|_, _| {});
    }

    /// Like `launch`, with a command that `change` has changed; it is told the storage directory.
    pub fn launch_with(&mut self, change: impl FnOnce(&mut Command, &Path)) {
        assert!(self.process.is_none(), "it runs already");
        let mut command = self.command();
        change(&mut command, &self.storage_dir());
        self.process = Some(Process::spawn(command, &self.dir.path().join("log")));
    }

    /// Starts it by another command than its own, whose input is used as it is.
    pub fn launch_on(&mut self, command: Command) {
        assert!(self.process.is_none(), "it runs already");
        let log = self.dir.path().join("log");
        self.process = Some(Process::spawn_as_it_is(command, &log));
    }

    /// Waits until it answers; panics when it ends instead.
    pub async fn ready(&mut self) {
        if !self.is_ready().await {
            let status = self.process().exited();
            panic!("the server ended: {}", status.expect("it is not ready"));
        }
    }

    /// Waits until it answers, or has ended.
    pub async fn is_ready(&mut self) -> bool {
        let url = self.plain_url().await;
        let mut has_ended = false;
        until("the server answers", async || {
            has_ended = self.process().exited().is_some();
            let answers = async || match Api::try_connect(&url).await {
                Some(api) => api.try_ask(get("health")).await.is_ok(),
                None => false,
            };
            has_ended || answers().await
        })
        .await;
        !has_ended
    }

    /// Returns whether it was started, and its end was not noticed yet.
    pub fn is_started(&self) -> bool {
        self.process.is_some()
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the server was started")
    }

    /// A new connection.
    pub async fn api(&self) -> Api {
        Api::connect(&self.plain_url().await).await
    }

    /// Ends the process at once, as a power failure would, but for what the kernel has in memory.
    pub fn kill9(&mut self) {
        self.process().kill();
        self.process = None;
    }

    /// The process has ended by itself.
    pub fn forget_process(&mut self) {
        assert!(self.process().exited().is_some(), "it runs still");
        self.process = None;
    }

    /// Asks the process to stop, and waits until it has.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process().signal(Signal::SIGTERM);
        let status = self.process().wait().await;
        self.process = None;
        status
    }

    /// Forgets a process that has ended by itself, so that the server can be started again.
    pub fn forget(&mut self) {
        let ended = self.process().exited();
        assert!(ended.is_some(), "it still runs");
        self.process = None;
    }

    /// Starts it again on the same directory.
    pub async fn restart(&mut self) {
        self.launch();
        self.ready().await;
    }

    /// Everything it has printed, over all starts.
    pub fn output(&self) -> String {
        // Before the first start there is none.
        let bytes = std::fs::read(self.dir.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Returns whether a log ends with a failed assertion of the C library.
pub fn is_assertion(log: &str) -> bool {
    let last = log.lines().next_back().unwrap_or_default();
    last.contains("src/") && last.contains(".c:") && last.contains("Assertion `")
}

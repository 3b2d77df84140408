//! A daemon and the command that asks it.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// Other work may load the machine.
const TIMEOUT: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(50);

pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(PAUSE);
    }
}

/// Killed when it is dropped.
pub struct Daemon {
    dir: TempDir,
    process: Child,
    pub address: String,
}

impl Daemon {
    /// Starts a daemon outside of any cluster.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with these variables.
    pub fn start_with(env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let daemon = Self {
            process: spawn(dir.path(), env),
            dir,
            address: free.local_addr().unwrap().to_string(),
        };
        wait_for("the control socket", || {
            let asked = daemon.run(&["status"]);
            String::from_utf8_lossy(&asked.stderr).contains("not yet initialized")
        });
        daemon
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Kills the daemon if it still runs, and starts it at once.
    pub fn restart(&mut self, env: &[(&str, &str)]) {
        self.kill();
        self.process = spawn(self.dir.path(), env);
    }

    /// Kills the daemon, which tells the others nothing.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Waits until it has ended by itself.
    pub fn wait_for_end(&mut self) {
        self.ends();
    }

    pub fn state(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the daemon without waiting for it.
    pub fn launch(&mut self) {
        self.process = spawn(self.dir.path(), &[]);
    }

    /// The same; what it says is added to a file.
    pub fn launch_with_log(&mut self, log: &Path) {
        let file = fs::File::options().create(true).append(true).open(log);
        self.process = daemon(self.dir.path(), &[])
            .stderr(file.unwrap())
            .spawn()
            .unwrap();
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    /// Starts it where it has to refuse.
    pub fn serve_to_its_end(&mut self) -> ExitStatus {
        self.launch();
        self.ends()
    }

    /// Processor time so far, in ticks of 10 ms.
    pub fn used_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        // Behind the name, which may have spaces.
        let fields = stat.rsplit(')').next().unwrap();
        fields.split_whitespace().nth(11).unwrap().parse().unwrap()
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().unwrap().is_some()
    }

    /// Asks it to stop, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.ends()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id() as i32);
        kill(pid, signal).unwrap();
    }

    pub fn ends(&mut self) -> ExitStatus {
        let mut ended = None;
        wait_for("the daemon to end", || {
            ended = self.process.try_wait().unwrap();
            ended.is_some()
        });
        ended.unwrap()
    }

    /// Starts the daemon on the directory as it is; returns when the database is open.
    pub fn start_again(&mut self) {
        self.launch();
        wait_for("the database to be open", || {
            self.run(&["status"]).status.success()
        });
    }

    pub fn bootstrapped(name: &str) -> Self {
        let daemon = Self::start();
        daemon.good(&["bootstrap", "--name", name, "--address", &daemon.address]);
        daemon
    }

    /// Becomes a member of another's cluster.
    pub fn joined(&self, member: &Self, name: &str) {
        let token = member.good(&["token", "add", name]);
        let join = [
            "join",
            token.trim(),
            "--name",
            name,
            "--address",
            &self.address,
        ];
        self.good(&join);
    }

    pub fn run(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_k8sd"))
            .args(args)
            .arg("--state-dir")
            .arg(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Standard output.
    pub fn good(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{args:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error.
    pub fn bad(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(matches!(output.status.code(), Some(1..=14)), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(dir: &Path, env: &[(&str, &str)]) -> Child {
    // For whoever looks into a failure.
    let log = std::env::var_os("K8SD_TEST_LOGS").map(|logs| {
        let path = Path::new(&logs).join(dir.file_name().unwrap());
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true).open(path).unwrap()
    });
    daemon(dir, env)
        .stderr(log.map_or_else(Stdio::null, Stdio::from))
        .spawn()
        .unwrap()
}

fn daemon(dir: &Path, env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_k8sd"));
    command
        .args(["daemon", "--state-dir"])
        .arg(dir)
        .envs(env.iter().copied());
    command
}

//! A node with a datastore: a daemon, a k8s-dqlite, and an etcd client.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::daemon::wait_for;

/// One question to a server that may be dead.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// The server, or `None`, which is said: then there is nothing to test with.
pub fn server_binary() -> Option<PathBuf> {
    let built = || Path::new(env!("CARGO_BIN_EXE_k8sd")).with_file_name("k8s-dqlite");
    let path = std::env::var_os("K8S_DQLITE_BIN").map_or_else(built, PathBuf::from);
    if !path.exists() {
        eprintln!(
            "skipped: {} is not there; build it, or name it with K8S_DQLITE_BIN",
            path.display()
        );
        return None;
    }
    Some(path)
}

/// The name, network namespace and addresses of a node.
#[derive(Clone)]
pub struct Place {
    pub name: &'static str,
    /// `None`: that of the test.
    pub namespace: Option<String>,
    pub k8sd: String,
    pub datastore: String,
    pub client: String,
}

impl Place {
    /// Returns places with ports that were free a moment ago.
    pub fn on_loopback<const N: usize>(names: [&'static str; N]) -> [Self; N] {
        let free = || TcpListener::bind("127.0.0.1:0").unwrap();
        // All at once, so that they differ.
        let mut ports: Vec<TcpListener> = (0..3 * N).map(|_| free()).collect();
        let places = names.map(|name| {
            let mut address = || ports.pop().unwrap().local_addr().unwrap().to_string();
            Self {
                name,
                namespace: None,
                k8sd: address(),
                datastore: address(),
                client: address(),
            }
        });
        assert!(ports.is_empty());
        places
    }
}

/// Killed when it is dropped.
pub struct Node {
    pub place: Place,
    binary: PathBuf,
    home: TempDir,
    daemon: Option<Child>,
    server: Option<Child>,
}

impl Node {
    /// A daemon outside of any cluster, and no server.
    pub fn start(place: Place, binary: &Path) -> Self {
        let mut node = Self {
            place,
            binary: binary.to_owned(),
            home: tempfile::tempdir().unwrap(),
            daemon: None,
            server: None,
        };
        node.start_daemon();
        node
    }

    pub fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// The storage directory.
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn command(&self, program: &OsStr) -> Command {
        let Some(namespace) = &self.place.namespace else {
            return Command::new(program);
        };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", namespace]).arg(program);
        command
    }

    fn log(&self, name: &str) -> Stdio {
        let path = self.home.path().join(name);
        let file = fs::File::options().create(true).append(true).open(path);
        file.unwrap().into()
    }

    pub fn logged(&self, name: &str) -> String {
        fs::read_to_string(self.home.path().join(name)).unwrap_or_default()
    }

    pub fn start_daemon(&mut self) {
        self.start_daemon_that_fails_at("");
    }

    /// Starts a daemon that ends itself at this point, as if it were killed.
    pub fn start_daemon_that_fails_at(&mut self, point: &str) {
        let daemon = self
            .command(OsStr::new(env!("CARGO_BIN_EXE_k8sd")))
            .args(["daemon", "--state-dir"])
            .arg(self.state())
            .env("K8SD_FAIL_AT", point)
            .stderr(self.log("k8sd.log"))
            .spawn();
        self.daemon = Some(daemon.unwrap());
        wait_for("the control socket", || {
            let told = self.run(&["status"]);
            told.status.success() || text(&told.stderr).contains("not yet initialized")
        });
    }

    pub fn start_server(&mut self) {
        let server = self
            .command(self.binary.as_os_str())
            .arg(format!("--storage-dir={}", self.data().display()))
            .arg(format!("--listen=tcp://{}", self.place.client))
            .stdout(self.log("server.log"))
            .stderr(self.log("server.log"))
            .spawn();
        self.server = Some(server.unwrap());
    }

    /// Makes its server, which is stopped, the only one of the datastore.
    pub fn recover_server(&self) {
        let mut command = self.command(self.binary.as_os_str());
        command.arg("recover").arg(self.data()).arg("--yes");
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }

    /// Replaces the pair of the datastore, and has it tell this k8sd. Returns what is printed.
    pub fn rotate_pair(&self, k8sd: Option<&Path>) -> String {
        let mut command = self.command(self.binary.as_os_str());
        command.args(["certs", "rotate", "--storage-dir"]);
        command.arg(self.data());
        if let Some(state) = k8sd {
            command.arg("--k8sd-state-dir").arg(state);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    pub fn daemon_pid(&self) -> Pid {
        Pid::from_raw(self.daemon.as_ref().unwrap().id().cast_signed())
    }

    pub fn kill_server(&mut self) {
        kill(&mut self.server);
    }

    pub fn kill_daemon(&mut self) {
        kill(&mut self.daemon);
    }

    pub fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_k8sd"));
        command.args(args).arg("--state-dir").arg(self.state());
        command.stdin(Stdio::null()).output().unwrap()
    }

    /// Standard output.
    pub fn good(&self, args: &[&str]) -> String {
        let output = self.run(args);
        let errors = text(&output.stderr);
        assert!(
            output.status.success(),
            "{args:?}: {errors}\n{}\n{}",
            self.logged("k8sd.log"),
            self.logged("server.log")
        );
        text(&output.stdout)
    }

    /// Standard error.
    pub fn bad(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(matches!(output.status.code(), Some(1..=14)), "{args:?}");
        text(&output.stderr)
    }

    pub fn bootstrap(&self) {
        self.good(&self.bootstrap_args());
    }

    pub fn bootstrap_args(&self) -> Vec<&str> {
        let Place { name, k8sd, .. } = &self.place;
        self.with_datastore(
            &self.place,
            &["bootstrap", "--name", name, "--address", k8sd],
        )
    }

    pub fn join(&self, token: &str) {
        self.good(&self.join_args(token));
    }

    pub fn join_args<'a>(&'a self, token: &'a str) -> Vec<&'a str> {
        self.join_args_at(&self.place, token)
    }

    pub fn join_args_at<'a>(&self, place: &'a Place, token: &'a str) -> Vec<&'a str> {
        let Place { name, k8sd, .. } = place;
        self.with_datastore(
            place,
            &["join", token.trim(), "--name", name, "--address", k8sd],
        )
    }

    fn with_datastore<'a>(&self, place: &'a Place, args: &[&'a str]) -> Vec<&'a str> {
        // Leaked, as a test's few bytes may be.
        let dir: &'static str = self.data().display().to_string().leak();
        let more = [
            "--datastore-dir",
            dir,
            "--datastore-address",
            &place.datastore,
        ];
        [args, &more].concat()
    }

    /// Role of the datastore by address, as k8sd says it.
    pub fn datastore_roles(&self) -> BTreeMap<String, String> {
        let members: Value = serde_json::from_str(&self.good(&["members", "--json"])).unwrap();
        let text = |member: &Value, key: &str| member[key].as_str().unwrap_or("").to_owned();
        let members = members.as_array().unwrap();
        let pair = |m| (text(m, "datastore_address"), text(m, "datastore_role"));
        members.iter().map(pair).collect()
    }

    /// Addresses of the datastore's nodes, as this one's server says it.
    pub fn server_addresses(&self) -> Vec<String> {
        let Some(listed) = self.gateway("cluster/member/list", &json!({})) else {
            return Vec::new();
        };
        let mut addresses: Vec<String> = listed["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["peerURLs"][0].as_str().unwrap_or_default())
            .map(|url| url.trim_start_matches("https://").to_owned())
            .collect();
        addresses.sort();
        addresses
    }

    /// Removes a server by etcd's API, without k8sd.
    pub fn remove_server(&self, address: &str) {
        let listed = self.gateway("cluster/member/list", &json!({})).unwrap();
        let members = listed["members"].as_array().unwrap();
        let is_it = |m: &&Value| m["peerURLs"][0] == format!("https://{address}");
        let id = &members.iter().find(is_it).unwrap()["ID"];
        let removed = self.gateway("cluster/member/remove", &json!({"ID": id}));
        removed.expect("it is removed");
    }

    /// Puts a key, with etcdctl if `ETCDCTL_BIN` is set.
    pub fn put(&self, key: &str, value: &str) {
        if let Some(ctl) = std::env::var_os("ETCDCTL_BIN") {
            etcdctl(&ctl, &self.place.client, &["put", key, value]);
            return;
        }
        let body = json!({"key": base64(key), "value": base64(value)});
        self.gateway("kv/put", &body).expect("it is written");
    }

    pub fn get(&self, key: &str) -> String {
        if let Some(ctl) = std::env::var_os("ETCDCTL_BIN") {
            let args = ["get", "--print-value-only", key];
            return etcdctl(&ctl, &self.place.client, &args).trim().to_owned();
        }
        let found = self.gateway("kv/range", &json!({"key": base64(key)}));
        let found = found.expect("it is read");
        let value = found["kvs"][0]["value"].as_str().unwrap_or_default();
        text(&openssl::base64::decode_block(value).unwrap())
    }

    /// The answer of etcd's JSON gateway; `None`: an error, or nobody is there.
    fn gateway(&self, path: &str, body: &Value) -> Option<Value> {
        let address = self.place.client.parse().unwrap();
        let mut stream = TcpStream::connect_timeout(&address, ASK_TIMEOUT).ok()?;
        stream.set_read_timeout(Some(ASK_TIMEOUT)).unwrap();
        let body = body.to_string();
        let request = format!(
            "POST /v3/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, rest) = answer.split_once("\r\n\r\n")?;
        if !head.starts_with("HTTP/1.1 200") {
            return None;
        }
        // One chunk or none: from the first brace to the last.
        let json = &rest[rest.find('{')?..=rest.rfind('}')?];
        serde_json::from_str(json).ok()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill_server();
        self.kill_daemon();
    }
}

fn kill(process: &mut Option<Child>) {
    if let Some(mut process) = process.take() {
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn etcdctl(program: &OsStr, address: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(["--endpoints", address])
        .args(args)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "etcdctl {args:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

fn base64(text: &str) -> String {
    openssl::base64::encode_block(text.as_bytes())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

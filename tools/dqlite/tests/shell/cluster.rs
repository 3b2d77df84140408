//! Nodes of k8s-dqlite on loopback.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

use crate::pair::{Flaw, Pair};
use crate::run::{OURS, Ran, run, until};

pub struct Node {
    pub dir: PathBuf,
    pub address: String,
    client_port: u16,
    process: Child,
}

pub struct Cluster {
    pub nodes: Vec<Node>,
    pub pair: Option<Pair>,
    // Last, so that the processes are gone before their files are.
    dir: TempDir,
}

/// The server that was built beside the shell, or the one that a variable names.
fn server() -> PathBuf {
    if let Some(path) = std::env::var_os("K8S_DQLITE_BIN") {
        return path.into();
    }
    let path = Path::new(OURS).with_file_name("k8s-dqlite");
    assert!(
        path.exists(),
        "{} is not built: cargo build --bin k8s-dqlite",
        path.display()
    );
    path
}

/// Below the range that Linux hands to outgoing connections.
pub fn free_port() -> u16 {
    const FIRST: u16 = 14_000;
    const COUNT: u16 = 6_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = (std::process::id() % u32::from(COUNT)) as u16;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + (step % COUNT + offset) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

impl Cluster {
    /// Nodes with TLS, each of them a voter.
    pub fn start(count: usize) -> Cluster {
        Self::start_with(count, Some(Flaw::default()))
    }

    /// Starts nodes with a pair that has this flaw, or without a pair if `flaw` is `None`.
    pub fn start_with(count: usize, flaw: Option<Flaw>) -> Cluster {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let pair = flaw.map(|flaw| Pair::make(&dir.path().join("pair"), flaw));
        let mut cluster = Cluster {
            nodes: Vec::new(),
            pair,
            dir,
        };
        for _ in 0..count {
            let node = cluster.launch();
            cluster.nodes.push(node);
        }
        until("all nodes are voters", || {
            let shown = cluster.shell(&[".cluster"]);
            shown
                .stdout
                .lines()
                .filter(|line| line.ends_with("|voter"))
                .count()
                == count
        });
        until("the leader has made its tables", || {
            cluster.shell(&["k8s", "select 1 from kine"]).code == 0
        });
        for node in &cluster.nodes {
            until("the node has a list of the others", || {
                fs::read_to_string(node.dir.join("cluster.yaml"))
                    .is_ok_and(|text| text.matches("ID:").count() == count)
            });
        }
        cluster
    }

    fn launch(&self) -> Node {
        let port = free_port();
        let client_port = free_port();
        let dir = self.dir.path().join(format!("node{}", self.nodes.len()));
        fs::create_dir(&dir).unwrap();
        let mut init = format!("Address: 127.0.0.1:{port}\n");
        if let Some(first) = self.nodes.first() {
            init += &format!("Cluster:\n- {}\n", first.address);
        }
        fs::write(dir.join("init.yaml"), init).unwrap();
        if let Some(pair) = &self.pair {
            fs::copy(&pair.certificate, dir.join("cluster.crt")).unwrap();
            fs::copy(&pair.key, dir.join("cluster.key")).unwrap();
        }
        let process = start(&dir, client_port, self.pair.is_some());
        Node {
            dir,
            address: format!("127.0.0.1:{port}"),
            client_port,
            process,
        }
    }

    /// Returns the directory for files of tests.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn addresses(&self) -> String {
        let addresses: Vec<&str> = self.nodes.iter().map(|node| &*node.address).collect();
        addresses.join(",")
    }

    /// The flags that lead to the cluster, as the issue of the seed has them.
    pub fn flags(&self) -> Vec<String> {
        let store = self.nodes[0].dir.join("cluster.yaml");
        let store = match store.exists() {
            true => format!("file://{}", store.display()),
            false => self.nodes[0].address.clone(),
        };
        let mut flags = vec!["-s".to_owned(), store];
        if let Some(pair) = &self.pair {
            for (flag, path) in [("-c", &pair.certificate), ("-k", &pair.key)] {
                flags.extend([flag.to_owned(), path.display().to_string()]);
            }
        }
        flags
    }

    /// The command line, with time enough for a busy machine.
    pub fn arguments(&self, more: &[&str]) -> Vec<String> {
        let mut arguments = self.flags();
        arguments.extend(["--timeout".to_owned(), "20000".to_owned()]);
        arguments.extend(more.iter().map(ToString::to_string));
        arguments
    }

    pub fn shell(&self, more: &[&str]) -> Ran {
        self.run(OURS, more)
    }

    pub fn run(&self, program: impl AsRef<Path>, more: &[&str]) -> Ran {
        let arguments = self.arguments(more);
        run(
            program,
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
        )
    }

    pub fn leader(&self) -> usize {
        let address = self.shell(&[".leader"]).good();
        self.nodes
            .iter()
            .position(|node| node.address == address.trim())
            .unwrap()
    }

    /// Writes a key through the JSON gateway.
    pub fn put(&self, key: &str, value: &str) {
        let base64 = |text: &str| openssl::base64::encode_block(text.as_bytes());
        let body = format!(
            "{{\"key\":\"{}\",\"value\":\"{}\"}}",
            base64(key),
            base64(value)
        );
        let request = format!(
            "POST /v3/kv/put HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream =
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.nodes[0].client_port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

fn start(dir: &Path, client_port: u16, has_tls: bool) -> Child {
    let log = File::create(dir.with_extension("log")).unwrap();
    Command::new(server())
        .arg("--storage-dir")
        .arg(dir)
        .args(["--listen", &format!("tcp://127.0.0.1:{client_port}")])
        .arg(format!("--enable-tls={has_tls}"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Node {
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Returns the processor time of the server so far, in ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    pub fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.dir.with_extension("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {} (the end)", self.dir.display());
            eprintln!("{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
    }
}

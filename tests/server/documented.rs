//! The procedures of docs/operations.md, typed as they stand there: in blocks that begin with `# on node1`, each
//! such line says on which nodes the lines after it are typed. Paths, addresses and `systemctl` are those of the test.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::nodes::trio::Trio;
use super::wrong_input::certificates::make_pair;
use crate::harness::*;

const PAGE: &str = include_str!("../../docs/operations.md");

/// For one command, in seconds.
const LIMIT_S: &str = "60";

/// A bumped revision begins here.
const BUMPED: i64 = 1_000_000_000;

struct Step {
    /// Positions of the nodes.
    nodes: Vec<usize>,
    commands: Vec<String>,
}

/// The steps under a heading, up to the next heading.
fn steps(heading: &str) -> Vec<Step> {
    let mut lines = PAGE.lines().skip_while(|line| *line != heading).skip(1);
    let mut steps: Vec<Step> = Vec::new();
    let mut is_inside = false;
    while let Some(line) = lines.next() {
        match line {
            "```sh" => is_inside = true,
            "```" => is_inside = false,
            line if !is_inside && line.starts_with('#') => break,
            _ if !is_inside => {}
            line if line.starts_with("# on ") => steps.push(Step {
                nodes: line["# on ".len()..].split(", ").map(position).collect(),
                commands: Vec::new(),
            }),
            line => {
                let mut command = line.to_owned();
                while let Some(begun) = command.strip_suffix('\\') {
                    command = begun.to_owned() + lines.next().unwrap();
                }
                let step = steps.last_mut().expect("a block begins with `# on`");
                step.commands.push(command);
            }
        }
    }
    assert!(!steps.is_empty(), "{heading}");
    steps
}

fn position(node: &str) -> usize {
    node.strip_prefix("node").unwrap().parse::<usize>().unwrap() - 1
}

/// Machines that commands are typed on.
struct Desk<'a> {
    nodes: &'a mut [Server],
    backups: TempDir,
    /// First in PATH.
    programs: TempDir,
}

impl<'a> Desk<'a> {
    fn new(nodes: &'a mut [Server]) -> Self {
        let dir = || TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let (backups, programs) = (dir(), dir());
        // All machines are this one.
        for (name, program) in [
            ("k8s-dqlite", env!("CARGO_BIN_EXE_k8s-dqlite")),
            ("scp", "/bin/cp"),
        ] {
            std::os::unix::fs::symlink(program, programs.path().join(name)).unwrap();
        }
        Self {
            nodes,
            backups,
            programs,
        }
    }

    async fn follow(&mut self, heading: &str) {
        for Step { nodes, commands } in steps(heading) {
            for at in nodes {
                for command in &commands {
                    self.type_in(at, command).await;
                }
            }
        }
    }

    async fn type_in(&mut self, at: usize, command: &str) {
        match command {
            "systemctl stop k8s-dqlite" => drop(self.nodes[at].terminate().await),
            "systemctl start k8s-dqlite" => self.nodes[at].launch(),
            other => self.run(at, other),
        }
    }

    fn run(&self, at: usize, command: &str) {
        let command = self.here(at, command);
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("timeout")
            .args([LIMIT_S, "bash", "-euo", "pipefail", "-c", &command])
            .env("PATH", format!("{}:{path}", self.programs.path().display()))
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(
            output.status.success(),
            "{command}: {}\n{}\n{}",
            output.status,
            String::from_utf8_lossy(&said),
            self.nodes[at].output()
        );
    }

    /// The command with the paths and addresses of the test.
    fn here(&self, at: usize, command: &str) -> String {
        let path = |dir: PathBuf| dir.to_str().unwrap().to_owned();
        let mut text = command.replace("/backup/", &path(self.backups.path().join("")));
        for (number, node) in (1..).zip(&*self.nodes) {
            let dir = path(node.storage_dir());
            let address = format!("127.0.0.1:{}", node.node_port());
            text = text
                .replace(&format!("node{number}:/var/lib/k8s-dqlite"), &dir)
                .replace(&format!("10.0.0.{number}:29001"), &address);
        }
        let client = format!("127.0.0.1:{}", self.nodes[at].client_port());
        text.replace("/var/lib/k8s-dqlite", &path(self.nodes[at].storage_dir()))
            .replace("127.0.0.1:12379", &client)
    }
}

fn with_tls() -> Options {
    Options::flags(&["--enable-tls=true"])
}

/// Asserts that the keys of the backup are there, and no later ones.
async fn assert_restored(node: &Server) {
    let api = node.api().await;
    let early = api.ask(get("early")).await;
    assert_eq!(early.kvs[0].value, "1");
    assert!(early.header.unwrap().revision > BUMPED);
    assert_eq!(api.ask(get("late")).await.count, 0);
}

#[tokio::test]
async fn one_node_is_restored() {
    let mut server = Server::prepare(Kind::K8sDqlite, with_tls());
    make_pair(&server.storage_dir());
    server.restart().await;
    let api = server.api().await;
    let mut nodes = [server];
    let mut desk = Desk::new(&mut nodes);
    api.put("early", "1").await;
    desk.follow("### Backup").await;
    api.put("late", "1").await;
    desk.follow("#### Restore one node").await;
    assert_restored(&nodes[0]).await;
}

#[tokio::test]
async fn three_nodes_are_restored() {
    let mut trio = Trio::start_with(&with_tls()).await;
    let api = trio.nodes[0].api().await;
    let mut desk = Desk::new(&mut trio.nodes);
    api.put("early", "1").await;
    desk.follow("### Backup").await;
    api.put("late", "1").await;
    desk.follow("#### Restore three nodes").await;
    trio.wait_for_voters(3).await;
    for node in &mut trio.nodes {
        node.ready().await;
        assert_restored(node).await;
    }
}

#[tokio::test]
async fn one_of_three_is_recovered() {
    let mut trio = Trio::start_with(&with_tls()).await;
    // It has all that was acknowledged.
    let leader = trio.leader().await;
    trio.nodes.swap(0, leader);
    trio.nodes[0].api().await.put("early", "1").await;
    for lost in &mut trio.nodes[1..] {
        lost.kill9();
        std::fs::remove_dir_all(lost.storage_dir()).unwrap();
    }
    let mut desk = Desk::new(&mut trio.nodes);
    desk.follow("### When a majority is lost").await;
    trio.wait_for_voters(3).await;
    for node in &mut trio.nodes {
        node.ready().await;
        assert_eq!(node.api().await.ask(get("early")).await.count, 1);
    }
}

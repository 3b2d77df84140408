//! Our own commands, formats and scripts.

use std::fs;
use std::process::{Command, Stdio};

use crate::cluster::Cluster;
use crate::pair::Flaw;
use crate::run::{OURS, REFUSED, run, run_with_input, until};

#[test]
fn roles_and_leadership_can_be_moved() {
    let cluster = Cluster::start(3);
    let leader = cluster.leader();
    let next = cluster.nodes[(leader + 1) % 3].address.clone();
    cluster.shell(&[&format!(".transfer {next}")]).good();
    until("the other one leads", || {
        cluster.shell(&[".leader"]).stdout.trim() == next
    });
    let other = cluster.nodes[leader].address.clone();
    // A session goes on with the next leader, but for its transaction.
    let script = format!(
        ".headers off\nselect 1;\n.transfer {other}\nselect 2;\nbegin;\n.transfer {next}\nselect 3;\n"
    );
    let arguments = cluster.arguments(&["k8s"]);
    let ran = run_with_input(
        &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
        &script,
    );
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (13, "1\t\n2\t\n"),
        "{ran:?}"
    );
    assert!(
        ran.stderr.contains("the transaction was rolled back"),
        "{ran:?}"
    );
    until("the other one leads again", || {
        cluster.shell(&[".leader"]).stdout.trim() == next
    });
    cluster
        .shell(&["--force", &format!(".assign {other} spare")])
        .good();
    until(
        "it is a spare, or a voter again by the leader's care",
        || cluster.shell(&[".cluster"]).stdout.contains(&other),
    );
    let error = cluster.shell(&[".transfer 10.0.0.1:1"]).failed(REFUSED);
    assert!(error.contains("no node has address"), "{error}");
    assert!(
        cluster
            .shell(&[&format!(".assign {other} king")])
            .failed(2)
            .contains("bad role")
    );
    assert!(
        cluster
            .shell(&[&format!(".add {other}")])
            .failed(REFUSED)
            .contains("already")
    );
    // One that does not exist counts as a spare, and goes again.
    let added = cluster.shell(&[".add 127.0.0.1:1 abc123"]).good();
    assert_eq!(added, "abc123|127.0.0.1:1|spare\n");
    assert!(
        cluster
            .shell(&[".cluster"])
            .good()
            .contains("abc123|127.0.0.1:1|spare")
    );
    assert_eq!(cluster.shell(&[".remove 127.0.0.1:1"]).good(), "");
}

#[test]
fn a_backup_is_a_database() {
    let cluster = Cluster::start(1);
    cluster.put("key", "value");
    let path = cluster.path().join("my backup.db");
    let command = format!(".backup '{}'", path.display());
    assert_eq!(cluster.shell(&["k8s", &command]).good(), "OK\n");
    let copy = rusqlite::Connection::open(&path).unwrap();
    let name: String = copy
        .query_row("SELECT name FROM kine", [], |row| row.get(0))
        .unwrap();
    assert_eq!(name, "key");
    drop(copy);
    assert!(
        cluster
            .shell(&["k8s", &command])
            .failed(REFUSED)
            .contains("exists")
    );
    assert_eq!(cluster.shell(&["--yes", "k8s", &command]).good(), "OK\n");
    let error = cluster
        .shell(&[
            "nowhere",
            &format!(".backup {}/x", cluster.path().display()),
        ])
        .failed(1);
    assert!(error.contains("nowhere"), "{error}");
    assert!(!cluster.path().join("x").exists());
    let left: Vec<_> = fs::read_dir(cluster.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().contains(".part")),
        "{left:?}"
    );
    let running = format!(".last-entry {}", cluster.nodes[0].dir.display());
    assert!(
        cluster
            .shell(&[&running])
            .failed(REFUSED)
            .contains("in use by")
    );
}

#[test]
fn tables_and_their_sql_are_listed() {
    let cluster = Cluster::start(1);
    assert_eq!(
        cluster.shell(&["k8s", ".tables"]).good(),
        "batch\ndead\nkine\nlease\nmeta\nsetting\n"
    );
    let schema = cluster.shell(&["k8s", ".schema META"]).good();
    assert!(
        schema.starts_with("CREATE TABLE meta (") && schema.trim_end().ends_with(';'),
        "{schema}"
    );
    cluster
        .shell(&["other", "create table t (a); create index i on t (a)"])
        .good();
    assert_eq!(cluster.shell(&["other", ".indexes"]).good(), "i\n");
    assert_eq!(cluster.shell(&["other", ".indexes nowhere"]).good(), "");
    assert_eq!(
        cluster.shell(&["-f", "json", "other", ".indexes t"]).good(),
        "[\n{\"name\":\"i\"}\n]\n"
    );
}

#[test]
fn settings_scripts_and_files_work_together() {
    let cluster = Cluster::start(1);
    let dir = cluster.path();
    let (script, results) = (dir.join("script.sql"), dir.join("results.csv"));
    fs::write(
        &script,
        format!(
            ".mode csv\n.nullvalue -\n.output {}\nselect 1 as a,\n  null as b; -- and; so on\n.output\n.headers off\nselect 'x;y';",
            results.display()
        ),
    )
    .unwrap();
    let read = format!(".read {}", script.display());
    assert_eq!(cluster.shell(&["k8s", &read]).good(), "x;y\r\n");
    assert_eq!(fs::read_to_string(&results).unwrap(), "a,b\r\n1,-\r\n");
    fs::write(&script, format!("{read}\n")).unwrap();
    assert!(cluster.shell(&["k8s", &read]).failed(2).contains("scripts"));
    let arguments = cluster.arguments(&["k8s"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let ran = run_with_input(&arguments, "select 1 as a;\nselec;\nselect 2;\n");
    assert_eq!(
        (ran.code, ran.stdout.as_str()),
        (1, "a\t\n1\t\n"),
        "the first error ends a script"
    );
    assert!(ran.stderr.contains("syntax error"), "{}", ran.stderr);
    assert_eq!(run_with_input(&arguments, ".quit\nselect 1;").good(), "");
    let timed = run_with_input(&arguments, ".timer on\nselect 1;");
    assert!(
        timed.code == 0 && timed.stderr.ends_with(" s\n"),
        "{timed:?}"
    );
}

#[test]
fn a_cluster_without_tls_and_a_list_of_servers_do() {
    let cluster = Cluster::start_with(1, None::<Flaw>);
    let address = &cluster.nodes[0].address;
    let list = format!("127.0.0.1:1,{address}");
    let shown = run(OURS, &["-s", &list, "--timeout", "20000", "k8s", ".leader"]).good();
    assert_eq!(shown.trim_end(), address);
    let shown = run(
        OURS,
        &[
            "-s",
            "127.0.0.1:1",
            "-s",
            address,
            "--timeout=0",
            "-f=json",
            "k8s",
            "select 1 as a",
        ],
    )
    .good();
    assert_eq!(shown, "[\n{\"a\":1}\n]\n");
}

/// 50 MB: 500 rows of 100 kB.
const LARGE: &str = "with recursive n(x) as (select 1 union all select x + 1 from n where x < 500) \
    select x, hex(zeroblob(50000)) as h from n";

#[test]
fn a_large_result_takes_little_memory() {
    let cluster = Cluster::start(1);
    for format in ["tabular", "json", "csv", "box", "line"] {
        let arguments = cluster.arguments(&["-f", format, "k8s", LARGE]);
        let mut child = Command::new(OURS)
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Nothing is shown before all of it has been fetched, so the peak is known at the first byte.
        let mut stdout = child.stdout.take().unwrap();
        let mut first = [0; 1];
        std::io::Read::read_exact(&mut stdout, &mut first).unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let peak = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap();
        let peak_kb: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(peak_kb < 48 * 1024, "{format}: {peak}");
        let rest = std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
        assert!(rest > 50_000_000, "{format}: {rest}");
        assert!(child.wait().unwrap().success());
    }
}

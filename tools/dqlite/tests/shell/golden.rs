//! Byte for byte what the original prints.

use std::fs;

use crate::cluster::Cluster;
use crate::run::{OURS, original, run, run_in, until};

/// Statements whose rows are compared; the tables are made by `fill`.
const QUERIES: [&str; 17] = [
    "select id, name, value from kine limit 100",
    "select * from kine",
    "select 1; select 2",
    "select 'it''s' as x, null as y, 1.5, -0.0, 1e6, 999999.0, 1e-5, 1e300, 9223372036854775807",
    "select x'00ff41', x''",
    "select '日本' as 日本, 'é', 'longer than one tab stop'",
    "values (1, 'tab\tin\tit', 2), (2, 'line\nbreak', 3), (3, 'vertical\x0btab', 4), (4, 'form\x0cfeed', 5)",
    "values ('short'), ('ends with a break\n')",
    "select 1 where 0",
    "with recursive n(x) as (select 1 union all select x + 1 from n where x < 3000) select x, x * x from n",
    "pragma user_version",
    "pragma table_info(kine)",
    "select count(*) from sqlite_master",
    "explain query plan select * from kine where id = 1",
    "select name, type from sqlite_master order by name",
    "select -9223372036854775808, 0.1, 123456789.125",
    "select '\x0b', '\t', '\n'",
];

const COMMANDS: [&str; 2] = [".cluster", ".leader"];

fn fill(cluster: &Cluster) {
    for (key, value) in [
        ("/registry/pods/a", "x"),
        ("/registry/pods/b", "y\tz"),
        ("b", ""),
    ] {
        cluster.put(key, value);
    }
}

fn compare(cluster: &Cluster, original: &std::path::Path) {
    for query in QUERIES {
        let theirs = cluster.run(original, &["k8s", query]).good();
        assert_eq!(cluster.shell(&["k8s", query]).good(), theirs, "{query}");
    }
    let describe: Vec<String> = cluster
        .nodes
        .iter()
        .map(|node| format!(".describe {}", node.address))
        .collect();
    let describe = describe.iter().map(String::as_str);
    for command in COMMANDS.into_iter().chain(describe) {
        for format in ["tabular", "json"] {
            let theirs = cluster
                .run(original, &["-f", format, "k8s", command])
                .good();
            assert_eq!(
                cluster.shell(&["-f", format, "k8s", command]).good(),
                theirs,
                "{command} {format}"
            );
        }
    }
    let first = &cluster.nodes[0].address;
    for (program, weight) in [(original, 3), (std::path::Path::new(OURS), 4)] {
        let set = format!(".weight {first} {weight}");
        assert_eq!(cluster.run(program, &["k8s", &set]).good(), "");
        let shown = cluster
            .run(original, &["k8s", &format!(".describe {first}")])
            .good();
        assert_eq!(shown, format!("{first}|0|{weight}\n"));
    }
    for wrong in [
        "select * from nowhere",
        "selec",
        ".remove 10.0.0.1:1",
        ".describe",
        ".weight x y",
    ] {
        assert_eq!(cluster.run(original, &["k8s", wrong]).code, 1, "{wrong}");
        assert_ne!(cluster.shell(&["k8s", wrong]).code, 0, "{wrong}");
    }
}

/// The rows that `fill` made, as the original shows them on any node: the seed's own line.
fn check_the_seeds_lines(cluster: &Cluster, program: &std::path::Path) {
    let rows = cluster
        .run(
            program,
            &["k8s", "select id, name, value from kine limit 100"],
        )
        .good();
    assert_eq!(
        rows,
        "id\tname\t\t\tvalue\t\t\n2\t/registry/pods/a\t[120]\t\t\n3\t/registry/pods/b\t[121 9 122]\t\n4\tb\t\t\t[]\t\t\n"
    );
    let members = cluster
        .run(program, &["-f", "json", "k8s", ".cluster"])
        .good();
    let members: serde_json::Value = serde_json::from_str(&members).unwrap();
    let members = members.as_array().unwrap();
    assert_eq!(members.len(), cluster.nodes.len());
    for node in &cluster.nodes {
        let member = members
            .iter()
            .find(|member| member["Address"] == *node.address)
            .unwrap();
        assert_eq!(member["Role"], 0);
        let info = fs::read_to_string(node.dir.join("info.yaml")).unwrap();
        assert!(info.contains(&format!("ID: {}\n", member["ID"])), "{info}");
    }
    let leader = cluster.run(program, &["k8s", ".leader"]).good();
    assert!(
        cluster
            .nodes
            .iter()
            .any(|node| node.address == leader.trim_end()),
        "{leader}"
    );
}

#[test]
fn one_node_is_shown_as_the_original_shows_it() {
    let cluster = Cluster::start(1);
    fill(&cluster);
    check_the_seeds_lines(&cluster, OURS.as_ref());
    let Some(original) = original() else { return };
    check_the_seeds_lines(&cluster, &original);
    compare(&cluster, &original);
}

#[test]
fn three_nodes_are_shown_as_the_original_shows_them() {
    let mut cluster = Cluster::start(3);
    fill(&cluster);
    check_the_seeds_lines(&cluster, OURS.as_ref());
    let Some(original) = original() else { return };
    check_the_seeds_lines(&cluster, &original);
    compare(&cluster, &original);
    // A copy of one node, by both.
    let address = cluster.nodes[1].address.clone();
    until("the copies are equal", || {
        let mut copies = Vec::new();
        for (name, program) in [("theirs", original.as_path()), ("ours", OURS.as_ref())] {
            let dir = cluster.path().join(name);
            fs::create_dir_all(&dir).unwrap();
            let arguments = cluster.arguments(&["k8s", &format!(".dump {address} k8s")]);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            assert_eq!(run_in(program, &arguments, &dir).good(), "OK\n");
            copies.push([
                fs::read(dir.join("k8s")).unwrap(),
                fs::read(dir.join("k8s-wal")).unwrap(),
            ]);
        }
        copies[0] == copies[1]
    });
    // Removed by one, and by the other; a removed server ends by itself.
    for program in [original.as_path(), OURS.as_ref()] {
        let leader = cluster.leader();
        let gone = (0..cluster.nodes.len()).find(|at| *at != leader).unwrap();
        let mut gone = cluster.nodes.remove(gone);
        let remove = format!(".remove {}", gone.address);
        let arguments = cluster.arguments(&["k8s", &remove]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        assert_eq!(run(program, &arguments).good(), "");
        until("the removed node has ended", || !gone.is_running());
        let shown = cluster.shell(&[".cluster"]).good();
        assert!(!shown.contains(&gone.address), "{shown}");
    }
}

#[test]
fn a_stopped_node_is_reconfigured_as_by_the_original() {
    let mut cluster = Cluster::start(1);
    fill(&cluster);
    let address = cluster.nodes[0].address.clone();
    cluster.nodes[0].kill();
    let programs = [Some(OURS.into()), original()];
    let mut last = Vec::new();
    for (at, program) in programs.into_iter().flatten().enumerate() {
        let copy = cluster.path().join(format!("copy{at}"));
        fs::create_dir(&copy).unwrap();
        for entry in fs::read_dir(&cluster.nodes[0].dir).unwrap() {
            let entry = entry.unwrap();
            if entry.file_name() != "dqlite-lock" {
                fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
            }
        }
        let reconfigure = format!(".reconfigure {0} {0}/cluster.yaml", copy.display());
        // It connects to nobody.
        assert_eq!(
            run(program, &["-s", &address, "k8s", &reconfigure]).good(),
            "OK\n"
        );
        let entry = format!(".last-entry {}", copy.display());
        last.push(run(OURS, &["-s", &address, &entry]).good());
    }
    assert!(last.iter().all(|entry| *entry == last[0]), "{last:?}");
    let (term, index) = last[0].trim_end().split_once('|').unwrap();
    assert!(term.parse::<u64>().unwrap() > 0 && index.parse::<u64>().unwrap() > 3);
}

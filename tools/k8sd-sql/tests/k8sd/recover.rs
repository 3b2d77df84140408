//! `k8sd recover`: after a majority is lost.

use std::{
    fs,
    os::unix::fs::{MetadataExt, lchown},
    path::{Path, PathBuf},
};

use crate::daemon::{Daemon, wait_for};

/// Three members that vote, with a table of ours.
pub fn three() -> Vec<Daemon> {
    let first = Daemon::bootstrapped("node1");
    let mut nodes = vec![first];
    for name in ["node2", "node3"] {
        let node = Daemon::start();
        node.joined(&nodes[0], name);
        nodes.push(node);
    }
    wait_for("three voters", || {
        nodes[0].good(&["members"]).matches("voter").count() == 3
    });
    let knows_all = |node: &Daemon| {
        let known = fs::read_to_string(node.dir().join("database/cluster.yaml"));
        known.is_ok_and(|known| known.matches("Address:").count() == 3)
    };
    wait_for("all to know all", || nodes.iter().all(knows_all));
    nodes[0].good(&["sql", "create table t (a); insert into t values (42)"]);
    nodes
}

pub fn count(node: &Daemon, sql: &str) -> String {
    let out = node.good(&["sql", "--format", "csv", sql]);
    out.lines().last().unwrap_or_default().to_owned()
}

#[test]
fn one_of_three_is_recovered_works_and_takes_new_members() {
    let mut nodes = three();
    assert!(nodes[0].bad(&["recover"]).contains("the daemon runs"));
    nodes[0].kill();
    let told = nodes[0].bad(&["recover", "--yes"]);
    assert!(told.contains("other members run"), "{told}");
    nodes[1].kill();
    nodes[2].kill();
    // The socket of a daemon that was killed is in nobody's way.
    assert!(nodes[0].dir().join("control.socket").exists());
    let others = [nodes[1].dir().to_owned(), nodes[2].dir().to_owned()];
    let compare = others.each_ref().map(|dir| dir.to_str().unwrap());
    let force = "--force=lose-newer-data";
    let told = nodes[0].good(&["recover", compare[0], compare[1], force]);
    assert!(told.contains("Nothing is changed yet"), "{told}");
    assert_eq!(told.matches(", term ").count(), 3, "{told}");
    let daemon_file = fs::read(nodes[0].dir().join("daemon.yaml")).unwrap();
    let told = nodes[0].good(&["recover", compare[0], compare[1], force, "--yes"]);
    assert!(told.contains("node2") && told.contains("node3"), "{told}");
    assert_eq!(
        fs::read(nodes[0].dir().join("daemon.yaml")).unwrap(),
        daemon_file
    );
    nodes[0].start_again();
    assert_eq!(count(&nodes[0], "select a from t"), "42");
    assert_eq!(nodes[0].good(&["members"]).matches("node").count(), 1);
    assert!(!nodes[0].dir().join("patch.global.sql").exists());
    assert!(nodes[0].good(&["cluster", "check"]).is_empty());
    let backups = fs::read_dir(nodes[0].dir()).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("db_backup.")
    });
    assert_eq!(backups.count(), 1);
    // One that was dropped and comes back with its old data is not let in.
    nodes[1].launch();
    wait_for("the dropped member's socket", || {
        let told = nodes[1].run(&["status"]).stderr;
        String::from_utf8_lossy(&told).contains("still starting")
    });
    nodes[0].good(&[
        "sql",
        "insert into t values (41); delete from t where a = 41",
    ]);
    nodes[1].kill();
    let new = Daemon::start();
    new.joined(&nodes[0], "node2");
    assert_eq!(count(&new, "select a from t"), "42");
    nodes[0].good(&["sql", "insert into t values (43)"]);
}

#[test]
fn what_root_recovers_belongs_to_the_daemons_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    const OWNER: (u32, u32) = (1234, 1235);
    let mut node = Daemon::bootstrapped("node1");
    node.kill();
    for path in below(node.dir()) {
        lchown(path, Some(OWNER.0), Some(OWNER.1)).unwrap();
    }
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let changed = format!("{}={}", node.address, free.local_addr().unwrap());
    drop(free);
    for arguments in [
        &["recover", "--yes", "--addresses", &changed][..],
        &["recover", "--yes"],
    ] {
        // A backup is named by its second, and never written over.
        wait_for("the next second", || node.run(arguments).status.success());
        assert!(node.dir().join("patch.global.sql").exists());
        for path in below(node.dir()) {
            let found = fs::symlink_metadata(&path).unwrap();
            assert_eq!((found.uid(), found.gid()), OWNER, "{}", path.display());
        }
    }
}

/// Returns a directory, and all that is in it.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut all = vec![dir.to_owned()];
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() && !path.is_symlink() {
            true => all.extend(below(&path)),
            false => all.push(path),
        }
    }
    all
}

#[test]
fn a_recovery_can_be_run_again() {
    let mut node = Daemon::bootstrapped("node1");
    node.good(&["sql", "create table t (a); insert into t values (42)"]);
    node.kill();
    node.good(&["recover", "--yes"]);
    // A backup is named by its second, and never written over.
    wait_for("the next second", || {
        node.run(&["recover", "--yes"]).status.success()
    });
    node.start_again();
    assert_eq!(count(&node, "select a from t"), "42");
    assert_eq!(node.good(&["members"]).matches("node").count(), 1);
}

#[test]
fn a_stale_directory_is_not_recovered_without_a_word_for_it() {
    let mut nodes = three();
    nodes[2].kill();
    nodes[0].good(&["sql", "insert into t values (43)"]);
    nodes[0].kill();
    nodes[1].kill();
    let newer = nodes[0].dir().to_str().unwrap().to_owned();
    let told = nodes[2].bad(&["recover", &newer, "--yes"]);
    assert!(
        told.contains("STALE") && told.contains("lose-newer-data"),
        "{told}"
    );
    assert!(!nodes[2].dir().join("patch.global.sql").exists());
}

#[test]
fn two_of_three_go_on_with_an_archive_and_a_new_address() {
    let mut nodes = three();
    nodes.iter_mut().for_each(Daemon::kill);
    let (compare, new_address) = (nodes[1].dir().to_str().unwrap().to_owned(), {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().to_string()
    });
    let members = format!("node1,node2={new_address}");
    let force = "--force=lose-newer-data";
    nodes[0].good(&["recover", &compare, "--members", &members, force, "--yes"]);
    let archive = nodes[0].dir().join("recovery_db.others.tar.gz");
    // One of another cluster is refused, and stays for a person to see.
    let there = nodes[1].dir().join("recovery_db.tar.gz");
    fs::write(&there, b"no archive").unwrap();
    assert!(!nodes[1].serve_to_its_end().success());
    assert!(there.exists());
    fs::copy(&archive, &there).unwrap();
    fs::copy(&archive, nodes[2].dir().join("recovery_db.tar.gz")).unwrap();
    assert!(
        !nodes[2].serve_to_its_end().success(),
        "it is not one of them"
    );
    let (first, others) = nodes.split_at_mut(1);
    first[0].launch();
    others[0].start_again();
    wait_for("both members", || {
        let members = first[0].run(&["members"]).stdout;
        String::from_utf8_lossy(&members).matches("ONLINE").count() == 2
    });
    let members = first[0].good(&["members"]);
    assert!(
        members.contains(&new_address) && !members.contains("node3"),
        "{members}"
    );
    assert_eq!(count(&others[0], "select a from t"), "42");
    assert!(!there.exists());
    first[0].good(&["sql", "insert into t values (43)"]);
}

#[test]
fn sql_that_was_left_for_the_next_start_is_run_once_and_as_a_whole() {
    let mut node = Daemon::bootstrapped("node1");
    node.good(&["sql", "create table t (a)"]);
    node.kill();
    let patch = node.dir().join("patch.global.sql");
    fs::write(
        &patch,
        "insert into t values (1);\ninsert into nope values (1);\n",
    )
    .unwrap();
    assert!(!node.serve_to_its_end().success());
    assert!(patch.exists());
    fs::write(
        &patch,
        "insert into t values (1);\ninsert into t values (';');\n",
    )
    .unwrap();
    node.start_again();
    assert!(!patch.exists());
    node.kill();
    node.start_again();
    assert_eq!(count(&node, "select count(*) from t"), "2");
}

#[test]
fn a_member_whose_database_is_gone_does_not_begin_another() {
    let mut node = Daemon::bootstrapped("node1");
    node.kill();
    fs::remove_dir_all(node.dir().join("database")).unwrap();
    assert!(!node.serve_to_its_end().success());
    assert!(node.bad(&["recover"]).contains("database"));
}

#[test]
fn all_members_move_to_other_addresses_and_keep_their_data() {
    let mut nodes = three();
    let free: Vec<_> = (0..3)
        .map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap())
        .collect();
    let new: Vec<String> = free
        .iter()
        .map(|it| it.local_addr().unwrap().to_string())
        .collect();
    drop(free);
    let moved = nodes.iter().zip(&new);
    let moved: Vec<_> = moved
        .map(|(node, new)| format!("{}={new}", node.address))
        .collect();
    let all = moved.join(",");
    let command = ["recover", "--addresses", &all, "--yes"];
    assert!(nodes[0].bad(&command).contains("the daemon runs"));
    nodes[0].kill();
    assert!(nodes[0].bad(&command).contains("others still run"));
    nodes.iter_mut().for_each(Daemon::kill);
    let told = nodes[0].bad(&["recover", "--addresses", &moved[0], "--yes"]);
    assert!(told.contains("is missing: write"), "{told}");
    let told = nodes[0].good(&command[..3]);
    assert!(told.contains("Nothing is changed yet"), "{told}");
    for node in &nodes {
        let told = node.good(&command);
        assert!(told.contains("Done"), "{told}");
    }
    // As if it had been interrupted.
    nodes[1].good(&command);
    nodes.iter_mut().for_each(Daemon::launch);
    wait_for("all members at their new addresses", || {
        let members = nodes[2].run(&["members"]).stdout;
        let members = String::from_utf8_lossy(&members).into_owned();
        members.matches("ONLINE").count() == 3 && new.iter().all(|it| members.contains(it))
    });
    assert_eq!(count(&nodes[1], "select a from t"), "42");
    nodes[1].good(&["sql", "insert into t values (43)"]);
    assert_eq!(nodes[0].good(&["cluster", "check"]), "");
    let patches = nodes
        .iter()
        .filter(|it| it.dir().join("patch.global.sql").exists());
    assert_eq!(patches.count(), 0);
    nodes[0].restart(&[]);
    wait_for("the member to be at its new address again", || {
        let told = nodes[0].run(&["status"]).stdout;
        String::from_utf8_lossy(&told).contains(&new[0])
    });
}

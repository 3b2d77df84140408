//! Directories as they are found at a start, and the node each of them belongs to.

use std::fs;

use super::*;
use crate::files::{CLUSTER_FILE, INFO_FILE};

const ADDRESS: &str = "10.0.0.1:9000";
const ALONE: Wanted<'_> = Wanted {
    address: Some(ADDRESS),
    cluster: &[],
};

fn members() -> Vec<String> {
    ["10.0.0.2:9000", "10.0.0.3:9000", "10.0.0.2:9000"]
        .map(str::to_owned)
        .to_vec()
}

fn run(dir: &Path, wanted: Wanted<'_>) -> Result<Identity, FileError> {
    identify(&DirLock::acquire(dir).unwrap(), wanted)
}

fn give_data(dir: &Path) {
    fs::write(dir.join("metadata1"), "").unwrap();
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

#[test]
fn the_first_node_begins_a_cluster_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = run(dir.path(), ALONE).unwrap();
    assert!(first.bootstrap && !first.is_joining && first.id != BOOTSTRAP_ID);
    assert_eq!(first.cluster, unknown(&[ADDRESS.to_owned()]));
    let info = format!("ID: {}\nAddress: {ADDRESS}\nRole: 0\n", first.id);
    assert_eq!(read(dir.path(), INFO_FILE), info);
    assert_eq!(
        read(dir.path(), CLUSTER_FILE),
        format!("- ID: 0\n  Address: {ADDRESS}\n  Role: 0\n")
    );
    assert_eq!(
        run(dir.path(), ALONE).unwrap(),
        first,
        "before the engine was started"
    );

    give_data(dir.path());
    bootstrapped(dir.path()).unwrap();
    let again = run(
        dir.path(),
        Wanted {
            address: None,
            cluster: &[],
        },
    )
    .unwrap();
    assert_eq!(
        again,
        Identity {
            bootstrap: false,
            ..first
        }
    );
}

#[test]
fn a_joining_node_joins_until_it_is_a_member() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), members());
    let wanted = Wanted {
        address: Some(ADDRESS),
        cluster: &cluster,
    };
    let first = run(dir.path(), wanted).unwrap();
    assert!(first.is_joining && !first.bootstrap && first.id != BOOTSTRAP_ID);
    assert_eq!(first.cluster, unknown(&cluster[..2]));
    assert_eq!(read(dir.path(), JOIN), "");
    assert_eq!(run(dir.path(), wanted).unwrap(), first);
    give_data(dir.path());
    joined(dir.path()).unwrap();
    let again = run(dir.path(), ALONE).unwrap();
    assert_eq!(
        again,
        Identity {
            is_joining: false,
            ..first
        }
    );
}

#[test]
fn a_crash_between_any_two_writes_needs_no_repair() {
    let cluster = members();
    for wanted in [
        ALONE,
        Wanted {
            address: Some(ADDRESS),
            cluster: &cluster,
        },
    ] {
        let complete = tempfile::tempdir().unwrap();
        let expected = run(complete.path(), wanted).unwrap();
        let flag = if expected.bootstrap { BOOTSTRAP } else { JOIN };
        let written = [flag, CLUSTER_FILE, INFO_FILE];
        for count in 0..=written.len() {
            let dir = tempfile::tempdir().unwrap();
            for name in &written[..count] {
                fs::copy(complete.path().join(name), dir.path().join(name)).unwrap();
            }
            fs::write(dir.path().join("tmp-info.yaml"), "ID:").unwrap();
            let found = run(dir.path(), wanted).unwrap();
            let has_id = count == written.len();
            let id = if has_id { expected.id } else { found.id };
            assert_eq!(
                found,
                Identity {
                    id,
                    ..expected.clone()
                },
                "after {count} writes"
            );
        }
    }
}

#[test]
fn a_new_node_that_changes_its_mind_leaves_one_flag() {
    let (dir, cluster) = (tempfile::tempdir().unwrap(), members());
    flag::set(dir.path(), BOOTSTRAP).unwrap();
    let joining = run(
        dir.path(),
        Wanted {
            address: Some(ADDRESS),
            cluster: &cluster,
        },
    )
    .unwrap();
    assert!(joining.is_joining && !joining.bootstrap);
    assert!(!flag::is_set(dir.path(), BOOTSTRAP).unwrap());
}

#[test]
fn a_directory_of_go_dqlite_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    give_data(dir.path());
    let info = format!("ID: 7\nAddress: {ADDRESS}\nRole: 0\n");
    let cluster = "- ID: 7\n  Address: 10.0.0.1:9000\n  Role: 0\n\
                   - ID: 8\n  Address: '[::1]:9000'\n  Role: 1\n";
    fs::write(dir.path().join(INFO_FILE), &info).unwrap();
    fs::write(dir.path().join(CLUSTER_FILE), cluster).unwrap();
    let identity = run(
        dir.path(),
        Wanted {
            address: None,
            cluster: &[],
        },
    )
    .unwrap();
    assert_eq!(
        (identity.id, identity.address.as_str()),
        (NodeId::new(7), ADDRESS)
    );
    assert_eq!(identity.cluster[1].address, "[::1]:9000");
    assert_eq!(read(dir.path(), CLUSTER_FILE), cluster);
}

#[test]
fn one_lost_file_is_made_up_for() {
    let dir = tempfile::tempdir().unwrap();
    give_data(dir.path());
    let own = Server {
        id: NodeId::new(7),
        address: ADDRESS.to_owned(),
        role: Role::Voter,
    };
    let other = Server {
        id: NodeId::new(8),
        address: "10.0.0.2:9000".to_owned(),
        role: Role::Voter,
    };
    write_cluster(dir.path(), &[other, own.clone()]).unwrap();
    let lost = run(
        dir.path(),
        Wanted {
            address: Some("10.0.0.9:9000"),
            cluster: &[],
        },
    );
    assert!(matches!(lost, Err(FileError::IdLost { .. })), "{lost:?}");
    assert_eq!(run(dir.path(), ALONE).unwrap().id, NodeId::new(7));
    assert_eq!(read_info(dir.path()).unwrap(), Some(own));

    fs::remove_file(dir.path().join(CLUSTER_FILE)).unwrap();
    let identity = run(
        dir.path(),
        Wanted {
            address: None,
            cluster: &members(),
        },
    )
    .unwrap();
    let addresses: Vec<_> = identity
        .cluster
        .iter()
        .map(|s| s.address.as_str())
        .collect();
    assert_eq!(addresses, [ADDRESS, "10.0.0.2:9000", "10.0.0.3:9000"]);
    assert_eq!(read_cluster(dir.path()).unwrap(), Some(identity.cluster));
}

#[test]
fn what_cannot_be_decided_is_refused_with_a_way_out() {
    let check = |files: &[(&str, &str)], wanted: Wanted<'_>, expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        for (name, content) in files {
            fs::write(dir.path().join(name), content).unwrap();
        }
        let error = run(dir.path(), wanted).unwrap_err().to_string();
        assert!(error.contains(expected), "{files:?}: {error:?}");
    };
    let nothing = Wanted {
        address: None,
        cluster: &[],
    };
    let info = "ID: 7\nAddress: 10.0.0.1:9000\nRole: 0\n";
    let first = format!("ID: {BOOTSTRAP_ID}\nAddress: 10.0.0.1:9000\nRole: 0\n");
    let cluster = "- ID: 8\n  Address: 10.0.0.2:9000\n  Role: 0\n";
    let other = Wanted {
        address: Some("10.0.0.9:9000"),
        cluster: &[],
    };
    let strange = Wanted {
        address: Some("a\0b"),
        cluster: &members(),
    };

    check(&[], nothing, "needs an address");
    check(&[], strange, "not an address");
    check(
        &[(INFO_FILE, info), ("metadata1", "")],
        other,
        "cannot change it to 10.0.0.9:9000",
    );
    check(
        &[(INFO_FILE, info), (CLUSTER_FILE, cluster)],
        ALONE,
        "lost its data",
    );
    check(
        &[(INFO_FILE, info), (JOIN, "")],
        ALONE,
        "needs the address of a member",
    );
    check(&[(INFO_FILE, &first), (JOIN, "")], ALONE, "remove join");
    check(
        &[(CLUSTER_FILE, cluster)],
        ALONE,
        "neither info.yaml nor data",
    );
    check(&[("metadata1", "")], ALONE, "no info.yaml");
    check(&[(INFO_FILE, "")], ALONE, "info.yaml is damaged: is empty");
    check(&[(INFO_FILE, "ID: 7\n")], ALONE, "Address is missing");
    check(&[(INFO_FILE, "Address: a\n")], ALONE, "ID is missing");
    check(
        &[(CLUSTER_FILE, "- ID: x\n")],
        ALONE,
        "cluster.yaml is damaged",
    );
}

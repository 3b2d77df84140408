//! A copy of a node's directory from some time ago is put in its place, with its mark, while the others run.

use std::path::Path;

use dqlite::cluster::resolver;
use dqlite::files::read_info;
use dqlite::log::verify_directory;
use dqlite::tls::{Tls, TlsOptions, TlsVersion};
use etcd_proto::etcdserverpb::MoveLeaderRequest;
use k8s_dqlite::cluster::peer::Dialer;

use super::text;
use crate::harness::*;
use crate::nodes::trio::{Trio, persist};
use crate::status::run;

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn dialer(dir: &Path) -> Dialer {
    let tls = Tls::load(&TlsOptions {
        certificate: dir.join("cluster.crt"),
        key: dir.join("cluster.key"),
        min_version: TlsVersion::Tls12,
    });
    Dialer::new(resolver(Some(tls.unwrap())))
}

async fn write(trio: &Trio, at: usize, prefix: &str) {
    let api = trio.nodes[at].api().await;
    for n in 0..20 {
        persist(async || api.try_ask(put(format!("{prefix}{n}"), "value")).await).await;
    }
}

async fn make_leader(trio: &Trio, wanted: usize) {
    let info = read_info(&trio.nodes[wanted].storage_dir()).unwrap();
    let target_id = info.unwrap().id.number();
    until("it leads", async || {
        let leader = trio.leader().await;
        if leader != wanted {
            // Refused while it has not caught up.
            let api = trio.nodes[leader].api().await;
            let _ = api.try_ask(MoveLeaderRequest { target_id }).await;
        }
        leader == wanted
    })
    .await;
}

/// Waits until the node at `asked` knows that the log of `dir` has more than the copy of it.
async fn wait_until_remembered(trio: &Trio, asked: usize, dir: &Path, copy: &Path) {
    let (own, found) = (
        read_info(dir).unwrap().unwrap(),
        verify_directory(copy).unwrap(),
    );
    let address = format!("127.0.0.1:{}", trio.nodes[asked].node_port());
    let dialer = dialer(dir);
    until("others remember the newer log", async || {
        let answer = dialer.remembered(&address, own.id).await;
        let end = answer.and_then(|answer| answer.log_end);
        end.is_some_and(|end| (end.term, end.index) > (found.term, found.last_index))
    })
    .await;
}

async fn older_copy_is_refused(leads_before_its_end: bool) {
    let mut trio = Trio::start_with(&Options::flags(&["--enable-tls=true"])).await;
    let leader = trio.leader().await;
    let [copied, other] = trio.others(leader);
    write(&trio, other, "early").await;
    assert!(trio.nodes[copied].terminate().await.success());
    let dir = trio.nodes[copied].storage_dir();
    let copy = trio.nodes[copied].path().join("older");
    copy_files(&dir, &copy);
    trio.nodes[copied].restart().await;
    trio.wait_for_voters(3).await;
    if leads_before_its_end {
        make_leader(&trio, copied).await;
    }
    write(&trio, other, "late").await;
    for asked in [leader, other] {
        wait_until_remembered(&trio, asked, &dir, &copy).await;
    }
    if leads_before_its_end {
        trio.nodes[copied].kill9();
    } else {
        assert!(trio.nodes[copied].terminate().await.success());
    }
    std::fs::remove_dir_all(&dir).unwrap();
    copy_files(&copy, &dir);

    trio.nodes[copied].launch();
    let status = trio.nodes[copied].process().wait().await;
    let output = trio.nodes[copied].output();
    assert_eq!(status.code(), Some(6), "{output}");
    for part in ["its log ends at entry", "knows that this node", "--reseed"] {
        assert!(output.contains(part), "{output}");
    }
    trio.nodes[copied].forget_process();
    write(&trio, other, "without").await;
    let done = run(&["recover", "--reseed"], &dir);
    assert!(done.status.success(), "{}", text(&done.stderr));
    trio.nodes[copied].restart().await;
    trio.wait_for_voters_at(other, 3).await;
    let api = trio.nodes[copied].api().await;
    let found = persist(async || api.try_ask(get_range("\0", "\0")).await).await;
    assert_eq!(found.count, 60);
    // All were stopped, and nobody remembers anything: all of them start.
    for node in &mut trio.nodes {
        node.kill9();
    }
    trio.nodes.iter_mut().for_each(Server::launch);
    for node in &mut trio.nodes {
        node.ready().await;
    }
}

#[tokio::test]
async fn an_older_copy_of_a_follower_is_refused_and_seeded_again() {
    older_copy_is_refused(false).await;
}

#[tokio::test]
async fn an_older_copy_of_a_killed_leader_is_refused_and_seeded_again() {
    older_copy_is_refused(true).await;
}

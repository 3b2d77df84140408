//! A node of go-dqlite, the engine without k8s-dqlite.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::cluster::free_port;
use crate::pair::{Flaw, Pair};
use crate::run::{OURS, original, run, until};

struct Demo {
    child: Child,
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(program: &Path, dir: &Path, flags: &[&str]) -> (Demo, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let api = format!("127.0.0.1:{}", free_port());
    let child = Command::new(program)
        .args([
            "--db",
            &address,
            "--api",
            &api,
            "--dir",
            dir.to_str().unwrap(),
        ])
        .args(flags)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (Demo { child }, address)
}

#[test]
fn a_node_of_go_dqlite_is_shown_by_both_alike() {
    let Some(original) = original() else { return };
    let program = original.with_file_name("dqlite-demo");
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(&dir.path().join("pair"), Flaw::default());
    let tls = [
        "-c",
        pair.certificate.to_str().unwrap(),
        "-k",
        pair.key.to_str().unwrap(),
    ];
    for flags in [&[][..], &tls] {
        let (demo, address) = start(&program, dir.path(), flags);
        let arguments = |more: &str| {
            let arguments = [
                &["-s", &address, "--timeout", "20000"],
                flags,
                &["demo", more],
            ]
            .concat();
            arguments.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        let shell = |program: &Path, more: &str| {
            let arguments = arguments(more);
            run(
                program,
                &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
            )
        };
        until("the node leads", || {
            shell(OURS.as_ref(), ".leader").code == 0
        });
        until("the demo has its table", || {
            shell(OURS.as_ref(), "select * from model").code == 0
        });
        assert_eq!(
            shell(OURS.as_ref(), "insert into model values ('a', 'b')").good(),
            ""
        );
        assert_eq!(
            shell(&original, "insert into model values ('c', 'd')").good(),
            ""
        );
        for line in [
            ".cluster",
            ".leader",
            &format!(".describe {address}"),
            "select * from model",
            "select key as longer_than_a_tab_stop, value from model order by key desc",
        ] {
            let theirs = shell(&original, line).good();
            assert_eq!(shell(OURS.as_ref(), line).good(), theirs, "{line}");
        }
        shell(OURS.as_ref(), "delete from model").good();
        // Typed columns, which k8s-dqlite does not have.
        for sql in [
            "create table t (d datetime, b boolean, s timestamp)",
            "insert into t values ('2020-01-01 10:00:00', 1, 1577872800), (null, 0, '2020-01-01T10:00:00.5+02:00')",
        ] {
            shell(OURS.as_ref(), sql).good();
        }
        let theirs = shell(&original, "select * from t").good();
        assert_eq!(shell(OURS.as_ref(), "select * from t").good(), theirs);
        drop(demo);
        std::fs::remove_dir_all(dir.path().join(&address)).unwrap();
    }
}

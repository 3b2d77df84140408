//! `k8sd sql`: what it answers, and from where.

use std::{collections::BTreeMap, fs, path::Path, thread};

use crate::daemon::{Daemon, wait_for};

#[test]
fn sql_splits_as_sqlite_does_and_prints_all_results() {
    let node = Daemon::bootstrapped("node1");
    let text = "create table t (a, b);\ninsert into t values (9007199254740993, ';'), (null, x'ff');\n\n \
        with x as (select * from t) select * from x; -- end;\n";
    let out = node.good(&["sql", text]);
    assert!(out.contains("=> Query 1:\nRows affected: 2\n"), "{out}");
    assert!(
        out.contains("9007199254740993  ;\nNULL              x'ff'\n"),
        "{out}"
    );
    assert_eq!(
        node.good(&["sql", "--format", "go", "select 1, null, 1000000"]),
        "[[1 <nil> 1e+06]]\n"
    );
    assert!(
        node.bad(&["sql", "select * from nope"])
            .contains("no such table: nope")
    );
    assert!(node.bad(&["sql", ";"]).contains("No query provided"));
    node.good(&[
        "sql",
        "create table flags (enabled BOOLEAN, share REAL); insert into flags values (1, 0.5)",
    ]);
    let dump = node.good(&["sql", ".dump"]);
    assert!(
        dump.contains("INSERT INTO \"flags\" VALUES(1,0.5);"),
        "{dump}"
    );
    assert!(
        node.good(&["sql", ".tables"])
            .contains("core_cluster_members")
    );
    let failed = "insert into t values (1, 1); select * from nope";
    node.bad(&["sql", "--transaction", failed]);
    assert_eq!(
        node.good(&["sql", "--format", "go", "select count(*) from t"]),
        "[[2]]\n"
    );
}

#[test]
fn a_value_is_not_too_large_and_a_request_ends_in_its_time() {
    let node = Daemon::start_with(&[("K8SD_SQL_TIMEOUT", "2")]);
    node.good(&["bootstrap", "--name", "node1", "--address", &node.address]);
    let told = node.bad(&["sql", "select length(zeroblob(1000000000))"]);
    assert!(told.contains("too big"), "{told}");
    let taken = node.good(&["sql", "select length(zeroblob(60000000))"]);
    assert!(taken.contains("60000000"), "{taken}");
    let told = node.bad(&["sql", ENDLESS]);
    assert!(
        told.contains("longer than 2 s") && told.contains("--sql-timeout"),
        "{told}"
    );
}

/// Each holds a slot of the daemon and a thread of the engine, and the writing one the lock of the database.
#[test]
fn statements_without_an_end_are_ended_and_give_back_what_they_hold() {
    let node = Daemon::start_with(&[("K8SD_SQL_TIMEOUT", "2")]);
    node.good(&["bootstrap", "--name", "node1", "--address", &node.address]);
    node.good(&["sql", "create table t (a)"]);
    let writing = format!("insert into t {ENDLESS}");
    let rows = ENDLESS.replace("count(*)", "i");
    thread::scope(|scope| {
        let before = node.used_ticks();
        let endless = [ENDLESS, &writing].map(|sql| scope.spawn(|| node.bad(&["sql", sql])));
        wait_for("the statements to run", || node.used_ticks() > before + 20);
        // The daemon writes by itself as well.
        node.good(&["sql", "select 1"]);
        for told in endless.map(|told| told.join().unwrap()) {
            assert!(told.contains("longer than 2 s"), "{told}");
        }
    });
    // The second time, all slots are there again.
    for _ in 0..2 {
        thread::scope(|scope| {
            let endless = [(); 3].map(|()| scope.spawn(|| node.bad(&["sql", ENDLESS])));
            for told in endless.map(|told| told.join().unwrap()) {
                assert!(told.contains("longer than 2 s"), "{told}");
            }
        });
    }
    node.bad(&["sql", &rows]);
    node.good(&["sql", "insert into t values (2)"]);
    assert_eq!(
        node.good(&["sql", "--format", "go", "select count(*) from t"]),
        "[[1]]\n"
    );
}

#[test]
fn without_a_daemon_another_member_answers_and_lets_only_read() {
    let (first, mut second) = pair();
    second.kill();
    let asked = second.run(&[
        "sql",
        "--format",
        "csv",
        "select count(*) from core_cluster_members",
    ]);
    let note = String::from_utf8(asked.stderr).unwrap();
    assert_eq!(
        String::from_utf8(asked.stdout).unwrap(),
        "count(*)\r\n2\r\n",
        "{note}"
    );
    assert!(note.contains("Note: no daemon runs on this node") && note.contains(&first.address));
    assert!(
        second
            .good(&["sql", ".dump"])
            .contains("core_cluster_members")
    );
    for write in [
        "create table t (a)",
        "delete from core_cluster_members",
        "with x as (select 1) insert into cluster_configs (key, value) select 'a', 'b' from x",
        "insert into cluster_configs (key, value) values ('a', 'b') returning id",
        "pragma query_only = off; create table t (a)",
    ] {
        let told = second.bad(&["sql", write]);
        assert!(
            told.contains("read-only") || told.contains("PRAGMA is for"),
            "{write}: {told}"
        );
    }
    assert!(!first.good(&["sql", ".tables"]).contains("\nt\n"));
}

#[test]
fn a_daemon_that_is_down_is_told_in_the_words_of_the_original() {
    let dir = tempfile::tempdir().unwrap();
    let mut node = Daemon::bootstrapped("node1");
    node.kill();
    for (dir, reason) in [
        (dir.path(), "no such file or directory"),
        (node.dir(), "connection refused"),
    ] {
        let asked = sql_in(dir, &["select 1"]);
        let socket = dir.join("control.socket");
        assert_eq!(
            String::from_utf8(asked.stderr).unwrap(),
            format!(
                "Error: Failed to execute the SQL query.\n\nThe error was: \
                 Post \"http://control.socket/core/internal/sql\": dial unix {}: connect: {reason}\n\n\
                 The daemon does not run with this state directory. Start it: k8sd daemon, or in the snap: snap start \
                 k8s-dqlite.k8sd-daemon. Without it, k8sd sql --offline reads a copy of its database.\n",
                socket.display()
            )
        );
        assert_eq!((asked.status.code(), asked.stdout.len()), (Some(13), 0));
    }
    // It asks, and makes nothing.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_stopped_database_is_read_and_not_changed() {
    let mut node = Daemon::bootstrapped("node1");
    node.good(&["sql", "create table t (a); insert into t values (42)"]);
    let told = node.bad(&["sql", "--offline", "select * from t"]);
    assert!(told.contains("the daemon runs"), "{told}");
    node.kill();
    let before = content(node.dir());
    let asked = node.run(&["sql", "--offline", "--format", "csv", "select * from t"]);
    let warning = String::from_utf8(asked.stderr).unwrap();
    assert_eq!(asked.stdout, b"a\r\n42\r\n", "{warning}");
    assert!(warning.contains("never have been committed"), "{warning}");
    assert!(
        node.good(&["sql", "--offline", ".dump"])
            .contains("INSERT INTO \"t\" VALUES(42);")
    );
    assert!(
        node.bad(&["sql", "--offline", "delete from t"])
            .contains("read-only")
    );
    assert_eq!(content(node.dir()), before);
    node.start_again();
    assert_eq!(
        node.good(&["sql", "--format", "go", "select * from t"]),
        "[[42]]\n"
    );
}

#[test]
fn a_value_that_would_abort_the_leader_is_refused_and_can_be_mended() {
    let node = Daemon::bootstrapped("node1");
    node.good(&[
        "sql",
        "create table poison (d DATETIME, b BOOLEAN); insert into poison values (x'00', null)",
    ]);
    let told = node.bad(&["sql", "select * from poison"]);
    assert!(told.contains("would abort the server"), "{told}");
    assert!(
        node.good(&["sql", "select cast(d as text) is not null from poison"])
            .contains('1')
    );
    node.good(&["sql", "update poison set d = null"]);
    assert_eq!(
        node.good(&["sql", "--format", "go", "select d from poison"]),
        "[[<nil>]]\n"
    );
    assert!(
        node.bad(&["sql", "pragma delete_database"])
            .contains("would delete")
    );
    node.good(&["status"]);
}

#[test]
fn a_result_without_an_end_is_refused_with_its_limit() {
    let node = Daemon::bootstrapped("node1");
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n";
    let told = node.bad(&["sql", endless]);
    assert!(told.contains("more than 1000000 rows"), "{told}");
    node.good(&["sql", "select 1"]);
}

const ENDLESS: &str =
    "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n";

#[test]
fn a_daemon_ends_although_a_statement_does_not() {
    let mut node = Daemon::bootstrapped("node1");
    thread::scope(|scope| {
        let before = node.used_ticks();
        scope.spawn(|| node.bad(&["sql", ENDLESS]));
        wait_for("the statement to run", || node.used_ticks() > before + 100);
        node.good(&["shutdown"]);
    });
    node.ends();
}

#[test]
fn a_statement_without_an_end_is_given_up_and_others_go_on() {
    let node = Daemon::bootstrapped("node1");
    thread::scope(|scope| {
        let given_up = scope.spawn(|| node.bad(&["sql", ENDLESS]));
        node.good(&["sql", "create table t (a); insert into t values (1)"]);
        let told = given_up.join().unwrap();
        assert!(told.contains("longer than 30 s"), "{told}");
    });
    node.good(&["sql", "insert into t values (2)"]);
}

/// Checks the flaws of the original's `sql`, each with the right result.
#[test]
fn no_flaw_of_the_original_is_left() {
    let node = Daemon::bootstrapped("node1");
    node.good(&["sql", "create table t (a)"]);
    let csv = |sql: &str| node.good(&["sql", "--format", "csv", sql]);
    for (flaw, sql, expected) in [
        (
            "integers beyond 2^53 are rounded",
            "select 9007199254740993",
            "9007199254740993",
        ),
        ("large numbers get an exponent", "select 1000000", "1000000"),
        (
            "texts and NULL look alike",
            "select null is null, ''",
            "1,\"\"",
        ),
        ("a blob is mangled", "select x'ff00'", "x'ff00'"),
        ("a semicolon in a text splits", "select 'a;b'", "a;b"),
        ("a semicolon in a comment splits", "select 1 /* ; */", "1"),
        (
            "WITH returns nothing",
            "with x as (select 7) select * from x",
            "7",
        ),
        ("VALUES returns nothing", "values (8)", "8"),
        (
            "EXPLAIN returns nothing",
            "explain query plan select 1",
            "SCAN CONSTANT ROW",
        ),
        ("PRAGMA returns nothing", "pragma user_version", "0"),
        ("a line break before SELECT", "\n\tselect 9", "9"),
        ("a comment before SELECT", "/* x */ select 10", "10"),
        (
            "RETURNING returns nothing",
            "insert into t values (5) returning a",
            "5",
        ),
        (
            "a line break at the end is a statement",
            "select 11;\n\n",
            "11",
        ),
        (
            "only the first result is shown",
            "select 1; select 12",
            "12",
        ),
        (
            "a trigger is split",
            "create trigger g after insert on t begin delete from t where a = 1; end; select 13",
            "13",
        ),
    ] {
        let out = csv(sql);
        assert!(out.trim_end().ends_with(expected), "{flaw}: {out:?}");
    }
    let shown = node.good(&["sql", "insert into t values (2), (3)"]);
    assert_eq!(shown, "Rows affected: 2\n", "rows_affected is never shown");
    let shown = node.good(&["sql", "select 1 as name, null as other"]);
    assert_eq!(shown, "name  other\n1     NULL\n", "there is no header");
    for verb in [".dump", ".dump\n", " .schema;\n", ".tables\n"] {
        let shown = node.good(&["sql", verb]);
        assert!(
            shown.contains("core_token_records"),
            "a line break after {verb:?}"
        );
    }
    // Not a panic with exit code 2, nor 30 s of retries.
    for (sql, told) in [
        (";", "No query provided"),
        ("", "No query provided"),
        ("begin", "a transaction of its own"),
        ("vacuum", "VACUUM is not possible"),
        ("select 1; select * from nope", "no such table: nope"),
        ("create table t (a)", "Failed to exec query"),
    ] {
        assert!(node.bad(&["sql", sql]).contains(told), "{sql:?}");
    }
    // A batch may be atomic.
    node.bad(&["sql", "--transaction", "delete from t; select * from nope"]);
    assert!(csv("select count(*) > 0 from t").ends_with("1\r\n"));
    node.good(&[
        "sql",
        "create table feature_status (enabled BOOLEAN, share REAL, at DATETIME, b BLOB); \
         insert into feature_status values (1, 0.5, 1700000000, x'0a'), (0, 1e300, null, null)",
    ]);
    let dump = node.good(&["sql", ".dump"]);
    for row in [
        "VALUES(1,0.5,1700000000,X'0A')",
        "VALUES(0,1.0e+300,NULL,NULL)",
    ] {
        assert!(dump.contains(row), "not every type can be dumped: {dump}");
    }
    assert_eq!(
        csv("select at from feature_status"),
        "at\r\n2023-11-14T22:13:20Z\r\n\r\n",
        "times are in the daemon's zone"
    );
}

#[test]
fn a_dump_is_sql_that_makes_the_same_database() {
    let node = Daemon::bootstrapped("node1");
    node.good(&[
        "sql",
        "create table odd (\"a b\" text, v); \
         insert into odd values ('it''s; -- x' || char(10) || 'two', x'00ff'), (null, 1e300), ('', -0.0)",
    ]);
    let dump = node.good(&["sql", ".dump"]);
    // SQLite itself takes it. A daemon would change the rows of its members meanwhile.
    let again = rusqlite::Connection::open_in_memory().unwrap();
    again.execute_batch(&dump).unwrap();
    let rows = "SELECT group_concat(quote(\"a b\") || quote(v), ' ') FROM odd";
    let odd: String = again.query_row(rows, [], |row| row.get(0)).unwrap();
    assert_eq!(odd, "'it''s; -- x\ntwo'X'00FF' NULL1.0e+300 ''0.0");
    let sequence = "SELECT seq FROM sqlite_sequence WHERE name = 'schemas'";
    let schemas: i64 = again.query_row(sequence, [], |row| row.get(0)).unwrap();
    assert_eq!(schemas, 6);
    let tables = "SELECT sql FROM sqlite_master WHERE name = 'core_cluster_members'";
    let sql: String = again.query_row(tables, [], |row| row.get(0)).unwrap();
    assert!(dump.contains(&format!("{sql};\n")), "{sql}");
}

fn pair() -> (Daemon, Daemon) {
    let first = Daemon::bootstrapped("node1");
    let second = Daemon::start();
    second.joined(&first, "node2");
    wait_for("the second member", || {
        first.good(&["members"]).matches("node").count() == 2
    });
    (first, second)
}

fn sql_in(dir: &Path, args: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_k8sd"))
        .arg("sql")
        .args(args)
        .arg("--state-dir")
        .arg(dir)
        .output()
        .unwrap()
}

/// All files with their bytes.
fn content(dir: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(content(&path));
        } else if path.is_file() {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn exit_codes_are_those_of_the_server() {
    let node = Daemon::bootstrapped("node1");
    for (args, code) in [
        (&["status"][..], 0),
        (&["statuses"], 2),
        (&["token", "add", "node2", "--ttl", "soon"], 2),
        (&["remove", "nobody"], 12),
        (&["sql", "select * from nowhere"], 1),
        (&["--version"], 0),
    ] {
        let output = node.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    }
    assert_eq!(
        node.run(&["token", "add", "node2", "--ttl", "1h30m"])
            .status
            .code(),
        Some(0)
    );
}

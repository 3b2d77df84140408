//! Statements that would harm a server are refused, and the server lives on.

use std::process::{Command, Stdio};

use crate::cluster::Cluster;
use crate::run::{OURS, REFUSED, run_with_input, until};

/// A database beside the server's own.
const OTHER: &str = "other";

#[test]
fn a_value_of_the_wrong_class_does_not_abort_the_server() {
    let mut cluster = Cluster::start(1);
    let other = |sql: &str| cluster.shell(&[OTHER, sql]);
    other("create table t (id integer primary key, d datetime, b boolean)").good();
    other("create index i on t (d); create view v as select d as x from t").good();
    other("insert into t (d, b) values ('2020-01-01 10:00:00', 1), (1577872800, 0), (null, null)")
        .good();
    assert_eq!(
        other("select d, b from t").good(),
        "d\t\t\t\tb\t\n2020-01-01 10:00:00 +0000 UTC\ttrue\t\n2020-01-01 10:00:00 +0000 UTC\tfalse\t\n<nil>\t\t\t\tfalse\t\n"
    );
    let error = other("insert into t (d) values (1.5) returning d").failed(REFUSED);
    assert!(error.contains("RETURNING"), "{error}");
    other("insert into t (d) values (1.5)").good();
    for sql in [
        "select * from t",
        "select x from v",
        "with y as (select d from t) select * from y",
        "select d from t indexed by i where d > 1",
        "begin; select * from t",
    ] {
        let error = other(sql).failed(REFUSED);
        assert!(error.contains("would abort"), "{sql}: {error}");
    }
    // Looking at it otherwise, what does not touch the table, and the repair still run.
    assert_eq!(
        other("select typeof(d) as c, cast(d as text) as x from t where typeof(d) = 'real'").good(),
        "c\tx\t\nreal\t1.5\t\n"
    );
    assert_eq!(
        other("select count(*) as n from sqlite_master").good(),
        "n\t\n3\t\n"
    );
    other("update t set d = null where typeof(d) = 'real'").good();
    other("select * from t").good();
    other("insert into t (b) values ('yes')").good();
    assert!(other("select b from t").failed(REFUSED).contains("BOOLEAN"));
    assert!(cluster.nodes[0].is_running());
}

#[test]
fn rows_of_a_write_do_not_block_the_server() {
    let mut cluster = Cluster::start(1);
    let other = |sql: &str| cluster.shell(&[OTHER, sql]);
    other("create table t (a integer primary key, b unique)").good();
    assert_eq!(
        other("insert into t values (1, 1) returning a").good(),
        "a\t\n1\t\n"
    );
    // Outside of a transaction it would, and a trigger knows none.
    for keeps_half in [
        "insert or fail into t values (2, 2), (3, 1)",
        "create trigger g before insert on t begin select raise(fail, 'no'); end",
    ] {
        let refused = other(keeps_half).failed(1);
        assert!(refused.contains("ABORT"), "{refused}");
    }
    other("create trigger g before insert on t begin select raise(abort, 'no; not this') where new.a = 9; end").good();
    assert!(
        other("insert into t values (8, 8), (9, 9)")
            .failed(1)
            .contains("no; not this")
    );
    assert_eq!(other("select count(*) as n from t").good(), "n\t\n1\t\n");
    // Others write on.
    cluster.put("key", "value");
    assert!(cluster.nodes[0].is_running());
}

#[test]
fn a_shell_that_is_killed_in_the_middle_of_a_result_blocks_nobody() {
    let mut cluster = Cluster::start(1);
    cluster
        .shell(&[OTHER, "create table t (a integer primary key, b)"])
        .good();
    let insert = "insert into t (b) with recursive n(x) as (select 1 union all select x + 1 from n where x < 200000) \
        select hex(zeroblob(50)) from n returning a, b";
    for _ in 0..2 {
        let before = cluster.nodes[0].cpu_ticks();
        let mut child = Command::new(OURS)
            .args(cluster.arguments(&[OTHER, insert]))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until("the server works on it", || {
            cluster.nodes[0].cpu_ticks() > before + 15
        });
        child.kill().unwrap();
        child.wait().unwrap();
        cluster
            .shell(&[OTHER, "insert into t (b) values (1)"])
            .good();
    }
    assert!(cluster.nodes[0].is_running());
}

#[test]
fn the_servers_own_tables_are_not_written() {
    let mut cluster = Cluster::start(1);
    cluster.put("key", "value");
    for sql in [
        "delete from change",
        "insert into change values (1 << 40, x'00', 0, 1, 0, 1, 0, null) returning id",
        "with x as (select 1) update meta set value = 0",
        "create table extra (a)",
        "pragma user_version = 5",
        "vacuum",
        "begin; drop view kine; commit",
    ] {
        let error = cluster.shell(&["k8s", sql]).failed(REFUSED);
        assert!(error.contains("belongs to k8s-dqlite"), "{sql}: {error}");
    }
    assert!(
        cluster
            .shell(&["k8s", "pragma delete_database"])
            .failed(REFUSED)
            .contains("--force")
    );
    cluster.put("key", "again");
    assert!(cluster.nodes[0].is_running());
    let last = &cluster.nodes[0].address;
    for force in [&[][..], &["--force"]] {
        let remove = format!(".remove {last}");
        let error = cluster
            .shell(&[force, &["--yes", &remove]].concat())
            .failed(REFUSED);
        assert!(error.contains("the last node"), "{error}");
    }
}

#[test]
fn transactions_hold_over_statements_and_end_with_the_input() {
    let cluster = Cluster::start(1);
    let script = |text: &str| {
        let arguments = cluster.arguments(&[OTHER]);
        run_with_input(
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
            text,
        )
    };
    script("create table t (a);\nbegin;\ninsert into t values (1);\ncommit;\n").good();
    assert_eq!(
        script("begin;\ninsert into t values (2);\nselect count(*) as n from t;").good(),
        "n\t\n2\t\n"
    );
    assert_eq!(script("select count(*) as n from t").good(), "n\t\n1\t\n");
    script("begin; savepoint s; insert into t values (3); rollback to s; commit;").good();
    assert_eq!(script("select count(*) as n from t").good(), "n\t\n1\t\n");
    // An error that ends the transaction is told, and what follows does not run outside of it.
    script("create table u (a unique on conflict rollback); insert into u values (1);").good();
    let error = script(
        "begin; insert into u values (2); insert into u values (1); insert into u values (3);",
    )
    .failed(1);
    assert!(error.contains("rolled back"), "{error}");
    assert_eq!(script("select count(*) as n from u").good(), "n\t\n1\t\n");
    for (sql, expected) in [
        ("commit", "no transaction"),
        ("begin; begin", "within a transaction"),
        ("attach ':memory:' as m", "not possible"),
        ("begin; vacuum", "within a transaction"),
        ("savepoint s", "no transaction"),
    ] {
        assert!(
            cluster.shell(&[OTHER, sql]).failed(1).contains(expected),
            "{sql}"
        );
    }
    cluster.shell(&[OTHER, "vacuum"]).good();
}

#[test]
fn too_many_wide_columns_are_an_error_and_not_an_endless_result() {
    let mut cluster = Cluster::start(1);
    let columns: Vec<String> = (0..300)
        .map(|at| format!("{at} as a_very_long_name_of_a_column_{at}"))
        .collect();
    let error = cluster
        .shell(&[OTHER, &format!("select {}", columns.join(", "))])
        .failed(1);
    assert!(error.contains("names of the columns"), "{error}");
    assert!(cluster.nodes[0].is_running());
    cluster.shell(&[OTHER, "select 1"]).good();
}

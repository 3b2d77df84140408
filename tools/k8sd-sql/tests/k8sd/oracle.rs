//! `k8sd sql` against microcluster's side of the exchange, and against Go's print.
//!
//! The answers are written down from microcluster's sources (v3, October 2024; the same in v2); `microcluster.rs`
//! asks one that runs.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
};

/// A request as it came: its line, its Host, its body.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    line: String,
    host: String,
    body: String,
}

/// Runs `k8sd sql` against a socket that gives one answer.
fn exchange(args: &[&str], status: &str, answer: &str) -> (Asked, Output) {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("control.socket")).unwrap();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}\n",
        answer.len() + 1
    );
    let (seen, asked) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // The first connection only asks whether somebody is there.
            if let Some(asked) = read_request(stream.unwrap(), &answer) {
                seen.send(asked).unwrap();
                return;
            }
        }
    });
    let output = sql(dir.path(), args);
    (asked.recv().unwrap(), output)
}

fn read_request(stream: UnixStream, answer: &str) -> Option<Asked> {
    let mut reader = BufReader::new(stream);
    let mut asked = Asked {
        line: String::new(),
        host: String::new(),
        body: String::new(),
    };
    let mut len_bytes = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap() == 0 {
            return None;
        }
        let line = line.trim_end();
        match line.to_ascii_lowercase().split_once(": ") {
            None if line.is_empty() => break,
            None => asked.line = line.to_owned(),
            Some(("host", host)) => asked.host = host.to_owned(),
            Some(("content-length", len)) => len_bytes = len.parse().unwrap(),
            Some(_) => {}
        }
    }
    let mut body = vec![0; len_bytes];
    reader.read_exact(&mut body).unwrap();
    asked.body = String::from_utf8(body).unwrap();
    reader.get_mut().write_all(answer.as_bytes()).unwrap();
    Some(asked)
}

fn sql(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_k8sd"))
        .args(["sql", "--state-dir"])
        .arg(dir)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn success(metadata: &str) -> String {
    format!(
        "{{\"type\":\"sync\",\"status\":\"Success\",\"status_code\":200,\"operation\":\"\",\
         \"error_code\":0,\"error\":\"\",\"metadata\":{metadata}}}"
    )
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn statements_are_asked_and_their_answers_read_as_microcluster_has_them() {
    const QUERY: &str = "SELECT id, name FROM a; DELETE FROM a";
    let batch = success(
        "{\"Results\":[{\"type\":\"select\",\"columns\":[\"id\",\"name\"],\"rows\":[[1,\"x;y\"],[2,null]],\
         \"rows_affected\":0},{\"type\":\"exec\",\"columns\":null,\"rows\":null,\"rows_affected\":2}]}",
    );
    let (asked, output) = exchange(&[QUERY], "200 OK", &batch);
    assert_eq!(
        asked,
        Asked {
            line: "POST /core/internal/sql HTTP/1.1".to_owned(),
            host: "control.socket".to_owned(),
            body: format!("{{\"query\":\"{QUERY}\"}}"),
        }
    );
    assert_eq!(
        text(&output.stdout),
        "=> Query 0:\nid  name\n1   x;y\n2   NULL\n=> Query 1:\nRows affected: 2\n"
    );
    let (_, output) = exchange(&["--format", "go", QUERY], "200 OK", &batch);
    assert_eq!(text(&output.stdout), "[[1 x;y] [2 <nil>]]\n");
    // A result without rows has none at all; where nothing ran, there are no results.
    let empty = "{\"Results\":[{\"type\":\"select\",\"columns\":[\"id\"],\"rows\":null,\"rows_affected\":0}]}";
    let (_, output) = exchange(&["--format", "csv", QUERY], "200 OK", &success(empty));
    assert_eq!(text(&output.stdout), "id\r\n");
    for format in ["go", "json"] {
        let nothing = success("{\"Results\":null}");
        let (_, output) = exchange(&["--format", format, ";"], "200 OK", &nothing);
        assert_eq!(
            (text(&output.stdout), output.status.code()),
            ("[]\n", Some(0))
        );
    }
}

#[test]
fn dump_and_schema_are_asked_and_printed_as_they_come() {
    const DUMP: &str =
        "PRAGMA foreign_keys=OFF;\\nBEGIN TRANSACTION;\\nINSERT INTO a VALUES('é');\\nCOMMIT;\\n";
    let answer = success(&format!("{{\"text\":\"{DUMP}\"}}"));
    for (verb, line) in [
        (".dump", "GET /core/internal/sql HTTP/1.1"),
        (".schema", "GET /core/internal/sql?schema=1 HTTP/1.1"),
    ] {
        let (asked, output) = exchange(&[verb], "200 OK", &answer);
        assert_eq!((asked.line.as_str(), asked.body.as_str()), (line, ""));
        assert_eq!(
            text(&output.stdout),
            format!("{}\n", DUMP.replace("\\n", "\n"))
        );
    }
}

#[test]
fn errors_are_told_with_the_servers_text() {
    let failure = |code: u16, message: &str| {
        format!(
            "{{\"type\":\"error\",\"status\":\"\",\"status_code\":0,\"operation\":\"\",\"error_code\":{code},\
             \"error\":\"{message}\",\"metadata\":null}}"
        )
    };
    for (status, answer, told, exit) in [
        (
            "500 Internal Server Error",
            failure(500, "Failed to execute query: no such table: nope"),
            "Failed to execute query: no such table: nope",
            1,
        ),
        (
            "503 Service Unavailable",
            failure(503, "Database is not yet initialized"),
            "Database is not yet initialized",
            13,
        ),
        (
            "502 Bad Gateway",
            "<html>no</html>".to_owned(),
            "the answer cannot be decoded: expected value at line 1 column 1",
            1,
        ),
    ] {
        let (_, output) = exchange(&["select 1"], status, &answer);
        assert_eq!(
            text(&output.stderr),
            format!("Error: Failed to execute the SQL query.\n\nThe error was: {told}\n")
        );
        assert_eq!((output.status.code(), output.stdout.len()), (Some(exit), 0));
    }
}

/// Values of all kinds that JSON has, and the limits of Go's forms of numbers.
const ROWS: &str = r#"[[0,-0,1,-1,0.1,1.5,999999,1000000,1234567,123456789,12345678901234567890],
 [0.0001,0.00001,0.000123456,1e20,1e21,1e22,1e300,5e-324,1.7976931348623157e308,100000,1e5],
 [9007199254740993,3297041220608546238,-9223372036854775808,9223372036854775807,0.30000000000000004,2.5e-8],
 [123456.789,1234567.5,-1e-7,null,true,false,"","a b","é <nil>"],
 [{"b":1,"a":[1,null,"x"],"c":{}},[],[[]]],[]]"#;

/// The values as Go 1.26 prints them.
const PRINTED: &str = "[[0 -0 1 -1 0.1 1.5 999999 1e+06 1.234567e+06 1.23456789e+08 1.2345678901234567e+19] \
    [0.0001 1e-05 0.000123456 1e+20 1e+21 1e+22 1e+300 5e-324 1.7976931348623157e+308 100000 100000] \
    [9.007199254740992e+15 3.2970412206085463e+18 -9.223372036854776e+18 9.223372036854776e+18 \
    0.30000000000000004 2.5e-08] \
    [123456.789 1.2345675e+06 -1e-07 <nil> true false  a b é <nil>] \
    [map[a:[1 <nil> x] b:1 c:map[]] [] [[]]] []]\n";

#[test]
fn the_go_form_is_what_go_prints() {
    let batch = format!(
        "{{\"Results\":[{{\"type\":\"select\",\"columns\":[],\"rows\":{ROWS},\"rows_affected\":0}}]}}"
    );
    let (_, output) = exchange(&["--format", "go", "select 1"], "200 OK", &success(&batch));
    assert_eq!(text(&output.stdout), PRINTED);
    match printed_by_go() {
        Some(printed) => assert_eq!(text(&output.stdout), printed),
        None => eprintln!("compared with recorded text alone: Go is not installed"),
    }
}

fn printed_by_go() -> Option<String> {
    let program = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/oracle/print/main.go"
    );
    let mut go = Command::new("go")
        .args(["run", program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    go.stdin.take().unwrap().write_all(ROWS.as_bytes()).unwrap();
    let output = go.wait_with_output().unwrap();
    assert!(output.status.success(), "go run {program}");
    Some(String::from_utf8(output.stdout).unwrap())
}

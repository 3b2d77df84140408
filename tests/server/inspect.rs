//! `k8s-dqlite get`, `history` and `diff`, of a k8s-dqlite and of an etcd.

use std::{fs::File, io, process::Command};

use serde_json::{Value, json};
use tokio::task::{JoinSet, spawn_blocking};

use crate::backup::{printed, refusal, run, text};
use crate::harness::*;

parity! {
    a_key_is_shown_as_what_it_is,
    what_cannot_be_written_is_no_success,
    the_history_of_a_key_has_deletions_and_begins_at_the_compaction,
    a_long_history_says_how_much_of_it_is_not_shown,
    the_history_of_a_key_that_changes_all_the_time_ends,
    two_revisions_are_compared_key_by_key,
}

/// A Pod in protobuf as an API server stores it, named `web` in `default`, with the label app=front.
const POD: &[u8] =
    b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x26\x0a\x1e\x0a\x03web\x12\x00\x1a\x07default\
                     \x5a\x0c\x0a\x03app\x12\x05front\x12\x04spec";

async fn a_key_is_shown_as_what_it_is(server: Server) {
    let (api, url) = (server.api().await, server.client_url());
    let at = ["--endpoint", &url];
    let get = |arguments: &[&str]| printed(&[&["get"], arguments, &at[..]].concat());
    let first = api.put("text", "hello\nworld").await;
    api.put("text", "bye").await;
    api.ask(put("/registry/pods/default/web", POD)).await;
    api.put("secret", "k8s:enc:aescbc:v1:key1:xyz").await;
    api.put("json", r#"{"kind":"Pod","n":1}"#).await;
    assert!(get(&["text"]).ends_with("\nbye\n"));
    let old = get(&["text", "--revision", &first.to_string()]);
    let header = format!("# text: revision {first} (version 1, created at {first})\n");
    assert_eq!(old, header + "hello\nworld\n");
    let pod = get(&["/registry/pods/default/web"]);
    for line in [
        "kind: Pod\n",
        "  name: web\n",
        "    app: front\n",
        "# protobuf: ",
    ] {
        assert!(pod.contains(line), "{pod}");
    }
    let pod: Value =
        serde_json::from_str(&get(&["/registry/pods/default/web", "-o", "json"])).unwrap();
    let labels = json!({"app": "front"});
    assert_eq!(pod["value"]["metadata"]["labels"], labels, "{pod}");
    let raw = run(&[&["get", "/registry/pods/default/web", "-o", "raw"], &at[..]].concat());
    assert_eq!(raw.stdout, POD);
    assert!(
        get(&["secret"])
            .contains("# encrypted: encrypted by the API server with aescbc v1, key key1\n")
    );
    assert!(get(&["json"]).ends_with("\nkind: Pod\nn: 1\n"));
    let (code, error) = refusal(&[&["get", "nothing"], &at[..]].concat());
    assert!(
        code == 1 && error.starts_with("error: there is no key nothing"),
        "{code} {error}"
    );
    let (code, error) = refusal(&[&["get", "text", "--revision", "1000"], &at[..]].concat());
    assert!(
        code == 1 && error.contains("does not have revision 1000"),
        "{error}"
    );
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let (code, error) = refusal(&["get", "text", "--endpoint", &nobody]);
    assert!(
        code == 13 && error.starts_with("error: cannot connect"),
        "{code} {error}"
    );
}

async fn what_cannot_be_written_is_no_success(server: Server) {
    let (api, url) = (server.api().await, server.client_url());
    api.put("key", "value").await;
    let get = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_k8s-dqlite"));
        command.args(["get", "key", "-o", "raw", "--endpoint", &url]);
        command
    };
    let full = File::options().write(true).open("/dev/full").unwrap();
    let output = get().stdout(full).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(
        said.starts_with("error: cannot write to the standard output"),
        "{said}"
    );
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let output = get().stdout(writer).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

async fn the_history_of_a_key_has_deletions_and_begins_at_the_compaction(server: Server) {
    let (api, url) = (server.api().await, server.client_url());
    let history = |key: &str| printed(&["history", key, "--endpoint", &url]);
    let first = api.put("key", "a\nb").await;
    api.put("other", "1").await;
    let second = api.put("key", "a\nc").await;
    let deleted = api.delete("key").await;
    let third = api.put("key", "new").await;
    api.put("other", "2").await;
    let tail = format!(
        "revision {deleted}: deleted\nrevision {third} (version 1, created at {third})\n    new\n"
    );
    let change = format!(
        "revision {second} (version 2, created at {first})\n    @@ -1,2 +1,2 @@\n     a\n    -b\n    +c\n"
    );
    let begin = format!("revision {first} (version 1, created at {first})\n    a\n    b\n");
    assert_eq!(history("key"), begin + &change + &tail);
    api.ask(compact(second)).await;
    let base = format!("revision {second} (version 2, created at {first})\n    a\n    c\n");
    assert_eq!(history("key"), base + &tail);
    let (code, error) = refusal(&["history", "nothing", "--endpoint", &url]);
    assert!(
        code == 1 && error.contains("there is no key nothing"),
        "{error}"
    );
}

async fn a_long_history_says_how_much_of_it_is_not_shown(server: Server) {
    let (api, url) = (server.api().await, server.client_url());
    let base = api.put("key", "base").await;
    api.ask(compact(base)).await;
    let mut puts = JoinSet::new();
    for index in 0..1001 {
        let api = api.clone();
        puts.spawn(async move { api.put("key", &format!("value {index}")).await });
    }
    let mut revisions = puts.join_all().await;
    revisions.sort_unstable();
    let first = revisions[1];
    let mut read = get("key");
    read.revision = first - 1;
    let before = text(&api.ask(read).await.kvs[0].value);
    let history = printed(&["history", "key", "--endpoint", &url]);
    let expected = format!(
        "2 older revisions are not shown\nrevision {first} (version 3, created at {base})\n    \
         @@ -1 +1 @@\n    -{before}\n"
    );
    assert_eq!(history[..expected.len().min(history.len())], expected);
}

async fn the_history_of_a_key_that_changes_all_the_time_ends(server: Server) {
    let (api, url) = (server.api().await, server.client_url());
    api.put("key", "0").await;
    let writer = tokio::spawn(async move {
        for index in 1.. {
            api.put("key", &index.to_string()).await;
        }
    });
    let history = spawn_blocking(move || printed(&["history", "key", "--endpoint", &url]));
    assert!(history.await.unwrap().contains("    0\n"));
    writer.abort();
}

async fn two_revisions_are_compared_key_by_key(server: Server) {
    let (api, url) = (server.api().await, server.client_url());
    for key in ["/a/changed", "/a/deleted", "/a/same", "/b"] {
        api.put(key, "1").await;
    }
    let from = api.revision().await;
    api.put("/a/changed", "2").await;
    api.put("/a/new", "1").await;
    api.put("/b", "2").await;
    let to = api.delete("/a/deleted").await;
    let expected = format!(
        "~ /a/changed\n    @@ -1 +1 @@\n    -1\n    +2\n- /a/deleted\n+ /a/new\n\
         from revision {from} to {to}: 1 added, 1 deleted, 1 changed\n"
    );
    let from = from.to_string();
    let output = run(&["diff", &from, "0", "/a/", "--endpoint", &url]);
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
}

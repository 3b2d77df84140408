use super::{comments, docs, imports, page::PAGE, rooms, tree::Tree, wrapped};

type Rule = fn(&Tree) -> Vec<String>;

const RULES: [(&str, Rule); 14] = [
    ("imports between rooms", imports::rooms),
    ("needs between packages", imports::packages),
    ("SQL", rooms::sql),
    ("unsafe code", rooms::unsafe_code),
    ("gRPC's status", rooms::grpc_status),
    ("etcd's texts", rooms::etcd_texts),
    ("forbidden unsafe code", rooms::forbidden),
    ("heads of comments", comments::heads),
    ("paths in pages", docs::paths),
    ("links in pages", docs::links),
    ("decisions", docs::decisions),
    ("flags in pages", docs::flags),
    ("constants in pages", docs::constants),
    ("wrapped functions", wrapped::functions),
];

#[test]
fn the_tree_is_tidy() {
    let tree = Tree::read();
    let faults: Vec<String> = RULES.iter().flat_map(|(_, rule)| rule(&tree)).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The tree with one file changed.
fn with(tree: &Tree, path: &str, change: impl Fn(&str) -> String) -> Tree {
    let mut changed = tree.clone();
    let text = changed.0.get(path).cloned().unwrap_or_default();
    changed.0.insert(path.to_owned(), change(&text));
    changed
}

/// Each rule finds what it is for.
#[test]
fn each_rule_is_broken_by_what_it_forbids() {
    let tree = Tree::read();
    let line = |line: &'static str| move |text: &str| format!("{line}\n{text}");
    let broken = [
        (
            "imports between rooms",
            with(&tree, "src/store/mod.rs", line("use crate::api::Served;")),
        ),
        (
            "imports between rooms",
            with(&tree, PAGE, |text| text.replace("\nstore:", "\nstore: tls")),
        ),
        (
            "imports between rooms",
            with(&tree, "src/new/mod.rs", line("fn a() {}")),
        ),
        (
            "needs between packages",
            with(&tree, PAGE, |text| {
                text.replace("\netcd-state:", "\netcd-state: bbolt")
            }),
        ),
        (
            "SQL",
            with(
                &tree,
                "src/api/kv.rs",
                line(r#"const A: &str = "SELECT 1";"#),
            ),
        ),
        (
            "unsafe code",
            with(&tree, "src/api/kv.rs", line("fn a() { unsafe { b() } }")),
        ),
        (
            "gRPC's status",
            with(&tree, "src/store/mod.rs", line("use tonic::Status;")),
        ),
        (
            "etcd's texts",
            with(
                &tree,
                "src/store/mod.rs",
                line(r#"const A: &str = "etcdserver: no";"#),
            ),
        ),
        (
            "forbidden unsafe code",
            with(&tree, "crates/bbolt/src/lib.rs", |text| {
                text.replace("forbid", "warn")
            }),
        ),
        (
            "heads of comments",
            with(&tree, "src/new.rs", line("/// What it is.")),
        ),
        (
            "paths in pages",
            with(&tree, "docs/compat.md", line("`src/nowhere.rs`")),
        ),
        (
            "links in pages",
            with(&tree, "docs/compat.md", line("[a](nowhere.md)")),
        ),
        (
            "decisions",
            with(&tree, "src/store/mod.rs", line("// decision 9999")),
        ),
        (
            "decisions",
            with(&tree, "src/store/mod.rs", line("// decisions/0012-no.md")),
        ),
        (
            "flags in pages",
            with(&tree, "docs/compat.md", line("`--no-such-flag-anywhere`")),
        ),
        (
            "constants in pages",
            with(&tree, "docs/compat.md", line("`NO_SUCH_CONSTANT`")),
        ),
        (
            "wrapped functions",
            with(&tree, "scripts/build", |text| text.replace(" uv_run ", " ")),
        ),
        (
            "wrapped functions",
            with(&tree, "scripts/build", |text| {
                text.replace(" uv_run ", " uv_run uv_stop ")
            }),
        ),
    ];
    for (name, tree) in broken {
        let (_, rule) = RULES.iter().find(|(rule, _)| *rule == name).unwrap();
        assert!(!rule(&tree).is_empty(), "{name} finds nothing");
    }
}

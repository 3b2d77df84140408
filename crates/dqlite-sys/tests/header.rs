//! The bindings against the header that is installed.
//!
//! Every declaration of `src/lib.rs` is translated to C and compared by the C compiler with the
//! header's own, so a release that changes a type, a layout or a constant fails here and not in
//! production.

use std::{
    io::Write,
    mem::{offset_of, size_of},
    process::{Command, Stdio},
};

use dqlite_sys::*;

const BINDINGS: &str = include_str!("../src/lib.rs");

struct Function {
    name: String,
    arguments: Vec<String>,
    result: String,
}

/// The functions of the `extern` block, in the order of the file.
fn functions() -> Vec<Function> {
    let (_, block) = BINDINGS
        .split_once("unsafe extern \"C\" {")
        .expect("an extern block");
    let mut functions = Vec::new();
    for declaration in block.split("pub fn ").skip(1) {
        let (declaration, _) = declaration.split_once(';').expect("a declaration ends");
        let (name, rest) = declaration.split_once('(').expect("arguments begin");
        let (arguments, result) = rest.split_once(')').expect("arguments end");
        functions.push(Function {
            name: name.to_owned(),
            arguments: arguments
                .split(',')
                .filter(|argument| !argument.trim().is_empty())
                .map(|argument| c_type(argument.split_once(':').expect("a typed argument").1))
                .collect(),
            result: result
                .trim()
                .strip_prefix("->")
                .map_or("void".to_owned(), c_type),
        });
    }
    functions
}

fn c_type(rust: &str) -> String {
    let rust = rust.trim();
    if let Some(target) = rust.strip_prefix("*mut ") {
        return format!("{} *", c_type(target));
    }
    if let Some(target) = rust.strip_prefix("*const ") {
        return format!("const {} *", c_type(target));
    }
    match rust {
        "c_char" => "char",
        "c_int" => "int",
        "c_uint" => "unsigned int",
        "c_ulonglong" => "unsigned long long",
        "c_void" => "void",
        "u64" => "uint64_t",
        "usize" => "size_t",
        "bool" => "_Bool",
        "dqlite_node_id" => "dqlite_node_id",
        "dqlite_node" => "struct dqlite_node",
        "dqlite_node_info" => "struct dqlite_node_info",
        "dqlite_node_info_ext" => "struct dqlite_node_info_ext",
        "dqlite_connect_func" => "int (*)(void *, const char *, int *)",
        other => panic!("this test does not know the C type of {other}"),
    }
    .to_owned()
}

fn has(function: &str) -> bool {
    match function {
        "dqlite_node_recover" => cfg!(has_dqlite_node_recover),
        "dqlite_node_handover" => cfg!(has_dqlite_node_handover),
        "dqlite_node_enable_role_management" => cfg!(has_dqlite_node_enable_role_management),
        "dqlite_node_set_target_voters" => cfg!(has_dqlite_node_set_target_voters),
        "dqlite_node_set_target_standbys" => cfg!(has_dqlite_node_set_target_standbys),
        "dqlite_node_set_pool_thread_count" => cfg!(has_dqlite_node_set_pool_thread_count),
        "dqlite_node_set_network_latency" => cfg!(has_dqlite_node_set_network_latency),
        "dqlite_node_set_snapshot_params" => cfg!(has_dqlite_node_set_snapshot_params),
        _ => true,
    }
}

/// Let the C compiler check `assertions`, and return what it complains about.
fn complaints(assertions: &[String]) -> String {
    let mut source = String::from("#include <stddef.h>\n#include <dqlite.h>\n");
    for assertion in assertions {
        source += assertion;
        source += "\n";
    }
    let mut compiler = Command::new("cc")
        .args([
            "-std=c11",
            "-fsyntax-only",
            "-I",
            env!("DQLITE_INCLUDE_DIR"),
            "-x",
            "c",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the C compiler, cc, runs");
    compiler
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(source.as_bytes())
        .expect("cc reads");
    let output = compiler.wait_with_output().expect("cc ends");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.success(),
        text.is_empty(),
        "cc ended with {}: {text}",
        output.status
    );
    text
}

fn same_type(expression: &str, expected: &str) -> String {
    format!(
        "_Static_assert(__builtin_types_compatible_p(__typeof__({expression}), {expected}), \
         \"{expression} is {expected}\");"
    )
}

fn equal(expression: &str, expected: impl std::fmt::Display) -> String {
    format!("_Static_assert(({expression}) == {expected}, \"{expression} is {expected}\");")
}

#[test]
fn functions_have_the_types_of_the_header() {
    let functions = functions();
    let assertions: Vec<String> = functions
        .iter()
        .filter(|function| has(&function.name))
        .map(
            |Function {
                 name,
                 arguments,
                 result,
             }| {
                let arguments = if arguments.is_empty() {
                    "void".to_owned()
                } else {
                    arguments.join(", ")
                };
                same_type(&format!("&{name}"), &format!("{result} (*)({arguments})"))
            },
        )
        .collect();
    assert!(
        assertions.len() >= 20,
        "only {} functions were found",
        assertions.len()
    );
    assert_eq!(complaints(&assertions), "");
}

#[test]
fn the_version_string_is_a_variable() {
    assert_eq!(
        complaints(&[same_type("dqlite_version_string", "const char *")]),
        ""
    );
}

#[test]
fn constants_have_the_values_of_the_header() {
    let assertions = [
        equal("DQLITE_OK", DQLITE_OK),
        equal("DQLITE_ERROR", DQLITE_ERROR),
        equal("DQLITE_MISUSE", DQLITE_MISUSE),
        equal("DQLITE_NOMEM", DQLITE_NOMEM),
        equal(
            "DQLITE_SNAPSHOT_TRAILING_STATIC",
            DQLITE_SNAPSHOT_TRAILING_STATIC,
        ),
        equal(
            "DQLITE_SNAPSHOT_TRAILING_DYNAMIC",
            DQLITE_SNAPSHOT_TRAILING_DYNAMIC,
        ),
        equal("SQLITE_IOERR_NOT_LEADER", SQLITE_IOERR_NOT_LEADER),
        equal("SQLITE_IOERR_LEADERSHIP_LOST", SQLITE_IOERR_LEADERSHIP_LOST),
        equal(
            "DQLITE_NODE_INFO_EXT_SZ_ORIG",
            size_of::<dqlite_node_info_ext>(),
        ),
    ];
    assert_eq!(complaints(&assertions), "");
}

#[test]
fn structs_have_the_layout_of_the_header() {
    macro_rules! layout {
        ($name:ident { $($field:ident),* }) => {
            [
                equal(concat!("sizeof(struct ", stringify!($name), ")"), size_of::<$name>()),
                $(equal(
                    concat!("offsetof(struct ", stringify!($name), ", ", stringify!($field), ")"),
                    offset_of!($name, $field),
                ),)*
            ]
        };
    }
    let mut assertions = layout!(dqlite_node_info { id, address }).to_vec();
    assertions.extend(layout!(dqlite_node_info_ext {
        size,
        id,
        address,
        dqlite_role
    }));
    assertions.push(equal("sizeof(dqlite_node_id)", size_of::<dqlite_node_id>()));
    assert_eq!(complaints(&assertions), "");
}

#[test]
fn a_changed_signature_would_be_noticed() {
    let changed = same_type("&dqlite_node_start", "int (*)(struct dqlite_node *, int)");
    assert!(complaints(&[changed]).contains("dqlite_node_start"));
    assert!(complaints(&[equal("DQLITE_NOMEM", 4)]).contains("DQLITE_NOMEM"));
}

#[test]
fn the_linked_library_is_new_enough_and_says_so_twice() {
    // SAFETY: takes nothing and returns a number.
    let number = unsafe { dqlite_version_number() };
    assert!(number >= MINIMUM_VERSION_NUMBER, "{number}");
    // SAFETY: a constant, NUL-terminated string of the library.
    let string = unsafe { std::ffi::CStr::from_ptr(dqlite_version_string) }
        .to_str()
        .unwrap();
    assert!(string.contains("1."), "{string}");
}

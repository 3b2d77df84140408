//! Bytes as a join token, as the body of each request to k8sd, as a name, and as SQL. The first byte chooses.

#![no_main]

use dqlite::sql::{Piece, is_blank, kind, split};
use k8sd::{api, certificate::check_name, token::JoinToken};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};

/// Checks that a value that was read is written as text that is read as the same value.
fn body<T: DeserializeOwned + Serialize>(bytes: &[u8]) {
    if let Ok(read) = serde_json::from_slice::<T>(bytes) {
        let once = serde_json::to_value(read).expect("it was JSON");
        let again: T = serde_json::from_value(once.clone()).expect("our own JSON");
        assert!(serde_json::to_value(again).expect("it was JSON") == once);
    }
}

fn token(text: &str) {
    if let Ok(token) = JoinToken::decode(text) {
        assert!(JoinToken::decode(&token.encode()).expect("our own token") == token);
    }
}

fn name(text: &str) {
    if check_name(text).is_ok() {
        assert!(!text.contains(['/', '\0', ' ', ':']) && text != "." && text != "..");
    }
}

/// A statement is one still when it stands alone.
fn sql(text: &str) {
    let found = split(text);
    for piece in &found.pieces {
        if let Piece::Statement(statement) = piece {
            let _ = kind(statement);
            let alone = format!("{statement}\n;");
            let again = split(&alone);
            assert!(again.pieces == [Piece::Statement(statement)] && is_blank(again.rest));
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    let text = str::from_utf8(bytes).unwrap_or_default();
    match choice % 10 {
        0 => token(text),
        1 => sql(text),
        2 => name(text),
        3 => body::<api::Control>(bytes),
        4 => body::<api::NewToken>(bytes),
        5 => body::<api::ClusterMember>(bytes),
        6 => body::<api::SqlQuery>(bytes),
        7 => body::<JoinToken>(bytes),
        8 => body::<api::Admission>(bytes),
        _ => drop(api::open::<api::SqlBatch>(bytes)),
    }
});

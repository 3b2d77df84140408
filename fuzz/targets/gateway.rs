//! Bytes as the JSON of every call of the gateway. The first byte chooses the call.

#![no_main]

use std::sync::LazyLock;

use k8s_dqlite::api::Translator;
use libfuzzer_sys::fuzz_target;

static TRANSLATOR: LazyLock<Translator> = LazyLock::new(Translator::default);

fuzz_target!(|input: &[u8]| {
    let Some((choice, json)) = input.split_first() else {
        return;
    };
    let paths = TRANSLATOR.paths();
    let path = paths[usize::from(*choice) % paths.len()];
    if let Some(once) = TRANSLATOR.round_trip(path, json) {
        let twice = TRANSLATOR.round_trip(path, &once).expect("our own JSON");
        assert!(once == twice);
    }
});

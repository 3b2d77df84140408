//! Bytes of a client of the dqlite port. The first byte chooses whether they begin as a Raft link.

#![no_main]

use dqlite::proxy::{Inspector, Verdict};
use dqlite::wire::PROTOCOL_VERSION;
use libfuzzer_sys::fuzz_target;

/// A CONNECT of node 1 at "1:1".
const CONNECT: [u64; 3] = [11 << 32 | 2, 1, 0x31_3a31];

fuzz_target!(|input: &[u8]| {
    let Some((choice, bytes)) = input.split_first() else {
        return;
    };
    let begins: &[u64] = match choice % 2 {
        0 => &[PROTOCOL_VERSION],
        _ => &[PROTOCOL_VERSION, CONNECT[0], CONNECT[1], CONNECT[2]],
    };
    let mut data: Vec<u8> = begins.iter().flat_map(|word| word.to_le_bytes()).collect();
    data.extend_from_slice(bytes);
    let mut rest = &data[..];
    let mut inspector = Inspector::default();
    loop {
        match inspector.next(rest) {
            Ok(Verdict::Pass { bytes, .. }) => {
                assert!((1..=rest.len()).contains(&bytes));
                rest = &rest[bytes..];
            }
            Ok(Verdict::Refuse { bytes, failure }) => {
                assert!((1..=rest.len()).contains(&bytes) && failure.message.len() < 1024);
                rest = &rest[bytes..];
            }
            Ok(Verdict::Incomplete) | Err(_) => return,
        }
    }
});

use std::{fs, os::unix::fs::PermissionsExt};

use proptest::prelude::*;

use super::*;

const NAME: &str = "delta/00000000000000000007-0000000000";

fn ring(bytes: &[u8]) -> KeyRing {
    let lines: Vec<String> = bytes.iter().map(|&byte| hex::encode([byte; 32])).collect();
    KeyRing::parse(&lines.join("\n")).unwrap()
}

fn sealed_by(ring: &KeyRing, content: &[u8]) -> Vec<u8> {
    ring.seal(content, NAME, Salt([7; 32])).unwrap()
}

/// Sizes around the boundaries of chunks, and others.
fn contents() -> impl Strategy<Value = Vec<u8>> {
    let around = (0..4_usize, -2..3_isize)
        .prop_map(|(chunks, more)| (chunks * CHUNK_BYTES).saturating_add_signed(more));
    prop_oneof![around, 0..3 * CHUNK_BYTES].prop_flat_map(|bytes| {
        any::<u8>().prop_map(move |first| {
            (0..bytes)
                .map(|at| first.wrapping_add((at * 31 + at / 251) as u8))
                .collect()
        })
    })
}

fn cut(bytes: &[u8], pieces: &[usize]) -> Vec<Vec<u8>> {
    let mut cut = Vec::new();
    let mut rest = bytes;
    for &piece in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (head, tail) = rest.split_at(piece.min(rest.len()));
        cut.push(head.to_vec());
        rest = tail;
    }
    cut
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_sealed_opens(content in contents(), salt: [u8; 32]) {
        let ring = ring(&[1, 2]);
        let sealed = ring.seal(&content, NAME, Salt(salt)).unwrap();
        prop_assert_eq!(sealed.len() as u64, sealed_bytes(content.len() as u64));
        prop_assert_eq!(content_bytes(sealed.len() as u64), Some(content.len() as u64));
        prop_assert!(is_sealed(&sealed));
        prop_assert!(ring.open(&sealed, NAME).unwrap() == content);
    }

    #[test]
    fn pieces_make_no_difference(
        content in contents(), pieces in prop::collection::vec(1..2 * CHUNK_BYTES, 1..4)
    ) {
        let ring = ring(&[1]);
        let whole = sealed_by(&ring, &content);
        let mut sealed = Vec::new();
        let mut sealer = Sealer::begin(&ring, NAME, Salt([7; 32]), &mut sealed).unwrap();
        for piece in cut(&content, &pieces) {
            sealer.push(&piece, &mut sealed).unwrap();
        }
        sealer.finish(&mut sealed).unwrap();
        prop_assert!(sealed == whole);
        let mut opened = Vec::new();
        let mut opener = Opener::new(&ring, NAME);
        for piece in cut(&sealed, &pieces) {
            opener.push(&piece, &mut opened).unwrap();
        }
        opener.finish(&mut opened).unwrap();
        prop_assert!(opened == content);
    }

    #[test]
    fn any_changed_bit_is_noticed(content in contents(), at: prop::sample::Index, bit in 0..8_u32) {
        let ring = ring(&[1]);
        let mut sealed = sealed_by(&ring, &content);
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        prop_assert!(ring.open(&sealed, NAME).is_err());
    }

    #[test]
    fn any_missing_end_is_noticed(content in contents(), left: prop::sample::Index) {
        let ring = ring(&[1]);
        let sealed = sealed_by(&ring, &content);
        prop_assert!(ring.open(&sealed[..left.index(sealed.len())], NAME).is_err());
        prop_assert!(ring.open(&[&sealed[..], b"x"].concat(), NAME).is_err());
    }

    #[test]
    fn nothing_makes_it_panic(bytes: Vec<u8>, rest: Vec<u8>) {
        let ring = ring(&[1]);
        prop_assert!(ring.open(&bytes, NAME).is_err());
        let sealed = sealed_by(&ring, b"content");
        prop_assert!(ring.open(&[&sealed[..HEADER_BYTES], &rest].concat(), NAME).is_err());
    }
}

/// Returns the chunks of an object behind its header.
fn chunks(sealed: &[u8]) -> Vec<&[u8]> {
    sealed[HEADER_BYTES..]
        .chunks(CHUNK_BYTES + TAG_BYTES)
        .collect()
}

#[test]
fn chunks_cannot_change_places_nor_be_left_out() {
    let ring = ring(&[1]);
    let content = vec![9; 3 * CHUNK_BYTES];
    let sealed = sealed_by(&ring, &content);
    let header = &sealed[..HEADER_BYTES];
    let [a, b, c] = chunks(&sealed)[..] else {
        panic!("there are three")
    };
    assert_eq!(
        ring.open(&[header, a, b, c].concat(), NAME).unwrap(),
        content
    );
    for order in [
        vec![b, a, c],
        vec![a, c, b],
        vec![a, b],
        vec![a, c],
        vec![b, c],
        vec![a, a, c],
        vec![a, b, b, c],
        vec![],
    ] {
        let changed = [header, &order.concat()].concat();
        assert!(ring.open(&changed, NAME).is_err(), "{}", order.len());
    }
}

#[test]
fn chunks_of_two_objects_cannot_be_mixed() {
    let ring = ring(&[1]);
    let content = vec![9; 2 * CHUNK_BYTES];
    let one = ring.seal(&content, NAME, Salt([1; 32])).unwrap();
    let two = ring.seal(&content, NAME, Salt([2; 32])).unwrap();
    let mixed = [&one[..HEADER_BYTES], chunks(&one)[0], chunks(&two)[1]].concat();
    assert!(matches!(
        ring.open(&mixed, NAME),
        Err(EncryptionError::Changed(_))
    ));
    assert_ne!(one[HEADER_BYTES..], two[HEADER_BYTES..]);
}

#[test]
fn an_object_under_another_name_does_not_open() {
    let ring = ring(&[1]);
    let sealed = sealed_by(&ring, b"content");
    assert!(matches!(
        ring.open(&sealed, "delta/another"),
        Err(EncryptionError::Changed(_))
    ));
}

#[test]
fn keys_can_change() {
    let (old, both, new) = (ring(&[1]), ring(&[2, 1]), ring(&[2]));
    let by_old = sealed_by(&old, b"content");
    assert_eq!(both.open(&by_old, NAME).unwrap(), b"content");
    let by_both = sealed_by(&both, b"content");
    assert_eq!(new.open(&by_both, NAME).unwrap(), b"content");
    match old.open(&by_both, NAME) {
        Err(EncryptionError::NoKey(id)) => assert_eq!(id, new.sealing_id()),
        other => panic!("{other:?}"),
    }
}

/// As another program derives and encrypts it: Python's hmac and cryptography.
#[test]
fn the_format_stays_what_it_is() {
    let ring = ring(&[1]);
    let sealed = ring.seal(b"content", NAME, Salt([3; 32])).unwrap();
    let header = concat!(
        "6b38736471454e43",
        "01",
        "01",
        "10",
        "0000000000",
        "cc850c05b776a607",
    );
    assert_eq!(hex::encode(&sealed[..24]), header);
    assert_eq!(sealed[24..56], [3; 32]);
    assert_eq!(
        hex::encode(&sealed[56..]),
        "2e52257a4b015dec8bf9ccb40757552e0825295f4182d2"
    );
}

#[test]
fn what_is_not_sealed_is_told_from_what_is_newer() {
    let ring = ring(&[1]);
    for plain in [&b""[..], b"short", &[0; 200]] {
        assert!(!is_sealed(plain));
        let opened = ring.open(plain, NAME);
        assert!(
            matches!(opened, Err(EncryptionError::NotSealed)),
            "{opened:?}"
        );
    }
    let mut sealed = sealed_by(&ring, b"content");
    assert!(matches!(
        ring.open(&sealed[..30], NAME),
        Err(EncryptionError::CutOff)
    ));
    sealed[8] = 2;
    assert!(matches!(
        ring.open(&sealed, NAME),
        Err(EncryptionError::Newer)
    ));
}

#[test]
fn a_key_file_is_read_line_by_line() {
    let (one, two) = (hex::encode([1; 32]), hex::encode([2; 32]));
    let text = format!(
        "# the keys of the archive\n\n {two}   # of May\n{}\n",
        one.to_uppercase()
    );
    assert_eq!(KeyRing::parse(&text).unwrap(), ring(&[2, 1]));
    for (text, reason) in [
        (String::new(), "it holds no key"),
        ("# nothing\n".to_owned(), "it holds no key"),
        (
            format!("{one}\n{}", &two[1..]),
            "line 2 is no key of 64 hexadecimal digits",
        ),
        (format!("{one}\n{one}"), "the key in line 2 is there twice"),
    ] {
        assert_eq!(KeyRing::parse(&text).unwrap_err(), reason);
    }
}

#[test]
fn nothing_shows_a_key() {
    let ring = ring(&[0xab]);
    let shown = format!("{ring:?} {}", ring.sealing_id());
    assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
    let error = KeyRing::parse("abababab").unwrap_err();
    assert!(!error.contains("abab"), "{error}");
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    fs::write(&path, hex::encode([1; 32])).unwrap();
    let set_mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o600);
    assert_eq!(KeyRing::load(&path).unwrap(), ring(&[1]));
    set_mode(0o644);
    let error = KeyRing::load(&path).unwrap_err();
    assert!(error.to_string().ends_with("chmod 600"), "{error}");
}

//! Written files are read back; damaged ones end in an error.

use std::collections::BTreeMap;

use bbolt::{Measure, PAGE_BYTES, ReadError, Reader, Writer};
use proptest::prelude::*;

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;
type Database = BTreeMap<Vec<u8>, Entries>;

fn write(database: &Database) -> Vec<u8> {
    let mut measure = Measure::new();
    for (name, entries) in database {
        measure.bucket(name);
        for (key, value) in entries {
            measure.entry(key, value.len());
        }
    }
    let plan = measure.finish();
    let mut writer = Writer::new(plan);
    let mut file = Vec::new();
    for (name, entries) in database {
        writer.bucket(name);
        for (key, value) in entries {
            writer.entry(key, value);
            file.append(writer.pages());
        }
    }
    writer.finish();
    file.append(writer.pages());
    assert_eq!(file.len() as u64, plan.file_bytes());
    file
}

fn read(file: &[u8]) -> Result<Database, ReadError<std::convert::Infallible>> {
    let mut reader = Reader::open(file)?;
    let mut database = Database::new();
    for name in reader.buckets()? {
        let mut entries = Entries::new();
        let mut bucket = reader.bucket(&name)?.expect("is listed");
        while let Some(entry) = bucket.next(&mut reader)? {
            entries.insert(entry.key.to_vec(), entry.value.to_vec());
        }
        database.insert(name, entries);
    }
    Ok(database)
}

fn database() -> impl Strategy<Value = Database> {
    let key = prop::collection::vec(any::<u8>(), 1..40);
    let value = prop_oneof![
        20 => prop::collection::vec(any::<u8>(), 0..200),
        1 => (0..20_000usize).prop_map(|bytes| vec![7; bytes]),
    ];
    let entries = prop::collection::btree_map(key.clone(), value, 0..400);
    prop::collection::btree_map(key, entries, 0..6)
}

/// Enough entries for branches above branches.
fn deep(entries: u32) -> Database {
    let key = |index: u32| {
        let mut key = index.to_be_bytes().to_vec();
        key.resize(300, b'k');
        key
    };
    let entries = (0..entries).map(|index| (key(index), index.to_le_bytes().to_vec()));
    Database::from([(b"deep".to_vec(), entries.collect())])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read_back(database in database()) {
        let file = write(&database);
        prop_assert_eq!(file.len() % PAGE_BYTES, 0);
        prop_assert_eq!(read(&file).unwrap(), database);
    }

    #[test]
    fn every_key_is_found_and_no_other(
        database in database(), other in prop::collection::vec(any::<u8>(), 1..5)
    ) {
        let file = write(&database);
        let mut reader = Reader::open(&file[..]).unwrap();
        for (name, entries) in &database {
            for (key, value) in entries {
                let found = reader.find(name, key).unwrap();
                prop_assert_eq!(found.as_ref(), Some(value));
            }
            let found = reader.find(name, &other).unwrap();
            prop_assert_eq!(found.as_ref(), entries.get(&other));
        }
        let is_bucket = database.contains_key(&other);
        prop_assert_eq!(reader.bucket(&other).unwrap().is_some(), is_bucket);
    }

    #[test]
    fn a_damaged_file_is_an_error_or_reads_to_its_end(
        database in database(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut file = write(&database);
        for (at, byte) in damage {
            // Among the numbers of some page.
            let page = at.index(file.len() / PAGE_BYTES) * PAGE_BYTES;
            file[page + usize::from(byte) % 64] ^= byte;
        }
        if let Some(cut) = cut {
            file.truncate(cut.index(file.len()));
        }
        // It must end, and not panic.
        let _ = read(&file);
        if let Ok(mut reader) = Reader::open(&file[..]) {
            for (name, entries) in &database {
                for key in entries.keys() {
                    let _ = reader.find(name, key);
                }
            }
        }
    }
}

#[test]
fn branches_may_be_several_levels_deep() {
    // 12 keys of 300 bytes fit a page, so these are four levels.
    for entries in [0, 1, 12, 13, 144, 145, 156, 157, 3000] {
        let database = deep(entries);
        let file = write(&database);
        assert_eq!(read(&file).unwrap(), database, "{entries}");
        let mut reader = Reader::open(&file[..]).unwrap();
        for (key, value) in &database[&b"deep"[..]] {
            assert_eq!(reader.find(b"deep", key).unwrap().as_ref(), Some(value));
        }
    }
}

#[test]
fn the_second_meta_page_serves_when_the_first_is_damaged() {
    let database = deep(100);
    let mut file = write(&database);
    file[20] ^= 1;
    assert_eq!(read(&file).unwrap(), database);
    file[PAGE_BYTES + 20] ^= 1;
    assert!(matches!(read(&file), Err(ReadError::Meta(_))));
}

#[test]
fn a_tree_that_contains_itself_is_an_error() {
    let mut file = write(&deep(3000));
    let pages = file.len() / PAGE_BYTES;
    let root = (0..pages)
        .rev()
        .find(|page| file[page * PAGE_BYTES + 8] == 1);
    let root = root.expect("there are branches");
    // The first child of the topmost branch.
    let at = root * PAGE_BYTES + 16 + 8;
    file[at..at + 8].copy_from_slice(&(root as u64).to_le_bytes());
    assert!(matches!(read(&file), Err(ReadError::Damaged { .. })));
}

#[test]
#[should_panic(expected = "keys must ascend")]
fn keys_out_of_order_are_refused() {
    let mut measure = Measure::new();
    measure.bucket(b"a");
    measure.entry(b"2", 0);
    measure.entry(b"1", 0);
}

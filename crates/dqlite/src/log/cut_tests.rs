use proptest::prelude::*;

use super::{
    super::verify_tests::{Memory, behind_snapshot, directory},
    *,
};

fn nobody(_: &OpenReport) -> bool {
    false
}

/// Changes the files as a program would.
fn apply(files: &mut Memory, changes: &[Change]) {
    for change in changes {
        match change {
            Change::Remove(name) => drop(files.0.remove(name).unwrap()),
            Change::Shorten {
                name,
                to,
                len_bytes,
            } => {
                let mut bytes = files.0.remove(name).unwrap();
                bytes.truncate(*len_bytes as usize);
                files.0.insert(to.clone(), bytes);
            }
            Change::Clear { name, from_byte } => {
                files.0.get_mut(name).unwrap()[*from_byte as usize..].fill(0);
            }
        }
    }
}

fn flip(files: &mut Memory, name: &str, at: usize) {
    files.0.get_mut(name).unwrap()[at] ^= 1;
}

#[test]
fn a_whole_directory_is_left_alone() {
    let cut = plan(&directory(), nobody).unwrap();
    assert_eq!((cut.changes, cut.last_known), (vec![], 10));
}

#[test]
fn a_closed_segment_keeps_its_whole_batches() {
    let mut files = directory();
    let name = "0000000000000002-0000000000000005";
    // In the third of four batches.
    flip(&mut files, name, 8 + 2 * 96 + 50);
    let cut = plan(&files, nobody).unwrap();
    assert_eq!((cut.report.last_index, cut.last_known), (3, 5));
    let shorter = Change::Shorten {
        name: name.to_owned(),
        to: "0000000000000002-0000000000000003".to_owned(),
        len_bytes: 8 + 2 * 96,
    };
    let removed = ["open-4", "open-3"].map(|name| Change::Remove(name.to_owned()));
    assert_eq!(cut.changes, [&removed[..], &[shorter]].concat());
}

#[test]
fn an_open_segment_is_cleared_behind_its_whole_batches() {
    let mut files = directory();
    flip(&mut files, "open-3", 8 + 2 * 96 + 50);
    let cut = plan(&files, nobody).unwrap();
    assert_eq!(cut.report.last_index, 7);
    let clear = Change::Clear {
        name: "open-3".to_owned(),
        from_byte: 8 + 2 * 96,
    };
    let expected = [Change::Remove("open-4".to_owned()), clear];
    assert_eq!(cut.changes, expected);
}

#[test]
fn segments_of_another_log_go_and_leave_the_rest() {
    let cut = plan(&directory(), |open| open.counter == 3).unwrap();
    assert_eq!(cut.report.last_index, 5);
    assert!(cut.changes.contains(&Change::Remove("open-3".to_owned())));
}

#[test]
fn neither_a_vote_nor_a_beginning_can_be_cut() {
    let lost_vote = directory().without("metadata1");
    let lost_beginning = directory().without("0000000000000001-0000000000000001");
    for files in [lost_vote, lost_beginning] {
        let cut = plan(&files, nobody);
        let left = cut.as_ref().map(|cut| cut.report.configuration.is_some());
        assert!(!matches!(left, Ok(true)), "{cut:?}");
    }
}

proptest! {
    #[test]
    fn what_is_left_is_whole_and_the_beginning_of_what_was(
        has_snapshot in any::<bool>(),
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        how in 0..4,
        more in any::<u8>(),
    ) {
        let whole = if has_snapshot { behind_snapshot() } else { directory() };
        let before = verify(&whole).unwrap();
        let mut files = whole.clone();
        let names: Vec<String> = files.0.keys().filter(|name| *name != "info.yaml").cloned().collect();
        let name = &names[which.index(names.len())];
        let bytes = files.0.get_mut(name).unwrap();
        let at = at.index(bytes.len());
        match how {
            0 => bytes[at] ^= 1 << (more % 8),
            1 => bytes.truncate(at),
            2 => bytes[at..].fill(0),
            _ => drop(files.0.remove(name)),
        }
        let Ok(cut) = plan(&files, nobody) else { return Ok(()) };
        prop_assert!(cut.report.last_index <= before.last_index);
        prop_assert!(cut.last_known >= cut.report.last_index);
        apply(&mut files, &cut.changes);
        let mut after = verify(&files).unwrap();
        after.bytes_read = cut.report.bytes_read;
        prop_assert_eq!(&after, &cut.report);
        let again = plan(&files, nobody).unwrap();
        prop_assert_eq!(again.changes, vec![]);
    }

    /// Wherever the changes are interrupted.
    #[test]
    fn a_cut_that_was_interrupted_is_done_again(at in 8..700usize, done in any::<prop::sample::Index>()) {
        let mut files = directory();
        flip(&mut files, "0000000000000002-0000000000000005", at % 392);
        let cut = plan(&files, nobody).unwrap();
        apply(&mut files, &cut.changes[..done.index(cut.changes.len())]);
        let again = plan(&files, nobody).unwrap();
        apply(&mut files, &again.changes);
        prop_assert_eq!(verify(&files).unwrap().last_index, cut.report.last_index);
    }
}

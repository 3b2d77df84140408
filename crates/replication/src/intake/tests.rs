use super::*;

type Parts = Message<i64, &'static str, &'static str>;
type Decided = Command<i64, &'static str, &'static str>;

fn rows(rows: impl IntoIterator<Item = i64>) -> Parts {
    Parts {
        rows: rows.into_iter().collect(),
        ..Parts::default()
    }
}

fn decide(intake: &mut Intake<i64>, message: Parts) -> Vec<Decided> {
    intake.decide(message, |row| Revision::new(*row))
}

#[test]
fn the_parts_of_a_message_apply_in_order() {
    let mut intake = Intake::new(Beginning::Continues, Revision::new(7));
    let message = Parts {
        rows: vec![8, 9],
        settings: Some("settings"),
        compact_revision: Some(Revision::new(8)),
        answers: vec!["first", "second"],
        read_index: Some((3, Some(Revision::new(9)))),
        confirm: Some(5),
    };
    assert_eq!(
        decide(&mut intake, message),
        [
            Command::ApplySettings("settings"),
            Command::Apply(vec![8, 9]),
            Command::NoteLoaded,
            Command::ApplyCompaction(Revision::new(8)),
            Command::Answer("first"),
            Command::Answer("second"),
            Command::SettleReads(3, Some(Revision::new(9))),
            Command::Confirm(5),
        ]
    );
    assert_eq!(decide(&mut intake, Parts::default()), []);
}

#[test]
fn the_whole_store_replaces_that_of_the_node_once_the_settings_are_there() {
    let mut intake = Intake::new(Beginning::Whole, Revision::new(7));
    assert!(!intake.is_loaded());
    assert_eq!(
        decide(&mut intake, rows([2, 5])),
        [Command::Collect(vec![2, 5])]
    );
    let last = Parts {
        settings: Some("settings"),
        ..rows([7, 8])
    };
    assert_eq!(
        decide(&mut intake, last),
        [
            Command::Collect(vec![7]),
            Command::ApplySettings("settings"),
            Command::Replace,
            Command::Apply(vec![8]),
            Command::NoteLoaded,
        ]
    );
    assert!(intake.is_loaded());
    assert_eq!(decide(&mut intake, rows([9])), [Command::Apply(vec![9])]);
}

/// More was committed during the transfer than one message holds. Such a session was ended as senseless once, and begun anew
/// each time, so that a node could not come up while much was written.
#[test]
fn what_was_committed_during_the_transfer_may_take_several_messages() {
    let mut intake = Intake::new(Beginning::Whole, Revision::new(7));
    assert_eq!(decide(&mut intake, rows([7])), [Command::Collect(vec![7])]);
    assert_eq!(decide(&mut intake, rows([8, 9])), []);
    assert_eq!(decide(&mut intake, rows([10])), []);
    let last = Parts {
        settings: Some("settings"),
        ..rows([11])
    };
    assert_eq!(
        decide(&mut intake, last)[1..3],
        [Command::Replace, Command::Apply(vec![8, 9, 10, 11])]
    );
}

//! A journal of the requests that were sent and of their answers.

use std::collections::HashMap;
use std::sync::Mutex;

use super::operation::Operation;

#[derive(Debug)]
struct Entry {
    operation: Operation,
    /// The revision of the answer; none while there is no answer.
    revision: Option<i64>,
}

#[derive(Debug, Default)]
pub struct Journal {
    /// The operations, by the key of their marker.
    entries: Mutex<HashMap<String, Entry>>,
}

impl Journal {
    pub fn sent(&self, operation: Operation) {
        let marker = operation.marker.clone();
        let entry = Entry {
            operation,
            revision: None,
        };
        assert!(self.entries.lock().unwrap().insert(marker, entry).is_none());
    }

    pub fn answered_at(&self, marker: &str, revision: i64) {
        self.entries
            .lock()
            .unwrap()
            .get_mut(marker)
            .unwrap()
            .revision = Some(revision);
    }

    /// The operation that made `revision`; panics when it was not sent or was answered otherwise.
    pub fn operation_at(&self, marker: &str, revision: i64) -> Operation {
        let entries = self.entries.lock().unwrap();
        let Some(entry) = entries.get(marker) else {
            panic!("{marker} was never sent")
        };
        if let Some(answered) = entry.revision {
            assert_eq!(
                answered, revision,
                "{marker} was answered with another revision"
            );
        }
        entry.operation.clone()
    }

    /// Operations that were answered, with their revisions.
    pub fn all_answered(&self) -> Vec<(String, i64)> {
        let entries = self.entries.lock().unwrap();
        let answered = entries.iter().filter_map(|(marker, entry)| {
            entry.revision.map(|revision| (marker.clone(), revision))
        });
        answered.collect()
    }

    pub fn answered(&self) -> usize {
        self.all_answered().len()
    }
}

//! Archives as text. Pure.

use std::fmt::Write;

use archive::{
    inspection::{Contents, Verified},
    retention::Removal,
};

use crate::backup::Time;

const HEADINGS: [&str; 4] = ["BASE AT REVISION", "WRITTEN", "BYTES", "DELTAS AFTER IT"];

fn time(ms: u64) -> String {
    Time::from_unix(ms / 1000).to_string()
}

pub(super) fn contents(found: &Contents) -> String {
    let deltas = &found.listing.deltas;
    let mut rows = Vec::new();
    for (at, announcement) in found.announcements.iter().enumerate() {
        let after = deltas.range(announcement.delta..).skip(1);
        let count = match found.announcements.get(at + 1) {
            Some(next) => after.take_while(|(name, _)| **name < next.delta).count(),
            None => after.count(),
        };
        let bytes = found.listing.bases.get(&announcement.base);
        rows.push(vec![
            announcement.base.revision.to_string(),
            time(announcement.ended_ms),
            bytes.copied().unwrap_or_default().to_string(),
            count.to_string(),
        ]);
    }
    let mut text = tables::columns(&HEADINGS, rows);
    let _ = writeln!(
        text,
        "\ncluster {:x}: {} bases, {} deltas, {} bytes; the last delta is of {}",
        found.cluster_id,
        found.listing.bases.len(),
        deltas.len(),
        found.bytes(),
        time(found.newest_ms)
    );
    for base in &found.unannounced {
        let _ = writeln!(
            text,
            "{base}: no delta tells of it; it is being written, or was given up"
        );
    }
    text
}

pub(super) fn verified(verified: &Verified) -> String {
    let mut text = format!(
        "whole: cluster {:x}, revisions {} to {}, {} bases, {} deltas, {} bytes; the last delta is of {}\n",
        verified.cluster_id,
        verified.first,
        verified.last,
        verified.bases,
        verified.deltas,
        verified.bytes,
        time(verified.ended_ms)
    );
    for gap in &verified.gaps {
        let _ = writeln!(
            text,
            "revisions {} to {} are not in it: the archive could not be written then",
            gap.first, gap.last
        );
    }
    if verified.unreachable > 0 {
        let _ = writeln!(
            text,
            "{} deltas in front lead nowhere: a removal was interrupted, or the base before them was lost; `archive prune` removes them",
            verified.unreachable
        );
    }
    text
}

pub(super) fn removal(removal: &Removal, what: &str) -> String {
    let Some(begins) = removal.begins else {
        return "there is no base, so nothing may go\n".to_owned();
    };
    let mut text = String::new();
    for base in &removal.bases {
        let _ = writeln!(text, "{base}");
    }
    if let (Some(first), Some(last)) = (removal.deltas.first(), removal.deltas.last()) {
        let _ = writeln!(text, "{first} to {last}");
    }
    let _ = writeln!(
        text,
        "{} bases and {} deltas, {} bytes, {what}; the archive begins at revision {} of {}",
        removal.bases.len(),
        removal.deltas.len(),
        removal.bytes,
        begins.base.revision,
        time(begins.ended_ms)
    );
    text
}

//! Random archives, of which each change is noticed.

use etcd_state::mvcc::Revision;
use proptest::prelude::*;

use super::*;
use crate::{BaseInfo, Delta, Digest, Header, Kind, ObjectName};

/// A step of an archive: how many revisions, and whether it is a base.
#[derive(Debug, Clone, Copy)]
enum Step {
    Changes(i64),
    Base,
    Gap(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..4_i64).prop_map(Step::Changes),
        1 => Just(Step::Base),
        1 => (1..4_i64).prop_map(Step::Gap),
    ];
    proptest::collection::vec(step, 1..20)
}

fn header(kind: Kind, name: DeltaName, last: i64, previous: Digest) -> Header {
    Header {
        kind,
        name,
        cluster_id: 7,
        node_id: 1,
        last: Revision::new(last),
        compact_revision: Revision::NONE,
        ended_ms: last as u64,
        previous,
    }
}

fn info(nonce: u64) -> BaseInfo {
    BaseInfo {
        nonce,
        bytes: 1,
        digest: Digest([nonce as u8; 32]),
    }
}

fn sealed(header: Header) -> (Header, Digest) {
    let delta = Delta {
        header,
        batches: Vec::new(),
        records: Vec::new(),
    };
    let (_, digest) = delta.encode();
    (delta.header, digest)
}

/// Makes a chain whose first base is at revision 3.
fn chain(steps: &[Step]) -> Vec<(Header, Digest)> {
    let first = header(
        Kind::BaseAfterGap(info(100)),
        DeltaName::GENESIS,
        3,
        Digest::NONE,
    );
    let mut chain = vec![sealed(first)];
    for (nonce, step) in steps.iter().enumerate() {
        let (before, digest) = chain.last().unwrap();
        let end = before.last.number();
        let (kind, last) = match *step {
            Step::Changes(count) => {
                let has_all_records = false;
                (Kind::Changes { has_all_records }, end + count)
            }
            Step::Base => (Kind::Base(info(nonce as u64)), end),
            Step::Gap(count) => (Kind::BaseAfterGap(info(nonce as u64)), end + count),
        };
        let name = before.next_name().unwrap();
        let next = header(kind, name, last, *digest);
        chain.push(sealed(next));
    }
    chain
}

fn listing(chain: &[(Header, Digest)]) -> Listing {
    let mut listing = Listing::default();
    for (header, _) in chain {
        listing.insert(ObjectName::Delta(header.name), 1);
        if let Some((base, _)) = header.base() {
            listing.insert(ObjectName::Base(base), 1);
        }
    }
    listing
}

/// Walks to a revision as a restore does. Returns the base, and the last revision of what it read.
fn walk(chain: &[(Header, Digest)], revision: Revision) -> Result<(BaseName, End), ChainError> {
    let listing = listing(chain);
    let find = |name| {
        let found = chain.iter().find(|(header, _)| header.name == name);
        found.cloned().unwrap()
    };
    for base in listing.bases_up_to(revision) {
        for name in listing.announcements_of(base) {
            let (header, digest) = find(name);
            if header.base().map(|(name, _)| name) != Some(base) {
                continue;
            }
            let mut end = End::at(name, &header, digest)?;
            for name in listing.between(name, revision) {
                let (header, digest) = find(name);
                end = end.follow_gapless(name, &header, digest)?;
            }
            return match end.last < revision {
                true => Err(ChainError::TooNew {
                    revision,
                    last: end.last,
                }),
                false => Ok((base, end)),
            };
        }
    }
    Err(ChainError::Empty)
}

proptest! {
    #[test]
    fn a_chain_that_was_written_can_be_followed(steps in steps()) {
        let chain = chain(&steps);
        let mut end = End::at(chain[0].0.name, &chain[0].0, chain[0].1).unwrap();
        for (header, digest) in &chain[1..] {
            end = end.follow(header.name, header, *digest).unwrap();
        }
    }

    #[test]
    fn every_revision_is_reached_unless_it_is_in_a_gap(steps in steps()) {
        let chain = chain(&steps);
        let last = chain.last().unwrap().0.last.number();
        for revision in 1..=last + 2 {
            let revision = Revision::new(revision);
            let in_gap = chain.iter().any(|(header, _)| {
                matches!(header.kind, Kind::BaseAfterGap(_))
                    && (header.first()..header.last).contains(&revision)
            });
            match walk(&chain, revision) {
                Ok((base, end)) => {
                    prop_assert!(!in_gap && base.revision <= revision && end.last >= revision);
                    // No base is nearer.
                    let nearer = listing(&chain).bases_up_to(revision).next().unwrap();
                    prop_assert_eq!(nearer.revision, base.revision);
                }
                Err(ChainError::Gap { first, last }) => {
                    prop_assert!(in_gap && (first..=last).contains(&revision));
                }
                Err(ChainError::TooNew { .. }) => prop_assert!(revision.number() > last),
                Err(ChainError::Empty) => prop_assert!(revision.number() < 3),
                Err(error) => prop_assert!(false, "{revision}: {error}"),
            }
        }
    }

    #[test]
    fn whatever_is_taken_out_or_replaced_is_noticed(steps in steps(), at: proptest::sample::Index, how in 0..5) {
        let mut chain = chain(&steps);
        chain.push(sealed({
            let (before, digest) = chain.last().unwrap();
            let name = before.next_name().unwrap();
            let last = before.last.number() + 1;
            header(Kind::Changes { has_all_records: false }, name, last, *digest)
        }));
        let at = 1 + at.index(chain.len() - 1);
        let (mut changed, _) = chain[at].clone();
        match how {
            0 => changed.cluster_id += 1,
            1 => changed.node_id += 1,
            2 => changed.previous.0[3] ^= 1,
            3 => changed.ended_ms = 0,
            _ => changed.name.number += 1,
        }
        let name = chain[at].0.name;
        let mut end = End::at(chain[0].0.name, &chain[0].0, chain[0].1).unwrap();
        chain[at] = sealed(changed);
        let mut noticed = false;
        for (i, (header, digest)) in chain.iter().enumerate().skip(1) {
            let name = if i == at { name } else { header.name };
            match end.follow(name, header, *digest) {
                Ok(next) => end = next,
                Err(_) => noticed = true,
            }
        }
        // A last delta that says the same of another node is as good.
        prop_assert!(noticed || (how == 1 && at == chain.len() - 1));
    }

    #[test]
    fn a_missing_delta_is_named(steps in steps(), at: proptest::sample::Index) {
        let chain = chain(&steps);
        prop_assume!(chain.len() > 2);
        let at = 1 + at.index(chain.len() - 2);
        let mut end = End::at(chain[0].0.name, &chain[0].0, chain[0].1).unwrap();
        for (header, digest) in &chain[1..at] {
            end = end.follow(header.name, header, *digest).unwrap();
        }
        let (header, digest) = &chain[at + 1];
        let missing = chain[at].0.name;
        prop_assert_eq!(end.follow(header.name, header, *digest), Err(ChainError::Missing { missing }));
    }
}

#[test]
fn a_chain_begins_with_a_base_and_names_nothing_before() {
    let (first, digest) = chain(&[]).remove(0);
    let mut wrong = first.clone();
    wrong.previous = Digest([1; 32]);
    let name = first.name;
    let (wrong, wrong_digest) = sealed(wrong);
    assert!(End::at(name, &first, digest).is_ok());
    assert_eq!(
        End::at(name, &wrong, wrong_digest),
        Err(ChainError::Fork { name })
    );
}

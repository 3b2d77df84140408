//! Random writes, restored at random revisions.

use std::collections::BTreeMap;

use etcd_proto::etcdserverpb::{HashKvRequest, LeaseGrantRequest};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{Place, restore, restored, text};
use crate::harness::*;

/// A key as a client sees it: value, create revision, mod revision, version, lease.
type Seen = (Vec<u8>, i64, i64, i64, i64);

type State = BTreeMap<Vec<u8>, Seen>;

/// The store at every revision, by what was asked for.
#[derive(Default)]
struct Model {
    states: BTreeMap<i64, State>,
    now: State,
    leases: Vec<i64>,
}

impl Model {
    fn put(&mut self, key: String, value: String, lease: i64, revision: i64) {
        let before = self.now.get(key.as_bytes());
        let (create_revision, version) = before.map_or((revision, 1), |it| (it.1, it.3 + 1));
        let seen = (value.into(), create_revision, revision, version, lease);
        self.now.insert(key.into(), seen);
    }

    fn end(&mut self, revision: i64) {
        self.states.insert(revision, self.now.clone());
    }

    async fn write(&mut self, api: &Api, random: &mut StdRng) {
        let key = format!("key/{}", random.random_range(0..12));
        let value = "x".repeat(random.random_range(0..400));
        match random.random_range(0..10) {
            0 => {
                let id = random.random_range(1..i64::MAX);
                let request = LeaseGrantRequest { id, ttl: 3600 };
                api.ask(request).await;
                self.leases.push(id);
            }
            1 if !self.leases.is_empty() => {
                let at = random.random_range(0..self.leases.len());
                let id = self.leases.swap_remove(at);
                let before = self.now.len();
                self.now.retain(|_, seen| seen.4 != id);
                let revision = at_revision(&api.ask(revoke(id)).await.header);
                if self.now.len() < before {
                    self.end(revision);
                }
            }
            2 if self.now.contains_key(key.as_bytes()) => {
                let revision = api.delete(&key).await;
                self.now.remove(key.as_bytes());
                self.end(revision);
            }
            3 => {
                let other = format!("other/{}", random.random_range(0..3));
                let request = txn()
                    .then(put(key.clone(), value.clone()))
                    .then(put(other.clone(), "1"));
                let revision = at_revision(&api.ask(request).await.header);
                self.put(key, value, 0, revision);
                self.put(other, "1".to_owned(), 0, revision);
                self.end(revision);
            }
            4..6 if !self.leases.is_empty() => {
                let lease = self.leases[random.random_range(0..self.leases.len())];
                let mut request = put(key.clone(), value.clone());
                request.lease = lease;
                let revision = at_revision(&api.ask(request).await.header);
                self.put(key, value, lease, revision);
                self.end(revision);
            }
            _ => {
                let revision = api.put(&key, &value).await;
                self.put(key, value, 0, revision);
                self.end(revision);
            }
        }
    }
}

fn at_revision(header: &Option<etcd_proto::etcdserverpb::ResponseHeader>) -> i64 {
    at(header)
}

async fn state(api: &Api, revision: i64) -> State {
    let mut request = get_range(vec![0], vec![0]);
    request.revision = revision;
    let found = api.ask(request).await.kvs.into_iter().map(|kv| {
        let seen = (
            kv.value.to_vec(),
            kv.create_revision,
            kv.mod_revision,
            kv.version,
            kv.lease,
        );
        (kv.key.to_vec(), seen)
    });
    found.collect()
}

async fn hash(api: &Api, revision: i64) -> (u32, i64) {
    let found = api.ask(HashKvRequest { revision }).await;
    (found.hash, found.compact_revision)
}

fn seed() -> u64 {
    let seed = std::env::var("ARCHIVE_SEED").ok();
    let seed = seed.map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("ARCHIVE_SEED={seed}");
    seed
}

/// Writes in rounds, after each of which all is archived, and the server is killed.
async fn written(
    place: &Place,
    random: &mut StdRng,
    compacts: bool,
) -> (Model, BTreeMap<i64, (u32, i64)>) {
    let mut server = Server::start_with(Kind::K8sDqlite, place.options()).await;
    // Nothing before the first base is in it.
    place.wait_for(1).await;
    let (mut model, mut hashes) = (Model::default(), BTreeMap::new());
    for round in 0..3 {
        let api = server.api().await;
        let first = api.revision().await;
        for _ in 0..60 {
            model.write(&api, random).await;
        }
        let last = api.revision().await;
        if compacts && round == 1 {
            api.ask(compact(last - 10)).await;
            // The compaction goes along with the next delta.
            model.write(&api, random).await;
        }
        let last = api.revision().await.max(last);
        let from = if compacts { last } else { first.max(2) };
        for revision in from..=last {
            hashes.insert(revision, hash(&api, revision).await);
        }
        place.wait_for(last).await;
        server.kill9();
        if round < 2 {
            server.restart().await;
        }
    }
    (model, hashes)
}

#[tokio::test]
async fn every_revision_comes_back_when_all_is_lost() {
    let mut random = StdRng::seed_from_u64(seed());
    let place = Place::new();
    let (model, hashes) = written(&place, &mut random, false).await;
    let (end, _) = place.check().await;
    let revisions: Vec<i64> = model.states.keys().copied().collect();
    assert_eq!(end.last.number(), *revisions.last().unwrap());
    let mut wanted: Vec<i64> = (0..8)
        .map(|_| revisions[random.random_range(0..revisions.len())])
        .collect();
    wanted.push(end.last.number());
    for revision in wanted {
        let (server, printed) =
            restored(&place.url(), &["--revision", &revision.to_string()]).await;
        let begin = format!("restored: revision {revision}, not compacted");
        assert!(printed.starts_with(&begin), "{printed}");
        let api = server.api().await;
        assert_eq!(api.revision().await, revision);
        assert_eq!(state(&api, 0).await, model.states[&revision], "{revision}");
        assert_eq!(hash(&api, revision).await, hashes[&revision], "{revision}");
        check_leases(&api, &model.states[&revision]).await;
        // Earlier revisions are there as well.
        let earlier = revisions[random.random_range(0..revisions.len())].min(revision);
        assert_eq!(state(&api, earlier).await, model.states[&earlier]);
        assert_eq!(api.put("new", "1").await, revision + 1);
    }
}

/// Every lease of a key is there, with its TTL.
async fn check_leases(api: &Api, state: &State) {
    let leased = state
        .values()
        .map(|seen| seen.4)
        .filter(|lease| *lease != 0);
    for lease in leased {
        let found = api.ask(time_to_live(lease)).await;
        assert_eq!(found.granted_ttl, 3600, "lease {lease}");
    }
}

#[tokio::test]
async fn a_compacted_store_comes_back_as_it_was() {
    let mut random = StdRng::seed_from_u64(seed());
    let place = Place::new();
    let (model, hashes) = written(&place, &mut random, true).await;
    let (last, state_then) = model.states.last_key_value().unwrap();
    let (server, _) = restored(&place.url(), &[]).await;
    let api = server.api().await;
    assert_eq!(&state(&api, 0).await, state_then);
    assert_eq!(hash(&api, *last).await, hashes[last]);
    assert!(hashes[last].1 > 0);
    let leases = api
        .ask(etcd_proto::etcdserverpb::LeaseLeasesRequest {})
        .await;
    let mut leases: Vec<_> = leases.leases.iter().map(|lease| lease.id).collect();
    let mut expected = model.leases.clone();
    leases.sort_unstable();
    expected.sort_unstable();
    assert_eq!(leases, expected);
    // What was compacted later is there at a revision before.
    let before = *model.states.keys().next().unwrap();
    let (server, printed) = restored(&place.url(), &["--revision", &before.to_string()]).await;
    assert!(printed.contains("not compacted"), "{printed}");
    assert_eq!(state(&server.api().await, 0).await, model.states[&before]);
}

#[tokio::test]
async fn what_the_archive_does_not_have_is_refused_by_name() {
    let place = Place::new();
    let to = ["--from", &place.url(), "--dry-run"];
    let refused = |arguments: &[&str]| {
        let output = restore(&[&to[..], arguments].concat());
        (output.status.code().unwrap(), text(&output.stderr))
    };
    let (code, said) = refused(&[]);
    assert!(code == 6 && said.contains("there is no base"), "{said}");
    let mut server = Server::start_with(Kind::K8sDqlite, place.options()).await;
    let revision = server.api().await.put("a", "1").await;
    place.wait_for(revision).await;
    server.terminate().await;
    let (code, said) = refused(&["--revision", "1000"]);
    assert!(code != 0 && said.contains("ends at revision 2"), "{said}");
    let (_, said) = refused(&["--time", "2001-01-01T00:00:00Z"]);
    assert!(said.contains("begins after that time"), "{said}");
    let output = restore(&[&to[..], &["--time", "2101-01-01T00:00:00Z"]].concat());
    let printed = text(&output.stdout);
    assert!(
        printed.starts_with("can be restored: revision 2"),
        "{printed}"
    );
}

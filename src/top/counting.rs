//! Counts the requests of clients while somebody looks.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use super::{
    COUNTING_TIME, Operation,
    groups::{MAX_DEPTH, RESOURCE_DEPTH, group_of, is_shown},
};

/// Clients that are told apart; all later ones are one. A cluster has some tens.
const MAX_CLIENTS: usize = 256;

/// Clients from which on those that asked nothing for [`IDLE_TIME`] are counted as others: pods with names of their own, for
/// instance, come and go.
const MANY_CLIENTS: usize = MAX_CLIENTS / 2;

/// Groups that are counted, each with up to [`MAX_CLIENTS_OF_GROUP`] clients: some 200 bytes each. Kubernetes has some 100
/// types of resources, each in the namespaces that use it.
const MAX_GROUPS: usize = 8192;

/// More groups that are counted when those are there: types of resources, under which all others are counted then.
const MAX_MORE_TYPES: usize = 1024;

/// Groups from which on those that nobody used for [`IDLE_TIME`] are counted under their types: namespaces come and go.
const MANY_GROUPS: usize = MAX_GROUPS / 2;
const IDLE_TIME: Duration = Duration::from_secs(300);

/// Clients of one group that are told apart; all later ones are one.
const MAX_CLIENTS_OF_GROUP: usize = 32;

/// The longest name of a client's program, in characters, and of a user.
const MAX_NAME_CHARS: usize = 96;

/// The place of all clients that are not told apart.
pub const REST: usize = 0;

/// A client, as far as a connection tells.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ClientName {
    /// Empty at a unix socket.
    pub address: String,
    pub user: String,
    pub agent: String,
}

impl ClientName {
    pub fn new(address: String, user: &str, agent: &str) -> Self {
        let short = |text: &str| {
            let printable = text.chars().filter(|it| is_shown(*it));
            printable.take(MAX_NAME_CHARS).collect()
        };
        Self {
            address,
            user: short(user),
            agent: short(agent),
        }
    }
}

/// The requests and watchers of one client in one group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Use {
    pub reads: u64,
    pub writes: u64,
    pub written_bytes: u64,
    pub watchers: u64,
    pub slow_watchers: u64,
}

impl Use {
    pub fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.written_bytes += other.written_bytes;
        self.watchers += other.watchers;
        self.slow_watchers += other.slow_watchers;
    }
}

#[derive(Debug, Default)]
pub struct Counting {
    /// True while requests are counted. Read for each request.
    is_on: AtomicBool,
    /// The counts since the last look. Each request that is counted waits for it, so that a look only takes it out.
    recent: Mutex<Option<Recent>>,
    /// The counts of before. Taken before `recent`, never after it.
    total: Mutex<Total>,
}

#[derive(Debug, Default)]
struct Total {
    counts: Counts,
    /// The last look that found uses of a group.
    used_at: HashMap<Vec<u8>, Instant>,
    /// The same of a client's place.
    asked_at: HashMap<usize, Instant>,
}

#[derive(Debug)]
struct Recent {
    counts: Counts,
    began: Instant,
    until: Instant,
}

/// The counts of one counting.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// When it began, in milliseconds since 1970: what tells one counting from another.
    pub number: u64,
    pub counted_ms: u64,
    /// The first one stands for all that are not told apart.
    pub clients: Vec<ClientName>,
    places: HashMap<ClientName, usize>,
    /// Places of clients that are gone.
    free: Vec<usize>,
    /// By group, and by the client's place.
    pub groups: HashMap<Vec<u8>, Vec<(usize, Use)>>,
    /// Of the groups that are too many, by the client's place.
    pub rest: Vec<(usize, Use)>,
    pub watchers_left_out: u64,
}

impl Counting {
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// Counts what `client` asked for, if somebody looks.
    pub fn count<'a>(
        &self,
        client: impl FnOnce() -> ClientName,
        operations: impl IntoIterator<Item = Operation<'a>>,
    ) {
        if !self.is_on() {
            return;
        }
        let client = client();
        let mut recent = self.recent();
        let ended = recent.take_if(|it| it.until < Instant::now());
        if let Some(ended) = ended {
            self.is_on.store(false, Ordering::Relaxed);
            drop(recent);
            self.forget(ended.counts.number);
            return;
        }
        let Some(state) = recent.as_mut() else { return };
        let place = state.counts.place(&client);
        for operation in operations {
            let counted = state.counts.of(operation.group, place);
            match operation.written_bytes {
                None => counted.reads += 1,
                Some(bytes) => {
                    counted.writes += 1;
                    counted.written_bytes += bytes as u64;
                }
            }
        }
    }

    /// Counts for another while. The first call begins.
    pub fn keep_on(&self) {
        self.with_recent(|_| ());
    }

    /// Returns what was counted, and counts for another while.
    pub fn look(&self) -> Counts {
        let mut total = self.total();
        let (recent, began) = self.with_recent(|recent| {
            let next = Counts::new(recent.counts.number);
            (mem::replace(&mut recent.counts, next), recent.began)
        });
        if total.counts.number != recent.number {
            *total = Total::new(recent.number);
        }
        total.merge(&recent, Instant::now());
        total.counts.counted_ms = began.elapsed().as_millis() as u64;
        total.counts.clone()
    }

    fn with_recent<R>(&self, act: impl FnOnce(&mut Recent) -> R) -> R {
        let now = Instant::now();
        let mut recent = self.recent();
        // Another counting begins if the last one ended.
        recent.take_if(|it| it.until < now);
        let recent = recent.get_or_insert_with(|| Recent {
            counts: Counts::new(UNIX_EPOCH.elapsed().unwrap_or_default().as_millis() as u64),
            began: now,
            until: now,
        });
        recent.until = now + COUNTING_TIME;
        self.is_on.store(true, Ordering::Relaxed);
        act(recent)
    }

    /// Frees the memory of a counting that ended.
    fn forget(&self, number: u64) {
        let mut total = self.total();
        if total.counts.number == number {
            *total = Total::default();
        }
    }

    fn recent(&self) -> MutexGuard<'_, Option<Recent>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn total(&self) -> MutexGuard<'_, Total> {
        self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Total {
    fn new(number: u64) -> Self {
        Self {
            counts: Counts::new(number),
            ..Self::default()
        }
    }

    fn merge(&mut self, recent: &Counts, now: Instant) {
        // Before others come, so that a place is empty in one answer at least.
        let clients = self.counts.clients.len() - self.counts.free.len();
        let placed = self.counts.merge(recent);
        self.asked_at
            .extend(placed.into_iter().map(|place| (place, now)));
        if clients > MANY_CLIENTS {
            self.drop_idle_clients(now);
        }
        for group in recent.groups.keys() {
            if self.counts.groups.contains_key(group) {
                self.used_at.insert(group.clone(), now);
            }
        }
        if self.counts.groups.len() > MANY_GROUPS {
            self.drop_idle(now);
        }
    }

    /// Counts idle clients as others.
    fn drop_idle_clients(&mut self, now: Instant) {
        let is_idle = |at: &Instant| now.saturating_duration_since(*at) > IDLE_TIME;
        let idle = self.asked_at.extract_if(|_, at| is_idle(at));
        let idle: Vec<usize> = idle.map(|(place, _)| place).collect();
        self.counts.free(&idle);
    }

    /// Counts idle groups under their types. Those are kept, or their counts would go back.
    fn drop_idle(&mut self, now: Instant) {
        let counts = &mut self.counts;
        let is_idle = |at: &Instant| now.saturating_duration_since(*at) > IDLE_TIME;
        self.used_at.retain(|group, at| {
            let of_type = group_of(group, RESOURCE_DEPTH);
            if !is_idle(at) || of_type == group {
                return true;
            }
            let uses = counts.groups.remove(group).unwrap_or_default();
            for (client, used) in uses {
                counts.of(of_type, client).add(&used);
            }
            false
        });
    }
}

impl Counts {
    fn new(number: u64) -> Self {
        Self {
            number,
            clients: vec![ClientName::default()],
            ..Self::default()
        }
    }

    /// Adds a watcher of the keys that begin at `start`.
    pub fn add_watcher(&mut self, client: &ClientName, start: &[u8], is_slow: bool) {
        let place = self.place(client);
        let counted = self.of(group_of(start, MAX_DEPTH), place);
        counted.watchers += 1;
        counted.slow_watchers += u64::from(is_slow);
    }

    fn place(&mut self, client: &ClientName) -> usize {
        if let Some(place) = self.places.get(client) {
            return *place;
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None if self.clients.len() > MAX_CLIENTS => return REST,
            None => {
                self.clients.push(ClientName::default());
                self.clients.len() - 1
            }
        };
        self.clients[place] = client.clone();
        self.places.insert(client.clone(), place);
        place
    }

    /// Counts what these clients did as that of others, and frees their places.
    fn free(&mut self, places: &[usize]) {
        for uses in self.groups.values_mut().chain([&mut self.rest]) {
            let gone: Vec<Use> = uses
                .extract_if(.., |(client, _)| places.contains(client))
                .map(|(_, used)| used)
                .collect();
            for used in gone {
                of_client(uses, REST).add(&used);
            }
        }
        for place in places {
            let client = std::mem::take(&mut self.clients[*place]);
            self.places.remove(&client);
            self.free.push(*place);
        }
    }

    /// Adds what another table has, the clients of which have other places. Returns their places here.
    fn merge(&mut self, other: &Self) -> Vec<usize> {
        let clients = other.clients.iter().enumerate();
        let places: Vec<usize> = clients
            .map(|(place, client)| match place {
                REST => REST,
                _ => self.place(client),
            })
            .collect();
        for (group, uses) in &other.groups {
            for (client, used) in uses {
                self.of(group, places[*client]).add(used);
            }
        }
        for (client, used) in &other.rest {
            of_client(&mut self.rest, places[*client]).add(used);
        }
        places.into_iter().filter(|place| *place != REST).collect()
    }

    fn of(&mut self, group: &[u8], client: usize) -> &mut Use {
        let is_full = self.groups.len() >= MAX_GROUPS && !self.groups.contains_key(group);
        let group = match is_full {
            true => group_of(group, RESOURCE_DEPTH),
            false => group,
        };
        let has_place = self.groups.len() < MAX_GROUPS + MAX_MORE_TYPES;
        if has_place && !self.groups.contains_key(group) {
            self.groups.insert(group.to_vec(), Vec::new());
        }
        let uses = match self.groups.get_mut(group) {
            Some(uses) => uses,
            None => &mut self.rest,
        };
        of_client(uses, client)
    }
}

fn of_client(uses: &mut Vec<(usize, Use)>, client: usize) -> &mut Use {
    let client = match uses.iter().any(|(known, _)| *known == client) {
        false if uses.len() >= MAX_CLIENTS_OF_GROUP => REST,
        _ => client,
    };
    let place = uses.iter().position(|(known, _)| *known == client);
    let place = place.unwrap_or_else(|| {
        uses.push((client, Use::default()));
        uses.len() - 1
    });
    &mut uses[place].1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(number: usize) -> ClientName {
        ClientName::new(format!("10.0.0.{number}"), "", "test")
    }

    fn read(group: &[u8]) -> [Operation<'_>; 1] {
        [Operation {
            group,
            written_bytes: None,
        }]
    }

    #[test]
    fn nothing_is_counted_until_somebody_looks() {
        let counting = Counting::default();
        counting.count(|| unreachable!("nobody looks"), read(b"/a/"));
        assert!(counting.look().groups.is_empty());
        counting.count(|| client(1), read(b"/a/"));
        let counts = counting.look();
        assert_eq!(counts.groups[&b"/a/"[..]][0].1.reads, 1);
        assert_eq!(counts.clients[1], client(1));
    }

    #[test]
    fn counting_ends_some_time_after_the_last_look() {
        let counting = Counting::default();
        counting.keep_on();
        counting.count(|| client(1), read(b"/a/"));
        let first = counting.look();
        assert_eq!(first.groups.len(), 1);
        counting.recent().as_mut().unwrap().until = Instant::now()
            .checked_sub(COUNTING_TIME)
            .unwrap_or_else(Instant::now);
        counting.count(|| client(1), read(b"/a/"));
        assert!(!counting.is_on());
        assert!(counting.recent().is_none(), "its memory is free");
        assert!(counting.total().counts.clients.is_empty());
        let second = counting.look();
        assert!(second.groups.is_empty() && second.number >= first.number);
    }

    #[test]
    fn what_was_counted_between_looks_is_added_up() {
        let counting = Counting::default();
        counting.keep_on();
        // The clients have other places each time.
        for order in [[1, 2, 3], [3, 1, 2], [2, 3, 1]] {
            for number in order {
                let group = format!("/{number}/");
                counting.count(|| client(number), read(group.as_bytes()));
                counting.count(|| client(number), read(b"/all/"));
            }
            counting.look();
        }
        let counts = counting.look();
        assert_eq!((counts.clients.len(), counts.groups.len()), (4, 4));
        for (group, uses) in &counts.groups {
            for (place, used) in uses {
                assert_eq!(used.reads, 3, "{uses:?}");
                let alone = format!("/{}/", &counts.clients[*place].address[7..]);
                assert!(group == b"/all/" || group == alone.as_bytes());
            }
        }
    }

    #[test]
    fn clients_and_groups_are_bounded() {
        let mut counts = Counts::new(1);
        for number in 0..2 * MAX_CLIENTS {
            let place = counts.place(&client(number));
            counts.of(b"/a/", place).reads += 1;
        }
        assert_eq!(counts.clients.len(), MAX_CLIENTS + 1);
        let uses = &counts.groups[&b"/a/"[..]];
        assert!(uses.len() <= MAX_CLIENTS_OF_GROUP + 1);
        let reads: u64 = uses.iter().map(|(_, it)| it.reads).sum();
        assert_eq!(reads, 2 * MAX_CLIENTS as u64, "none is lost");
        // One was there before.
        for number in 0..MAX_GROUPS + MAX_MORE_TYPES + 10 {
            counts.of(format!("/g/{number}/").as_bytes(), 1).writes += 1;
        }
        assert_eq!(counts.groups.len(), MAX_GROUPS + MAX_MORE_TYPES);
        assert_eq!(counts.rest[0].1.writes, 11);
    }

    #[test]
    fn when_it_is_full_a_namespace_is_counted_under_its_type() {
        let mut counts = Counts::new(1);
        for number in 0..MAX_GROUPS + 10 {
            let group = format!("/registry/pods/ci-{number}/");
            counts.of(group.as_bytes(), 1).writes += 1;
        }
        counts.of(b"/registry/leases/ci-1/", 1).writes += 1;
        assert!(counts.rest.is_empty());
        assert_eq!(counts.groups[&b"/registry/pods/"[..]][0].1.writes, 10);
        assert_eq!(counts.groups[&b"/registry/leases/"[..]][0].1.writes, 1);
    }

    #[test]
    fn namespaces_that_are_gone_make_place_for_others() {
        let mut total = Total::new(1);
        let mut now = Instant::now();
        // Many more in the end than there are places.
        for round in 0..20 {
            let mut recent = Counts::new(1);
            for number in 0..1000 {
                let group = format!("/registry/pods/ci-{round}-{number}/");
                recent.of(group.as_bytes(), REST).writes += 1;
            }
            total.merge(&recent, now);
            now += IDLE_TIME / 3;
        }
        let groups = &total.counts.groups;
        assert!(groups.len() <= MAX_GROUPS, "{}", groups.len());
        assert!(groups.contains_key(&b"/registry/pods/ci-19-999/"[..]));
        assert_eq!(total.used_at.len(), groups.len() - 1);
        let all = groups.values().flatten().map(|(_, used)| used.writes);
        assert_eq!(all.sum::<u64>(), 20_000, "none is lost");
    }

    #[test]
    fn clients_that_are_gone_make_place_for_others() {
        let mut total = Total::new(1);
        let mut now = Instant::now();
        // Many more in the end than there are places.
        for round in 0..20 {
            let mut recent = Counts::new(1);
            for number in 0..50 {
                let place = recent.place(&client(1000 * round + number));
                recent.of(b"/a/", place).reads += 1;
                recent.of(format!("/{number}/").as_bytes(), place).reads += 1;
            }
            // One stays.
            let stays = recent.place(&client(1_000_000));
            recent.of(b"/b/", stays).reads += 1;
            total.merge(&recent, now);
            now += IDLE_TIME / 3;
        }
        let counts = &total.counts;
        assert!(
            counts.clients.len() <= MAX_CLIENTS,
            "{}",
            counts.clients.len()
        );
        let last = counts.places[&client(19_049)];
        assert_eq!(counts.clients[last], client(19_049));
        let stays = counts.places[&client(1_000_000)];
        assert_eq!(
            counts.groups[&b"/b/"[..]],
            [(
                stays,
                Use {
                    reads: 20,
                    ..Use::default()
                }
            )]
        );
        let all = counts.groups.values().flatten().map(|(_, used)| used.reads);
        assert_eq!(all.sum::<u64>(), 20 * 101, "none is lost");
        for uses in counts.groups.values() {
            assert!(uses.iter().all(|(place, _)| !counts.free.contains(place)));
        }
    }

    #[test]
    fn names_are_short_and_printable() {
        let name = ClientName::new(String::new(), "a\x1b[1m\u{202e}\u{200b}", &"x".repeat(1000));
        assert_eq!(name.user, "a[1m");
        assert_eq!(name.agent.len(), MAX_NAME_CHARS);
    }
}

//! The faults, one after the other, chosen by the seed.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::disk;
use super::nodes::Nodes;

/// Between two faults.
const CALM_MS: std::ops::Range<u64> = 300..1500;

/// Elections take up to 600 ms at the default setting: some of these are shorter, most longer.
pub const AWAY_MS: std::ops::Range<u64> = 300..4000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Kill,
    KillAll,
    Pause,
    Stop,
    /// Another node is asked to lead.
    Transfer,
    /// A node is lost with its disk, and joins again.
    Wipe,
    /// The same after it was removed from the cluster.
    Remove,
    /// No messages pass between one node and the others.
    Isolate,
    /// No messages pass between two nodes, which both still reach the third.
    Cut,
    /// The messages that a node sends are lost.
    Mute,
    /// The messages that are sent to a node are lost.
    Deafen,
    /// The disk is full.
    Fill,
    /// A bit flips while a node does not run.
    FlipBit,
    /// A call of a node on one of its files fails.
    FailCall,
    /// An old copy of a node's directory comes back.
    OldCopy,
}

const ALONE: [Fault; 6] = [
    Fault::Kill,
    Fault::Pause,
    Fault::Stop,
    Fault::FlipBit,
    Fault::FailCall,
    Fault::OldCopy,
];
const WITH_OTHERS: [Fault; 4] = [Fault::KillAll, Fault::Transfer, Fault::Wipe, Fault::Remove];
const BETWEEN_NAMESPACES: [Fault; 4] = [Fault::Isolate, Fault::Cut, Fault::Mute, Fault::Deafen];

/// Returns the faults that are possible with these nodes.
fn known(nodes: &Nodes) -> Vec<Fault> {
    let mut known = ALONE.to_vec();
    if nodes.is_in_namespaces() {
        known.push(Fault::Fill);
    }
    if nodes.len() > 1 {
        known.extend(WITH_OTHERS);
    }
    if nodes.len() > 1 && nodes.is_in_namespaces() {
        known.extend(BETWEEN_NAMESPACES);
    }
    known
}

pub async fn sleep_ms(random: &mut StdRng, range: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(range))).await;
}

/// Causes one fault, lets it last, and undoes it. Also returns its result, where that may differ.
pub async fn one(nodes: &mut Nodes, random: &mut StdRng) -> (Fault, &'static str) {
    sleep_ms(random, CALM_MS).await;
    let fault = *known(nodes).choose(random).unwrap();
    let mut outcome = "";
    let any = random.random_range(0..nodes.len());
    let node = if random.random_bool(0.7) {
        nodes.leader().await.unwrap_or(any)
    } else {
        any
    };
    let others: Vec<_> = (0..nodes.len()).filter(|other| *other != node).collect();
    match fault {
        Fault::Kill => {
            nodes.kill(node);
            sleep_ms(random, AWAY_MS).await;
            nodes.launch(node);
        }
        Fault::KillAll => {
            for node in 0..nodes.len() {
                nodes.kill(node);
            }
            for node in 0..nodes.len() {
                nodes.launch(node);
            }
        }
        Fault::Pause => {
            nodes.pause(node);
            sleep_ms(random, AWAY_MS).await;
            nodes.wake(node);
        }
        Fault::Stop => {
            nodes.terminate(node).await;
            nodes.launch(node);
        }
        Fault::Transfer => nodes.transfer(others[0]).await,
        Fault::Wipe | Fault::Remove => {
            // Losing one disk of three that have the data loses nothing; more may.
            nodes.wait_until_all_vote().await;
            if fault == Fault::Remove {
                nodes.remove(node).await;
            }
            nodes.wipe(node);
            sleep_ms(random, AWAY_MS).await;
            nodes.launch(node);
        }
        Fault::Isolate => others.iter().for_each(|other| nodes.cut(node, *other)),
        Fault::Cut => nodes.cut(node, others[0]),
        Fault::Mute => others
            .iter()
            .for_each(|other| nodes.cut_one_way(node, *other)),
        Fault::Deafen => others
            .iter()
            .for_each(|other| nodes.cut_one_way(*other, node)),
        Fault::Fill => nodes.fill(node),
        Fault::FlipBit => outcome = disk::flip_a_bit(nodes, node, random).await,
        Fault::FailCall => outcome = disk::fail_a_call(nodes, node, random).await,
        Fault::OldCopy => outcome = disk::bring_back(nodes, node, random).await,
    }
    if matches!(
        fault,
        Fault::Isolate | Fault::Cut | Fault::Mute | Fault::Deafen | Fault::Fill
    ) {
        sleep_ms(random, AWAY_MS).await;
        nodes.heal();
    }
    // Often enough the next one meets a cluster that is still recovering.
    if random.random_bool(0.6) {
        nodes.wait_until_well().await;
    }
    (fault, outcome)
}

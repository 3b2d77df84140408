//! What goes wrong, one thing after the other, chosen by the seed.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::nodes::Nodes;

/// Between two faults.
const CALM_MS: std::ops::Range<u64> = 300..1500;

/// Elections take up to 600 ms at the default setting: some of these are shorter, most longer.
const AWAY_MS: std::ops::Range<u64> = 300..4000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Kill,
    KillAll,
    Pause,
    Stop,
    /// Another node is asked to lead.
    Transfer,
    /// A node is lost with its disk, and joins anew.
    Wipe,
    /// The same after it was removed from the cluster.
    Remove,
    /// Neither way between one node and the others.
    Isolate,
    /// Neither way between two nodes, which both still reach the third.
    Cut,
    /// What a node sends is lost.
    Mute,
    /// What is sent to a node is lost.
    Deafen,
    /// The disk is full.
    Fill,
}

const ALWAYS: [Fault; 7] = [
    Fault::Kill,
    Fault::KillAll,
    Fault::Pause,
    Fault::Stop,
    Fault::Transfer,
    Fault::Wipe,
    Fault::Remove,
];
const IN_NAMESPACES: [Fault; 12] = [
    Fault::Kill,
    Fault::KillAll,
    Fault::Pause,
    Fault::Stop,
    Fault::Transfer,
    Fault::Wipe,
    Fault::Remove,
    Fault::Isolate,
    Fault::Cut,
    Fault::Mute,
    Fault::Deafen,
    Fault::Fill,
];

async fn sleep_ms(random: &mut StdRng, range: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(range))).await;
}

/// Does one fault, lets it last, and undoes it.
pub async fn one(nodes: &mut Nodes, random: &mut StdRng) -> Fault {
    sleep_ms(random, CALM_MS).await;
    let known: &[Fault] = if nodes.is_in_namespaces() {
        &IN_NAMESPACES
    } else {
        &ALWAYS
    };
    let fault = *known.choose(random).unwrap();
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
    fault
}

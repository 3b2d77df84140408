//! The texts for the person who recovers a cluster.

use std::path::Path;

use dqlite::{
    files::yaml_value,
    node::{LastEntry, survey::Surveyed},
    wire::{NodeId, Server},
};

/// A recovery, for its texts.
pub struct Plan<'a> {
    pub dir: &'a Path,
    pub members: &'a [Server],
    /// The members as cluster.yaml had them.
    pub former: &'a [Server],
    pub own_id: NodeId,
}

impl Plan<'_> {
    pub fn before(&self) -> String {
        let (dir, members) = (self.dir.display(), names(self.members));
        format!(
            "Nothing is changed yet. With --yes, {dir} is copied, and its cluster becomes: {members}.\n\
             Before that:\n\
             - See that a majority is lost for good: `k8s-dqlite status` on a node that runs. If it can be \
             started again, start it instead.\n\
             - Stop k8s-dqlite on all nodes.\n\
             - Give this command the directories, or copies of them, of all nodes that still have one: the one \
             with the newest data is to be recovered.\n\
             What only the lost nodes had is lost: writes of the last moments, which clients may have seen.\n"
        )
    }

    pub fn after(&self, end: LastEntry, copy: &Path) -> String {
        let (dir, members) = (self.dir.display(), names(self.members));
        let mut text = format!(
            "Recovered: the cluster of {dir} is now {members} (term {}, index {}).\n\
             The directory as it was is in {}.\n",
            end.term,
            end.index,
            copy.display()
        );
        let others = || {
            self.members
                .iter()
                .filter(|member| member.id != self.own_id)
        };
        if others().next().is_some() {
            text += &self.copies(others());
        } else {
            text += "\nNow start k8s-dqlite on this node, and see that `k8s-dqlite status` names it the leader.\n";
        }
        let is_left = |server: &&Server| {
            let is = |member: &Server| member.id == server.id || member.address == server.address;
            !self.members.iter().any(is)
        };
        for server in self.former.iter().filter(is_left) {
            text += &format!(
                "\nOn {}, before k8s-dqlite is ever started there again, because with its old data it would \
                 be the old cluster's:\n\
                 - Move its storage directory away. Make a new one with cluster.crt, cluster.key, failure-domain \
                 and tuning.yaml of the old one, as far as they are there, and this init.yaml:\n\n{}\n\
                 - Start it, after this node runs.\n",
                server.address,
                indented(&init_yaml(&server.address, self.members))
            );
        }
        text += "\nRestart kube-apiserver, and whatever else may have seen writes that are lost.\n";
        text
    }

    fn copies<'a>(&self, others: impl Iterator<Item = &'a Server>) -> String {
        let dir = self.dir.display();
        let mut text = String::new();
        for other in others {
            let Server { id, address, .. } = other;
            text += &format!(
                "\nOn {address}:\n\
                 - Move its storage directory away, and put a copy of {dir} in its place.\n\
                 - In that, write this info.yaml, and put its own failure-domain and tuning.yaml there:\n\n\
                 \x20   ID: {id}\n    Address: {}\n    Role: 0\n",
                yaml_value(address)
            );
        }
        text + "\nNow start k8s-dqlite on these nodes.\n"
    }
}

pub fn unusable(target: &Surveyed, reason: &str) -> String {
    format!(
        "{} cannot be recovered: {reason}.\nRecover another node's directory; without one, restore a backup. Without \
         either, --cut shows what is left of this one.",
        target.dir.display()
    )
}

pub fn stale(target: &Surveyed, newer: &Surveyed) -> String {
    let address = match &newer.state {
        Ok(state) => state.own.address.as_str(),
        Err(_) => "?",
    };
    format!(
        "{} is not the newest: what {} has beyond it would be lost.\nRecover that one, on the machine of the \
         node at {address}; to lose it, add --force=lose-newer-data.",
        target.dir.display(),
        newer.dir.display()
    )
}

pub fn still_run(dir: &Path, running: &[String]) -> String {
    format!(
        "other nodes of the cluster of {} still run: {}.\nIf they are a majority, nothing is to be recovered: see \
         `k8s-dqlite status`. Else stop k8s-dqlite on all of them first, also where it hangs: with a lost node that comes \
         back they would go on with the old cluster. For a cluster beside that one, add --force=leave-others-running.",
        dir.display(),
        running.join(", ")
    )
}

pub fn nobody_leads(dir: &Path, others: &[Server]) -> String {
    format!(
        "none of the other nodes ({}) answers and leads, so the data of {} may be needed still: see `k8s-dqlite \
         status`.\nStart the others first. If a majority is lost for good, recover it with `k8s-dqlite recover`. If \
         others have the data all the same, add --force=lose-newer-data.",
        names(others),
        dir.display()
    )
}

pub fn reseeded(dir: &Path, backup: &Path, others: &[Server]) -> String {
    format!(
        "The data of {} are in {} now.\nStart k8s-dqlite: it joins the cluster of {} again, and gets the data from \
         there. Delete the backup when that is done.\n",
        dir.display(),
        backup.display(),
        names(others)
    )
}

fn names(servers: &[Server]) -> String {
    let names: Vec<_> = servers.iter().map(|s| s.address.as_str()).collect();
    names.join(", ")
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// The init.yaml of a node that joins others.
pub fn init_yaml(address: &str, others: &[Server]) -> String {
    let mut text = format!("Address: {}\nCluster:\n", yaml_value(address));
    for other in others {
        text += &format!("- {}\n", yaml_value(&other.address));
    }
    text
}

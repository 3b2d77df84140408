//! The requests of kube-apiserver, and its reading of the answers.

mod compaction_election;
mod consistent_reads;
mod lists;
mod objects;

//! What kube-apiserver sends, and what it reads from the answers.

mod compaction_election;
mod consistent_reads;
mod lists;
mod objects;

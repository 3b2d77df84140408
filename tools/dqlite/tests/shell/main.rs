//! The shell on running clusters, beside the original where it is at hand.

mod cluster;
mod commands;
mod go_node;
mod golden;
mod guards;
mod microcluster;
mod pair;
mod run;
mod terminal;
mod wrong_input;

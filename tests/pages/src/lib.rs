//! Types the command lines of README.md, CONTRIBUTING.md and docs/ as they stand there. Run it by `scripts/test pages`.
//!
//! The pages are the input. Before each block of code, a comment that readers do not see is a [`note::Note`] of how it is tried:
//!
//! ```text
//! <!-- typed: one-node                      the setting: a function of that name in tests/pages/stage
//! before: etcdctl put a 1                   typed first, on the first machine; may be repeated
//! meanwhile: etcdctl put a 2                typed again and again, for a line that waits for something
//! where: TOKEN=$(k8sd token add node2)      what a placeholder of the block stands for; may be repeated
//! after: etcdctl get a                      typed last; may be repeated
//! on: 2                                     the machine of lines that name none; 1 without this
//! needs: etcd                               a program of others, without which the block is not typed; may be repeated
//! file: /etc/a.yaml                         the block becomes this file, and `by` is typed
//! as: k8s-dqlite @                          the block, joined to one line, takes the place of @
//! keys: secret secret                       what is typed at a terminal when a line asks, a line for each word
//! exits: 0 12                               the exit code of each line; 0 without this
//! prints: NODE  ADDRESS                     the shape of a line that is printed; may be repeated -->
//! <!-- printed: one-node                    the block is what `by` prints, in this shape
//! by: k8s-dqlite status -->
//! <!-- not typed: needs a host with snapd   why; programs, sub-commands and flags are looked up instead -->
//! <!-- shown: a drawing                     it has no commands -->
//! ```
//!
//! A block without a note fails, so nothing is left out in silence; but YAML without one is parsed. In a block, `# on node2` says on
//! which machines the lines after it are typed, in turn.
#![forbid(unsafe_code)]

pub mod commands;
pub mod grammar;
pub mod lookup;
pub mod note;
pub mod page;
pub mod shape;

//! The hooks that snapd calls.

use clap::ValueEnum;

/// The hooks that snapd calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Hook {
    Install,
    Configure,
    PreRefresh,
    PostRefresh,
    CheckHealth,
    Remove,
}

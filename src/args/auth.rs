//! Authentication, by etcd's names.

use std::time::Duration;

use clap::{Args, ValueEnum};
use command_line::with_unit;
use etcd_state::auth::{DEFAULT_COST, MAX_COST, MIN_COST};

#[derive(Debug, Clone, Args)]
pub struct AuthFlags {
    /// Kind of the tokens that clients get when they sign in: only simple.
    #[arg(long, value_name = "KIND", value_enum, default_value = "simple")]
    pub auth_token: TokenKind,

    /// Time after its last use for which a token is valid; a number alone is in seconds, as in etcd.
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "5m")]
    pub auth_token_ttl: Duration,

    /// Cost of hashing passwords: 4 to 31, each doubles the one before. Another is the default.
    #[arg(long, value_name = "COST", value_parser = cost, default_value_t = DEFAULT_COST)]
    pub bcrypt_cost: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenKind {
    Simple,
}

fn seconds(text: &str) -> Result<Duration, String> {
    with_unit(text, Duration::from_secs(1))
}

/// Parses a cost. As in etcd, a cost that bcrypt does not have becomes the default.
fn cost(text: &str) -> Result<u32, std::num::ParseIntError> {
    let cost: u32 = text.parse()?;
    Ok(if (MIN_COST..=MAX_COST).contains(&cost) {
        cost
    } else {
        DEFAULT_COST
    })
}

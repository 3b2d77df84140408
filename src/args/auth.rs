//! Authentication, by etcd's names.

use clap::{Args, ValueEnum};
use etcd_state::auth::{DEFAULT_COST, DEFAULT_TTL, MAX_COST, MIN_COST};

use super::values::unsigned;

#[derive(Debug, Clone, Args)]
pub struct AuthFlags {
    /// Kind of the tokens that clients get when they sign in: only simple.
    #[arg(long, value_name = "KIND", value_enum, default_value = "simple")]
    pub auth_token: TokenKind,

    /// Seconds after its last use for which a token is valid.
    #[arg(long, value_name = "SECONDS", value_parser = unsigned, default_value_t = DEFAULT_TTL.as_secs())]
    pub auth_token_ttl: u64,

    /// Cost of hashing passwords: 4 to 31, each doubles the one before. Another is the default.
    #[arg(long, value_name = "COST", value_parser = cost, default_value_t = DEFAULT_COST)]
    pub bcrypt_cost: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenKind {
    Simple,
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

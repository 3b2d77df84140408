//! Authentication, by etcd's names.

use std::{collections::HashMap, path::PathBuf, str::FromStr, time::Duration};

use clap::Args;
use command_line::with_unit;
use etcd_state::auth::{DEFAULT_COST, DEFAULT_TTL, MAX_COST, MIN_COST, SignMethod};

use super::GoDuration;

#[derive(Debug, Clone, Args)]
pub struct AuthFlags {
    /// Kind of the tokens that clients get when they sign in: simple, or
    /// jwt,priv-key=FILE,sign-method=METHOD with pub-key=FILE and ttl=DURATION if wanted.
    #[arg(long, value_name = "KIND", default_value = "simple")]
    pub auth_token: TokenKind,

    /// Time after its last use for which a simple token is valid; a number alone is in seconds, as in etcd.
    #[arg(long, value_name = "DURATION", value_parser = seconds, default_value = "5m")]
    pub auth_token_ttl: Duration,

    /// Cost of hashing passwords: 4 to 31, each doubles the one before. Another is the default.
    #[arg(long, value_name = "COST", value_parser = cost, default_value_t = DEFAULT_COST)]
    pub bcrypt_cost: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenKind {
    Simple,
    Jwt(JwtFlags),
}

/// The options of JSON web tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtFlags {
    pub method: SignMethod,
    pub private_key: Option<PathBuf>,
    pub public_key: Option<PathBuf>,
    pub ttl: Duration,
}

const JWT_FORM: &str =
    "write jwt,priv-key=FILE,sign-method=RS256, and pub-key=FILE or ttl=10m if wanted";

impl FromStr for TokenKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, options) = match text.split_once(',') {
            Some((kind, options)) => (kind, Some(options)),
            None => (text, None),
        };
        match (kind, options) {
            ("simple", None) => Ok(Self::Simple),
            ("simple", Some(_)) => Err("simple has no options: leave them out".to_owned()),
            ("jwt", options) => jwt(options.unwrap_or_default()).map(Self::Jwt),
            _ => Err("write simple, or jwt,priv-key=FILE,sign-method=METHOD".to_owned()),
        }
    }
}

/// Parses `name=value` between commas, as etcd does (`server/auth/store.go`, `decomposeOpts`).
fn jwt(text: &str) -> Result<JwtFlags, String> {
    let mut given = HashMap::new();
    for option in text.split(',').filter(|_| !text.is_empty()) {
        let pair = option.split_once('=');
        let Some((name, value)) = pair.filter(|(_, value)| !value.contains('=')) else {
            return Err(format!("{option:?} is not NAME=VALUE: {JWT_FORM}"));
        };
        if !["priv-key", "pub-key", "sign-method", "ttl"].contains(&name) {
            return Err(format!("{name:?} is no option of jwt: {JWT_FORM}"));
        }
        if given.insert(name, value).is_some() {
            return Err(format!("{name} is given twice: leave one of them out"));
        }
    }
    let mut take = |name| given.remove(name).filter(|value| !value.is_empty());
    let method =
        take("sign-method").ok_or_else(|| format!("sign-method is missing: {JWT_FORM}"))?;
    let ttl = match take("ttl") {
        None => DEFAULT_TTL,
        Some(text) => {
            let ttl: Result<GoDuration, _> = text.parse();
            let ttl = ttl.map_err(|error| format!("ttl: {error}"))?;
            let whole = ttl.positive().filter(|ttl| ttl.as_secs() > 0);
            whole.ok_or("ttl is at least 1s")?
        }
    };
    Ok(JwtFlags {
        method: method.parse()?,
        private_key: take("priv-key").map(PathBuf::from),
        public_key: take("pub-key").map(PathBuf::from),
        ttl,
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_etcd_reads_them() {
        assert_eq!("simple".parse(), Ok(TokenKind::Simple));
        let text = "jwt,pub-key=/a/b.pub,priv-key=c,sign-method=ES384,ttl=10m";
        let Ok(TokenKind::Jwt(flags)) = text.parse() else {
            panic!("{text}");
        };
        assert_eq!(flags.method.name(), "ES384");
        assert_eq!(flags.private_key, Some("c".into()));
        assert_eq!(flags.public_key, Some("/a/b.pub".into()));
        assert_eq!(flags.ttl, Duration::from_secs(600));
        let Ok(TokenKind::Jwt(flags)) = "jwt,sign-method=HS256".parse() else {
            panic!("nothing else is needed here");
        };
        assert_eq!((flags.private_key, flags.ttl), (None, DEFAULT_TTL));
    }

    #[test]
    fn what_is_refused_says_what_to_write() {
        for (text, told) in [
            ("", "write simple, or jwt"),
            ("jwr", "write simple, or jwt"),
            ("simple,ttl=1m", "leave them out"),
            ("jwt", "sign-method is missing"),
            ("jwt,", "sign-method is missing"),
            ("jwt,sign-method", "is not NAME=VALUE"),
            ("jwt,sign-method=a=b", "is not NAME=VALUE"),
            ("jwt,key=a,sign-method=RS256", "no option of jwt"),
            ("jwt,sign-method=RS256,sign-method=RS256", "given twice"),
            ("jwt,sign-method=none", "one of RS256"),
            ("jwt,sign-method=RS256,ttl=5", "ttl: "),
            ("jwt,sign-method=RS256,ttl=0s", "at least 1s"),
        ] {
            let error = text.parse::<TokenKind>().unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}

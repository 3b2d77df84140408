//! Passwords, as bcrypt hashes. Slow on purpose: not for a thread that serves requests.

use bytes::Bytes;

use super::AuthError;

/// etcd's default, about 50 ms.
pub const DEFAULT_COST: u32 = 10;

/// bcrypt's limits: 2 to the power of the cost is the number of rounds.
pub const MIN_COST: u32 = 4;
pub const MAX_COST: u32 = 31;

/// The longest password that bcrypt uses as a whole, in bytes.
const MAX_PASSWORD_BYTES: usize = 72;

pub fn hash_password(password: &str, cost: u32) -> Result<Bytes, AuthError> {
    if password.len() > MAX_PASSWORD_BYTES {
        return Err(AuthError::PasswordTooLong);
    }
    match bcrypt::hash(password, cost) {
        Ok(hash) => Ok(hash.into()),
        // No cost outside of the limits gets here.
        Err(error) => unreachable!("bcrypt: {error}"),
    }
}

/// Returns whether `hash` is a hash of `password`; false for a text that is no hash.
pub fn is_password(password: &str, hash: &[u8]) -> bool {
    std::str::from_utf8(hash).is_ok_and(|hash| bcrypt::verify(password, hash).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_its_password_only() {
        let hash = hash_password("secret", MIN_COST).unwrap();
        assert!(is_password("secret", &hash));
        assert!(!is_password("Secret", &hash));
        assert!(!is_password("", b""));
        assert!(!is_password("", b"\xff"));
        let long = "x".repeat(MAX_PASSWORD_BYTES + 1);
        assert_eq!(
            hash_password(&long, MIN_COST),
            Err(AuthError::PasswordTooLong)
        );
    }
}

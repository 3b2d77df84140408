//! Failure domains: nodes of one number are expected to fail together.

use openssl::sha::sha256;

/// A number as it is; of any other label the first 8 bytes of its SHA-256, little-endian, as k8s-snap has it.
pub fn number(label: &str) -> u64 {
    let hashed = || {
        let digest = sha256(label.as_bytes());
        u64::from_le_bytes(digest[..8].try_into().expect("8 bytes"))
    };
    label.parse().unwrap_or_else(|_| hashed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_itself_and_a_label_its_hash() {
        assert_eq!(number("0"), 0);
        assert_eq!(number("18446744073709551615"), u64::MAX);
        // b738ba5cd6328300 begins the SHA-256 of it.
        assert_eq!(number("zone-a"), 36_929_118_209_194_167);
        assert_ne!(number("zone-a"), number("zone-b"));
    }
}

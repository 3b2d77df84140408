//! Numbers in as few bytes as they need.

/// Bytes of the longest varint.
pub const MAX_BYTES: usize = 10;

/// Appends a number.
pub fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number from the front of `bytes`. None if it does not end there, or is above 64 bits.
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for (at, byte) in bytes.iter().enumerate().take(MAX_BYTES) {
        let bits = u64::from(byte & 0x7f);
        // Of the tenth byte one bit is left.
        if at == MAX_BYTES - 1 && bits > 1 {
            return None;
        }
        number |= bits << (7 * at);
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            return Some(number);
        }
    }
    None
}

/// Folds a signed number so that those near 0 are short.
pub const fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)).cast_unsigned()
}

/// Reverses [`zigzag`].
pub const fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken(numbers in proptest::collection::vec(any::<u64>(), 0..9), shift in 0u32..64) {
            let mut out = Vec::new();
            for number in &numbers {
                put(&mut out, number >> shift);
            }
            let mut rest = &out[..];
            for number in &numbers {
                prop_assert_eq!(take(&mut rest), Some(number >> shift));
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn zigzag_is_reversible(number: i64) {
            prop_assert_eq!(unzigzag(zigzag(number)), number);
        }
    }

    #[test]
    fn small_numbers_are_short_and_long_ones_end() {
        let mut out = Vec::new();
        put(&mut out, 127);
        put(&mut out, zigzag(-1));
        assert_eq!(out, [127, 1]);
        assert_eq!(take(&mut &[0x80; 3][..]), None);
        assert_eq!(take(&mut &[0xff; 11][..]), None);
        let above_64_bits = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert_eq!(take(&mut &above_64_bits[..]), None);
    }
}

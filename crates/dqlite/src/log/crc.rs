//! The checksum of the engine's files (dqlite: src/raft/byte.c, `byteCrc32`).
//!
//! A CRC of 32 bits with zlib's polynomial, but the other way round: most significant bit first,
//! starting from 0, nothing inverted at the end. So zlib's instructions and crates do not fit.

const POLYNOMIAL: u32 = 0x04c1_1db7;

/// `TABLES[k][byte]` is the checksum of the byte with `k` zero bytes behind it.
static TABLES: [[u32; 256]; 16] = tables();

const fn tables() -> [[u32; 256]; 16] {
    let mut tables = [[0; 256]; 16];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = (byte as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = times_x(crc);
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut behind = 1;
    while behind < 16 {
        let mut byte = 0;
        while byte < 256 {
            let crc: u32 = tables[behind - 1][byte];
            tables[behind][byte] = (crc << 8) ^ tables[0][(crc >> 24) as usize];
            byte += 1;
        }
        behind += 1;
    }
    tables
}

const fn times_x(crc: u32) -> u32 {
    (crc << 1) ^ if crc >> 31 == 1 { POLYNOMIAL } else { 0 }
}

/// The checksum of bytes that follow others, whose checksum is `before`; 0 for none.
pub fn crc32(bytes: &[u8], before: u32) -> u32 {
    let (blocks, rest) = bytes.as_chunks::<16>();
    let mut crc = before;
    for block in blocks {
        let head = crc.to_be_bytes();
        crc = TABLES[15][(block[0] ^ head[0]) as usize]
            ^ TABLES[14][(block[1] ^ head[1]) as usize]
            ^ TABLES[13][(block[2] ^ head[2]) as usize]
            ^ TABLES[12][(block[3] ^ head[3]) as usize]
            ^ TABLES[11][block[4] as usize]
            ^ TABLES[10][block[5] as usize]
            ^ TABLES[9][block[6] as usize]
            ^ TABLES[8][block[7] as usize]
            ^ TABLES[7][block[8] as usize]
            ^ TABLES[6][block[9] as usize]
            ^ TABLES[5][block[10] as usize]
            ^ TABLES[4][block[11] as usize]
            ^ TABLES[3][block[12] as usize]
            ^ TABLES[2][block[13] as usize]
            ^ TABLES[1][block[14] as usize]
            ^ TABLES[0][block[15] as usize];
    }
    for byte in rest {
        crc = (crc << 8) ^ TABLES[0][((crc >> 24) as u8 ^ byte) as usize];
    }
    crc
}

/// Returns whether one flipped bit, in `len_bytes` bytes or in their stored checksum, explains why the
/// stored and the computed checksum differ. Says so wrongly with a chance of 1 in 2^29 per byte.
pub fn differs_by_one_bit(stored: u32, computed: u32, len_bytes: usize) -> bool {
    let difference = stored ^ computed;
    if difference.is_power_of_two() {
        return true;
    }
    // What flipping the last bit does, then the one before it, and so on.
    let mut effect = POLYNOMIAL;
    for _ in 0..len_bytes * 8 {
        if effect == difference {
            return true;
        }
        effect = times_x(effect);
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue() {
        // CRC-32/MPEG-2 begins with all ones, which is this one behind four bytes that yield them;
        // CRC-32/CKSUM is this one with the length behind and inverted (POSIX cksum: 930766865).
        let mut bytes = b"123456789".to_vec();
        bytes.push(9);
        assert_eq!(!crc32(&bytes, 0), 930_766_865);
    }

    proptest! {
        #[test]
        fn the_parts_of_bytes_can_be_summed_one_by_one(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            at in 0..200usize,
        ) {
            let (first, second) = bytes.split_at(at.min(bytes.len()));
            prop_assert_eq!(crc32(&bytes, 0), crc32(second, crc32(first, 0)));
        }

        #[test]
        fn one_flipped_bit_is_recognised(
            bytes in prop::collection::vec(any::<u8>(), 1..300),
            bit in 0..2400usize,
        ) {
            let stored = crc32(&bytes, 0);
            let mut flipped = bytes.clone();
            let at = bit / 8 % bytes.len();
            flipped[at] ^= 1 << (bit % 8);
            prop_assert!(differs_by_one_bit(stored, crc32(&flipped, 0), bytes.len()));
            prop_assert!(differs_by_one_bit(stored ^ (1 << (bit % 32)), stored, bytes.len()));
        }
    }
}

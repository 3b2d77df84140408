//! Numbers in bytes, and whether there is anything in them.

const ZEROS: [u8; 4096] = [0; 4096];

pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

pub fn take_u64(rest: &mut &[u8]) -> Option<u64> {
    let (number, behind) = rest.split_first_chunk()?;
    *rest = behind;
    Some(u64::from_le_bytes(*number))
}

pub fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(ZEROS.len())
        .all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// Returns the length without the zeros at the end.
pub fn len_without_trailing_zeros(bytes: &[u8]) -> usize {
    let mut len = bytes.len();
    for chunk in bytes.rchunks(ZEROS.len()) {
        if let Some(last) = (!is_zero(chunk))
            .then(|| chunk.iter().rposition(|byte| *byte != 0))
            .flatten()
        {
            return len - chunk.len() + last + 1;
        }
        len -= chunk.len();
    }
    0
}

//! Protobuf without a schema: all ways to make a message a little smaller.

/// A field: what comes before its content, and the content of one with a length.
struct Field<'a> {
    tag: &'a [u8],
    content: Option<&'a [u8]>,
    whole: &'a [u8],
}

const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
    }
    None
}

fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Returns the fields; none if the bytes cannot be a message. etcd's requests have no fixed-width
/// fields.
fn fields(mut bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (number_and_type, tag_len) = varint(bytes)?;
        let (value, value_len) = varint(&bytes[tag_len..])?;
        let content_at = tag_len + value_len;
        let (content, len) = match number_and_type & 7 {
            VARINT => (None, content_at),
            LENGTH_DELIMITED => {
                let end = content_at.checked_add(usize::try_from(value).ok()?)?;
                (Some(bytes.get(content_at..end)?), end)
            }
            _ => return None,
        };
        let (whole, rest) = bytes.split_at(len);
        fields.push(Field {
            tag: &whole[..tag_len],
            content,
            whole,
        });
        bytes = rest;
    }
    Some(fields)
}

/// The message without one field, or with one field's content made smaller, in all ways.
///
/// A key that happens to be a message is shrunk like one, which does no harm.
pub fn smaller(message: &[u8]) -> Vec<Vec<u8>> {
    let Some(fields) = fields(message) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut at = 0;
    for field in &fields {
        let (before, after) = (&message[..at], &message[at + field.whole.len()..]);
        found.push([before, after].concat());
        for content in field.content.map(smaller).unwrap_or_default() {
            let mut changed = [before, field.tag].concat();
            put_varint(content.len() as u64, &mut changed);
            changed.extend(content);
            changed.extend(after);
            found.push(changed);
        }
        at += field.whole.len();
    }
    found
}

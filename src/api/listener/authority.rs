//! Overwrites `:authority` in the requests of clients.
//!
//! etcd's clients put odd things there, such as `http://127.0.0.1:12379` or `#initially=[…]`, and etcd
//! does not look. The h2 crate does, and resets the stream. Nothing here asks for the authority, so
//! its bytes are replaced where they pass, without changing their number: by an `X` each if they are
//! plain, and if they are Huffman-coded by its code, the only one of a letter that is a whole byte.
//!
//! Both sides of a connection remember headers by their decoded length. An encoder uses Huffman
//! coding where it is no longer than the text, so what we put there is never longer than what was, and we
//! never forget a header that the client still refers to.

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEAD_BYTES: usize = 9;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: u32 = 5;

/// Index of `:authority` in HPACK's static table (RFC 7541, appendix A).
const AUTHORITY: u32 = 1;

/// `X`, and its code in RFC 7541, appendix B.
const PLAIN_MASK: u8 = b'X';
const HUFFMAN_MASK: u8 = 0b1111_1100;

/// Integers above this many bits are an attack, which h2 answers.
const INTEGER_BITS_MAX: u32 = 28;

/// Follows the bytes of one connection.
#[derive(Debug, Default)]
pub struct AuthorityMask {
    at: Position,
    block: Block,
}

#[derive(Debug, Clone, Copy)]
enum Position {
    Preface {
        read: usize,
    },
    FrameHead {
        head: [u8; FRAME_HEAD_BYTES],
        read: usize,
    },
    /// The byte that says how much padding ends the frame.
    PadLength {
        left: u32,
        priority: u32,
        ends: bool,
    },
    /// Header fields, and then padding.
    Fields {
        left: u32,
        padding: u32,
        ends: bool,
    },
    Skip {
        left: u32,
        then: Then,
    },
    /// Not HTTP/2 as we know it: nothing is changed any more.
    Lost,
}

#[derive(Debug, Clone, Copy)]
enum Then {
    FrameHead,
    Fields { left: u32, padding: u32, ends: bool },
}

/// The position in a header block.
#[derive(Debug, Default, Clone, Copy)]
enum Block {
    #[default]
    Field,
    Integer {
        of: Integer,
        value: u32,
        bits: u32,
    },
    Length(Text),
    Bytes {
        text: Text,
        left: u32,
        mask: Option<u8>,
    },
}

#[derive(Debug, Clone, Copy)]
enum Integer {
    /// An index or a size, after which the next field begins.
    Field,
    /// The index of a name, after which its value follows, or after 0 the name.
    Name,
    Length {
        text: Text,
        is_huffman: bool,
    },
}

#[derive(Debug, Clone, Copy)]
enum Text {
    Name,
    Value { is_authority: bool },
}

impl Default for Position {
    fn default() -> Self {
        Self::Preface { read: 0 }
    }
}

const NEXT_FRAME: Position = Position::FrameHead {
    head: [0; FRAME_HEAD_BYTES],
    read: 0,
};

impl AuthorityMask {
    /// Takes the next bytes of the connection, in any portions.
    pub fn apply(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = &mut bytes[taken..];
        }
    }

    /// Returns whether enough bytes have passed to tell HTTP/2 from anything else.
    pub fn knows_protocol(&self) -> bool {
        !matches!(self.at, Position::Preface { .. })
    }

    /// Takes some bytes, at least one.
    fn step(&mut self, bytes: &mut [u8]) -> usize {
        match &mut self.at {
            Position::Lost => return bytes.len(),
            Position::Skip { left, then } => {
                let taken = bytes.len().min(*left as usize);
                *left -= taken as u32;
                if *left == 0 {
                    self.at = after(*then);
                }
                return taken;
            }
            Position::Preface { read } => {
                if bytes[0] != PREFACE[*read] {
                    self.at = Position::Lost;
                } else {
                    *read += 1;
                    if *read == PREFACE.len() {
                        self.at = NEXT_FRAME;
                    }
                }
            }
            Position::FrameHead { head, read } => {
                head[*read] = bytes[0];
                *read += 1;
                if *read == FRAME_HEAD_BYTES {
                    self.at = begin_frame(head);
                }
            }
            Position::PadLength {
                left,
                priority,
                ends,
            } => {
                let (left, padding) = (*left - 1, u32::from(bytes[0]));
                self.at = begin_fields(left, *priority, padding, *ends);
            }
            Position::Fields {
                left,
                padding,
                ends,
            } => {
                *left -= 1;
                let (done, padding, ends) = (*left == 0, *padding, *ends);
                match self.block.byte(&mut bytes[0]) {
                    Some(block) => self.block = block,
                    None => self.at = Position::Lost,
                }
                if done {
                    self.end_fields(padding, ends);
                }
            }
        }
        1
    }

    fn end_fields(&mut self, padding: u32, ends: bool) {
        if ends {
            self.block = Block::Field;
        }
        self.at = skip(padding, Then::FrameHead);
    }
}

fn skip(left: u32, then: Then) -> Position {
    if left == 0 {
        after(then)
    } else {
        Position::Skip { left, then }
    }
}

fn after(then: Then) -> Position {
    match then {
        Then::FrameHead | Then::Fields { left: 0, .. } => NEXT_FRAME,
        Then::Fields {
            left,
            padding,
            ends,
        } => Position::Fields {
            left,
            padding,
            ends,
        },
    }
}

fn begin_frame(head: &[u8; FRAME_HEAD_BYTES]) -> Position {
    let left = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let (kind, flags) = (head[3], head[4]);
    let ends = flags & END_HEADERS != 0;
    let priority = if flags & PRIORITY != 0 {
        PRIORITY_BYTES
    } else {
        0
    };
    match kind {
        HEADERS if flags & PADDED != 0 && left > 0 => Position::PadLength {
            left,
            priority,
            ends,
        },
        HEADERS => begin_fields(left, priority, 0, ends),
        CONTINUATION => begin_fields(left, 0, 0, ends),
        _ => skip(left, Then::FrameHead),
    }
}

fn begin_fields(left: u32, priority: u32, padding: u32, ends: bool) -> Position {
    match left.checked_sub(priority + padding) {
        Some(left) => skip(
            priority,
            Then::Fields {
                left,
                padding,
                ends,
            },
        ),
        None => Position::Lost,
    }
}

impl Block {
    /// Returns the state after `byte`, which is overwritten if it belongs to the authority; none if
    /// it is invalid.
    fn byte(self, byte: &mut u8) -> Option<Self> {
        match self {
            Block::Field => Some(match *byte {
                first if first & 0x80 != 0 => integer(Integer::Field, first, 7),
                first if first & 0x40 != 0 => integer(Integer::Name, first, 6),
                first if first & 0x20 != 0 => integer(Integer::Field, first, 5),
                first => integer(Integer::Name, first, 4),
            }),
            Block::Integer { of, value, bits } => {
                if bits > INTEGER_BITS_MAX - 7 {
                    return None;
                }
                let value = value + (u32::from(*byte & 0x7f) << bits);
                let is_last = *byte & 0x80 == 0;
                Some(if is_last {
                    of.is(value)
                } else {
                    Block::Integer {
                        of,
                        value,
                        bits: bits + 7,
                    }
                })
            }
            Block::Length(text) => {
                let is_huffman = *byte & 0x80 != 0;
                Some(integer(Integer::Length { text, is_huffman }, *byte, 7))
            }
            Block::Bytes { text, left, mask } => {
                if let Some(mask) = mask {
                    *byte = mask;
                }
                Some(if left == 1 {
                    text.end()
                } else {
                    Block::Bytes {
                        text,
                        left: left - 1,
                        mask,
                    }
                })
            }
        }
    }
}

/// An integer that begins in the last `prefix_bits` of `first` (RFC 7541, section 5.1).
fn integer(of: Integer, first: u8, prefix_bits: u32) -> Block {
    let largest = (1 << prefix_bits) - 1;
    let value = u32::from(first) & largest;
    if value < largest {
        of.is(value)
    } else {
        Block::Integer { of, value, bits: 0 }
    }
}

impl Integer {
    /// Returns the state after the integer.
    fn is(self, value: u32) -> Block {
        match self {
            Integer::Field => Block::Field,
            Integer::Name if value == 0 => Block::Length(Text::Name),
            Integer::Name => Block::Length(Text::Value {
                is_authority: value == AUTHORITY,
            }),
            Integer::Length { text, .. } if value == 0 => text.end(),
            Integer::Length { text, is_huffman } => {
                let mask = if is_huffman { HUFFMAN_MASK } else { PLAIN_MASK };
                let is_authority = matches!(text, Text::Value { is_authority: true });
                Block::Bytes {
                    text,
                    left: value,
                    mask: is_authority.then_some(mask),
                }
            }
        }
    }
}

impl Text {
    fn end(self) -> Block {
        match self {
            Text::Name => Block::Length(Text::Value {
                is_authority: false,
            }),
            Text::Value { .. } => Block::Field,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn masked(mut bytes: Vec<u8>, portion: usize) -> Vec<u8> {
        let mut mask = AuthorityMask::default();
        bytes
            .chunks_mut(portion)
            .for_each(|portion| mask.apply(portion));
        bytes
    }

    /// Checks that `from` becomes `to`, however the bytes arrive.
    fn check(from: &[Vec<u8>], to: &[Vec<u8>]) {
        let with_preface = |frames: &[Vec<u8>]| [PREFACE, &frames.concat()].concat();
        for portion in [1, 2, 3, 7, 1000] {
            assert_eq!(
                masked(with_preface(from), portion),
                with_preface(to),
                "{portion}"
            );
        }
    }

    /// `:method: POST`, the authority, and `:path: /a` as a literal.
    fn block(authority: &[u8]) -> Vec<u8> {
        [b"\x83\x41".as_slice(), authority, b"\x44\x02/a"].concat()
    }

    #[test]
    fn a_plain_authority_is_blotted_out() {
        let settings = frame(4, 0, &[0, 3, 0, 0, 0, 100]);
        let data = frame(0, 1, b"\x41\x03abc");
        check(
            &[
                settings.clone(),
                frame(HEADERS, END_HEADERS, &block(b"\x04http")),
                data.clone(),
            ],
            &[
                settings,
                frame(HEADERS, END_HEADERS, &block(b"\x04XXXX")),
                data,
            ],
        );
    }

    #[test]
    fn a_coded_authority_is_blotted_out_with_the_code() {
        // RFC 7541, C.4.1: www.example.com
        let coded = b"\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff";
        let blotted = [&[0x8c][..], &[0xfc; 12]].concat();
        check(
            &[frame(HEADERS, END_HEADERS, &block(coded))],
            &[frame(HEADERS, END_HEADERS, &block(&blotted))],
        );
    }

    #[test]
    fn long_texts_padding_priority_and_continuations_are_followed() {
        let long = "h".repeat(300);
        let authority = |text: &str| block(&[b"\x7f\xad\x01", text.as_bytes()].concat());
        let frames = |text: &str| {
            let block = authority(text);
            let padded = [b"\x02\0\0\0\0\x10", &block[..100], b"\0\0"].concat();
            [
                frame(HEADERS, PADDED | PRIORITY, &padded),
                frame(CONTINUATION, END_HEADERS, &block[100..]),
                frame(
                    HEADERS,
                    END_HEADERS,
                    &self::block(&[b"\x01", &text.as_bytes()[..1]].concat()),
                ),
            ]
        };
        check(&frames(&long), &frames(&"X".repeat(300)));
    }

    #[test]
    fn other_fields_are_left_alone() {
        // A new name with a value, a size update, an indexed field, and a value that looks like a field.
        let fields = b"\x00\x03abc\x02\x41\x01\x3f\xe1\x1f\x82\x44\x03\x41\x01x";
        let frames = [
            frame(HEADERS, END_HEADERS, fields),
            frame(HEADERS, END_HEADERS, &[]),
        ];
        check(&frames, &frames);
    }

    #[test]
    fn what_is_not_http2_is_left_alone() {
        for bytes in [
            b"GET / HTTP/1.1\r\n\x41\x04http\r\n\r\n".to_vec(),
            vec![0xff; 5000],
        ] {
            assert_eq!(masked(bytes.clone(), 11), bytes);
        }
        let endless = [b"\x83\x41".as_slice(), &[0xff; 50]].concat();
        check(
            &[frame(HEADERS, END_HEADERS, &endless)],
            &[frame(HEADERS, END_HEADERS, &endless)],
        );
    }
}

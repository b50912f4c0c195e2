//! What a client has been told in answer to a request, as checksums of its messages.

use std::hash::{DefaultHasher, Hasher};

use helios_wire::frame::{self, HEADER_LEN};

/// Mixes checksums whose order counts.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Checksums of a whole answer. Its rows may come in another order when it is asked for again: where a statement
/// determines their order it follows from the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Digest {
    rows: u64,
    /// The sum of the rows' checksums.
    sum: u64,
    /// Of everything else, in order.
    rest: u64,
}

impl Digest {
    /// How many rows, and the sum of their checksums.
    pub(crate) fn rows(self) -> (u64, u64) {
        (self.rows, self.sum)
    }
}

/// A message that has not come to its end.
#[derive(Debug, Clone)]
struct Part {
    tag: u8,
    taken: usize,
    left: usize,
    hasher: DefaultHasher,
    /// Of a RowDescription: where in a column the next byte is.
    place: Place,
}

/// Of a RowDescription, what a byte is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In front of the columns, with as many bytes to come.
    Head(usize),
    Name,
    /// Behind a column's name, with as many bytes to come. The first ones are the OID of its table.
    Rest(usize),
}

/// Bytes behind a column's name, and those of them that are no OID of a table.
const REST: usize = 18;
const BEHIND_TABLE: usize = 14;

impl Place {
    /// In front of a message.
    const START: Place = Place::Head(HEADER_LEN + 2);

    /// Behind one more byte; whether that one counts.
    fn step(self, byte: u8) -> (Place, bool) {
        match self {
            Place::Head(1) | Place::Rest(1) => (Place::Name, true),
            Place::Head(left) => (Place::Head(left - 1), true),
            Place::Name if byte == 0 => (Place::Rest(REST), true),
            Place::Name => (Place::Name, true),
            Place::Rest(left) => (Place::Rest(left - 1), left <= BEHIND_TABLE),
        }
    }
}

impl Part {
    /// Temporary tables have other OIDs on another server.
    fn hash(&mut self, bytes: &[u8]) {
        if self.tag != b'T' {
            return self.hasher.write(bytes);
        }
        let mut begin = 0;
        for (at, &byte) in bytes.iter().enumerate() {
            let (next, counts) = self.place.step(byte);
            self.place = next;
            if !counts {
                self.hasher.write(&bytes[begin..at]);
                begin = at + 1;
            }
        }
        self.hasher.write(&bytes[begin..]);
    }
}

/// An answer as far as it has been told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    digest: Digest,
    /// Whole messages, and their checksum in order.
    messages: u64,
    chain: u64,
    part: Option<Part>,
}

/// A message that is complete: its tag and its last byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) tag: u8,
    pub(crate) last: u8,
}

/// What a server may say at any time is no part of an answer.
fn is_aside(tag: u8) -> bool {
    matches!(tag, b'N' | b'A' | b'S')
}

impl Answer {
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// It ends inside of a message.
    pub(super) fn is_torn(&self) -> bool {
        self.part.is_some()
    }

    /// The same inside of one that need not come again.
    pub(super) fn is_torn_aside(&self) -> bool {
        self.part.as_ref().is_some_and(|part| is_aside(part.tag))
    }

    /// Takes bytes up to the end of one message at most: how many, and the message if they end it. `None` if they are
    /// no message.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Option<(usize, Option<Ended>)> {
        let part = match &mut self.part {
            Some(part) => part,
            None => {
                let header = frame::header(bytes).ok().flatten()?;
                self.part.insert(Part {
                    tag: header.tag,
                    taken: 0,
                    left: header.total,
                    hasher: DefaultHasher::new(),
                    place: Place::START,
                })
            }
        };
        let n = part.left.min(bytes.len());
        part.taken += n;
        part.left -= n;
        if !is_aside(part.tag) {
            part.hash(&bytes[..n]);
        }
        if part.left > 0 {
            return Some((n, None));
        }
        let (tag, hash) = (part.tag, part.hasher.finish());
        self.part = None;
        if !is_aside(tag) {
            self.add(tag, hash);
        }
        let last = bytes[n - 1];
        Some((n, Some(Ended { tag, last })))
    }

    fn add(&mut self, tag: u8, hash: u64) {
        self.messages += 1;
        self.chain = self.chain.wrapping_mul(FACTOR).wrapping_add(hash);
        if tag == b'D' {
            self.digest.rows += 1;
            self.digest.sum = self.digest.sum.wrapping_add(hash);
        } else {
            self.digest.rest = self.digest.rest.wrapping_mul(FACTOR).wrapping_add(hash);
        }
    }

    /// Of the next bytes, how many may be taken of an answer that is to begin with `cut`.
    pub(super) fn room(&self, cut: &Answer) -> usize {
        match &cut.part {
            Some(part) if self.messages == cut.messages => {
                part.taken - self.part.as_ref().map_or(0, |part| part.taken)
            }
            _ => usize::MAX,
        }
    }

    /// How an answer compares with `cut`, which it is to begin with: `None` while it is shorter.
    pub(super) fn begins_with(&self, cut: &Answer) -> Option<bool> {
        if self.messages < cut.messages {
            return None;
        }
        if self.chain != cut.chain {
            return Some(false);
        }
        match (&self.part, &cut.part) {
            (_, None) => Some(true),
            (Some(part), Some(other)) if part.taken == other.taken => {
                Some(part.left == other.left && part.hasher.finish() == other.hasher.finish())
            }
            _ => None,
        }
    }
}

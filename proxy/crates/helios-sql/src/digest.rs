//! The sink that hashes.
//!
//! Items are written so that the bytes can be read back in one way only: marks that occur in no token say what a
//! placeholder is, and a separator stands between two items that could be taken for one.

use std::fmt;
use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher13};

use crate::hint;
use crate::walk::{Item, Sink};
use crate::{Encoding, Syntax};

/// The secret under which a process hashes. Who does not know it cannot make two texts of one hash, and so cannot have
/// one statement run by the plan of another.
#[derive(Clone)]
pub struct Key {
    hasher: SipHasher13,
}

impl Key {
    /// A key of bytes from the system's random generator; one per process.
    pub fn new(random: &[u8; 16]) -> Self {
        Self {
            hasher: SipHasher13::new_with_key(random),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// The hash of a whole text. The same bytes mean something else under another syntax, so that is part of it.
pub(crate) fn exact(sql: &[u8], syntax: Syntax, key: &Key) -> u128 {
    let mut hasher = key.hasher;
    let is_safe = syntax.encoding == Encoding::AsciiSafe;
    hasher.write(&[
        EXACT,
        u8::from(syntax.standard_conforming_strings),
        u8::from(is_safe),
    ]);
    hasher.write(sql);
    hasher.finish128().as_u128()
}

/// No shape's bytes start with it.
const EXACT: u8 = 0xff;
const SHAPE: u8 = 0xfe;

const SEPARATOR: u8 = 0x00;
const LITERAL: u8 = 0x01;
const NAME: u8 = 0x02;
const UNFINISHED: u8 = 0x03;
const HINT: u8 = 0x04;
const JUNK: u8 = 0x05;
const UNICODE: u8 = 0x06;
const ESCAPE: u8 = 0x07;

/// Items that could be taken for one where they meet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Glue {
    None,
    Word,
    Symbol,
    Quoted,
}

/// Bytes are gathered, as the hasher is quicker with few long writes than with many short ones.
const GATHERED: usize = 256;

/// The sink.
pub(crate) struct Digest {
    hasher: SipHasher13,
    bytes: [u8; GATHERED],
    length: usize,
    last: Glue,
}

impl Digest {
    pub(crate) fn new(key: &Key) -> Self {
        let mut digest = Self {
            hasher: key.hasher,
            bytes: [0; GATHERED],
            length: 0,
            last: Glue::None,
        };
        digest.byte(SHAPE);
        digest
    }

    pub(crate) fn finish(mut self) -> u128 {
        self.flush();
        self.hasher.finish128().as_u128()
    }

    #[cold]
    #[inline(never)]
    fn flush(&mut self) {
        self.hasher
            .write(self.bytes.get(..self.length).unwrap_or_default());
        self.length = 0;
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        if self.length == GATHERED {
            self.flush();
        }
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    #[inline]
    fn glue(&mut self, next: Glue) {
        if self.last == next {
            self.byte(SEPARATOR);
        }
        self.last = next;
    }

    /// A byte that is taken for part of nothing else.
    #[inline]
    fn mark(&mut self, mark: u8) {
        self.byte(mark);
        self.last = Glue::None;
    }

    /// Adds the bytes as they are.
    #[inline]
    fn copy(&mut self, bytes: &[u8]) {
        match bytes {
            [byte] => self.byte(*byte),
            [one, two] => {
                self.byte(*one);
                self.byte(*two);
            }
            _ => self.copy_long(bytes),
        }
    }

    #[inline(never)]
    fn copy_long(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(GATHERED) {
            self.place(part.len()).copy_from_slice(part);
        }
    }

    /// Adds the bytes in small letters.
    #[inline]
    fn fold(&mut self, bytes: &[u8]) {
        if bytes.len() <= GATHERED {
            fold(bytes, self.place(bytes.len()));
        } else {
            self.fold_long(bytes);
        }
    }

    #[cold]
    fn fold_long(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(GATHERED) {
            fold(part, self.place(part.len()));
        }
    }

    /// Room for so many bytes, at most `GATHERED`, that the caller fills.
    #[inline]
    fn place(&mut self, length: usize) -> &mut [u8] {
        if self.length + length > GATHERED {
            self.flush();
        }
        let start = self.length;
        self.length += length;
        self.bytes
            .get_mut(start..start + length)
            .unwrap_or_default()
    }

    fn hint(&mut self, comment: &[u8]) {
        self.mark(HINT);
        self.byte(u8::from(hint::is_shared(comment)));
        for hint in hint::hints(comment) {
            self.fold(hint.key);
            self.byte(b',');
            if hint.acts() {
                // Its bytes may be any, so their number comes first.
                self.copy(&(hint.value.len() as u64).to_le_bytes());
                self.copy(hint.value);
            }
        }
        self.byte(HINT);
    }
}

impl Sink for Digest {
    #[inline(always)] // into the walk, which knows the kind of item in most places
    fn put(&mut self, item: Item<'_>) {
        match item {
            Item::Word(bytes) => {
                self.glue(Glue::Word);
                self.fold(bytes);
            }
            Item::Parameter(bytes) => {
                self.glue(Glue::Word);
                self.copy(bytes);
            }
            Item::Symbol(bytes) => {
                self.glue(Glue::Symbol);
                self.copy(bytes);
            }
            Item::Quoted(bytes) => {
                self.glue(Glue::Quoted);
                self.copy(bytes);
            }
            Item::Unicode(bytes, escape) => {
                self.mark(UNICODE);
                self.copy(bytes);
                self.last = Glue::Quoted;
                if let Some(escape) = escape {
                    self.mark(ESCAPE);
                    self.byte(escape);
                }
            }
            Item::Literal | Item::Name { is_text: true } => self.mark(LITERAL),
            Item::Name { is_text: false } => self.mark(NAME),
            Item::Open => self.mark(b'('),
            Item::Close => self.mark(b')'),
            Item::Comma => self.mark(b','),
            Item::Semicolon => self.mark(b';'),
            Item::Hint(comment) => self.hint(comment),
            Item::Junk(byte) => {
                self.mark(JUNK);
                self.byte(byte);
            }
            Item::Unfinished => self.mark(UNFINISHED),
        }
    }
}

/// Writes `from` in small letters into `to`, which is as long. Words are short, so whole machine words are folded, which
/// may overlap.
#[inline]
fn fold(from: &[u8], to: &mut [u8]) {
    if let (Some(head), Some(tail)) = (from.first_chunk::<8>(), from.last_chunk::<8>()) {
        let mut rest = from;
        let mut at = 0;
        let mut chunk = head;
        loop {
            if let Some(place) = to.get_mut(at..at + 8) {
                place.copy_from_slice(&fold_eight(*chunk));
            }
            at += 8;
            rest = rest.get(8..).unwrap_or_default();
            match rest.first_chunk::<8>() {
                Some(next) => chunk = next,
                None => break,
            }
        }
        if let Some(place) = to.last_chunk_mut::<8>() {
            *place = fold_eight(*tail);
        }
    } else if let (Some([a, b, c, d]), Some([e, f, g, h])) = (from.first_chunk(), from.last_chunk())
    {
        let [a, b, c, d, e, f, g, h] = fold_eight([*a, *b, *c, *d, *e, *f, *g, *h]);
        if let Some(place) = to.first_chunk_mut() {
            *place = [a, b, c, d];
        }
        if let Some(place) = to.last_chunk_mut() {
            *place = [e, f, g, h];
        }
    } else {
        for (to, from) in to.iter_mut().zip(from) {
            *to = from.to_ascii_lowercase();
        }
    }
}

/// Eight bytes with A-Z made small.
#[inline]
fn fold_eight(bytes: [u8; 8]) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let word = u64::from_ne_bytes(bytes);
    let low = word & (0x7f * ONES);
    let from_a = low + (0x80 - b'A' as u64) * ONES; // the top bit says: at least `A`
    let behind_z = low + (0x7f - b'Z' as u64) * ONES; // … and: more than `Z`
    let is_upper = (from_a ^ behind_z) & !word & (0x80 * ONES);
    (word | (is_upper >> 2)).to_ne_bytes()
}

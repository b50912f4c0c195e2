//! A byte queue in one block of memory. Blocks of the standard size come from and go back to a stock of the
//! thread, so that an idle connection holds none.

use std::cell::RefCell;

/// Bytes of a standard block.
pub(crate) const BLOCK: usize = 16 * 1024;

/// Standard blocks that a thread keeps for later; what is beyond goes back to the allocator.
const STOCK: usize = 256;

thread_local! {
    static BLOCKS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn take_block() -> Vec<u8> {
    BLOCKS
        .with_borrow_mut(Vec::pop)
        .unwrap_or_else(|| vec![0; BLOCK])
}

fn give_block(block: Vec<u8>) {
    if block.len() == BLOCK {
        BLOCKS.with_borrow_mut(|blocks| {
            if blocks.len() < STOCK {
                blocks.push(block);
            }
        });
    }
}

/// Bytes between `head` and `tail` of a zero-initialised block; no block while empty.
#[derive(Default)]
pub(crate) struct Buf {
    block: Vec<u8>,
    head: usize,
    tail: usize,
}

impl Buf {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.block[self.head..self.tail]
    }

    pub(crate) fn len(&self) -> usize {
        self.tail - self.head
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head == self.tail
    }

    /// The first `len` bytes of a block that somebody else has filled.
    pub(super) fn filled(block: Vec<u8>, len: usize) -> Buf {
        debug_assert!(len <= block.len());
        Buf {
            block,
            head: 0,
            tail: len,
        }
    }

    /// Puts all of `other` at the end; without a copy if there is nothing yet.
    pub(super) fn append(&mut self, mut other: Buf) {
        if self.is_empty() {
            std::mem::swap(self, &mut other);
        } else {
            self.extend(other.bytes());
        }
    }

    /// Drops `n` bytes from the front; the block goes back to the stock with the last of them.
    pub(crate) fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.len());
        self.head += n;
        if self.head >= self.tail {
            self.release();
        }
    }

    /// Drops what is behind the first `len` bytes.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.tail = self.tail.min(self.head + len);
        if self.is_empty() {
            self.release();
        }
    }

    /// Gives the block back, with whatever was in it.
    pub(crate) fn release(&mut self) {
        self.head = 0;
        self.tail = 0;
        if !self.block.is_empty() {
            give_block(std::mem::take(&mut self.block));
        }
    }

    /// Makes room for `n` more bytes at the end.
    pub(crate) fn reserve(&mut self, n: usize) {
        if self.block.is_empty() && n <= BLOCK {
            self.block = take_block();
        }
        if self.block.len() - self.tail >= n {
            return;
        }
        let len = self.len();
        if self.block.len() - len >= n && self.head >= self.block.len() / 2 {
            self.block.copy_within(self.head..self.tail, 0);
        } else {
            let size = (len + n).max(self.block.len() * 2).next_multiple_of(BLOCK);
            let mut block = vec![0; size];
            block[..len].copy_from_slice(self.bytes());
            give_block(std::mem::replace(&mut self.block, block));
        }
        self.head = 0;
        self.tail = len;
    }

    /// The free bytes at the end, as many as the last `reserve` promised at least.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        &mut self.block[self.tail..]
    }

    /// Counts `n` bytes that were written into `spare`.
    pub(crate) fn commit(&mut self, n: usize) {
        debug_assert!(self.tail + n <= self.block.len());
        self.tail += n;
    }

    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len());
        self.block[self.tail..self.tail + bytes.len()].copy_from_slice(bytes);
        self.tail += bytes.len();
    }
}

impl Drop for Buf {
    fn drop(&mut self) {
        self.release();
    }
}

impl std::fmt::Debug for Buf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buf({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_bytes_in_order_while_growing_and_shrinking() {
        let mut buf = Buf::default();
        let mut expected = std::collections::VecDeque::new();
        for round in 0..200_usize {
            let chunk: Vec<u8> = (0..(round * 37) % 5000)
                .map(|i| (i + round) as u8)
                .collect();
            buf.extend(&chunk);
            expected.extend(chunk);
            let eaten = (round * 61) % (buf.len() + 1);
            buf.consume(eaten);
            expected.drain(..eaten);
            assert!(buf.bytes().iter().eq(expected.iter()));
        }
    }

    #[test]
    fn holds_no_block_when_empty() {
        let mut buf = Buf::default();
        buf.extend(b"abc");
        buf.consume(3);
        assert_eq!(buf.block.capacity(), 0);
    }
}

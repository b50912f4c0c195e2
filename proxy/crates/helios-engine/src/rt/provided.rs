//! Blocks that the kernel fills as bytes come, so that a connection which waits for some holds no memory.

use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error, Layout};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use io_uring::Submitter;

use super::Buf;

/// Blocks that lie ready at a time; each is replaced as soon as it has been filled.
const COUNT: u16 = 64;
/// The name of these blocks among the ring's groups; there is no other.
pub(super) const GROUP: u16 = 0;

/// The ring of blocks that is shared with the kernel.
///
/// Invariants: `blocks[id]` is the block that the kernel knows as `id`, from `offer` until a completion hands it back
/// by `take`; nobody reads, moves out or frees it meanwhile. `base` is that of `COUNT` entries on a page of their own.
#[derive(Debug)]
pub(super) struct Provided {
    base: NonNull<BufRingEntry>,
    blocks: Vec<Vec<u8>>,
    tail: u16,
}

fn layout() -> Layout {
    let size = usize::from(COUNT) * size_of::<BufRingEntry>();
    Layout::from_size_align(size, 4096).expect("a page is a valid alignment")
}

#[allow(unsafe_code, reason = "memory that the kernel reads and writes")]
impl Provided {
    /// Registers a full ring of blocks.
    pub(super) fn new(submitter: &Submitter<'_>) -> io::Result<Provided> {
        // SAFETY: the layout is not empty.
        let base = unsafe { alloc_zeroed(layout()) };
        let Some(base) = NonNull::new(base.cast::<BufRingEntry>()) else {
            handle_alloc_error(layout())
        };
        let mut provided = Provided {
            base,
            blocks: (0..COUNT).map(|_| Vec::new()).collect(),
            tail: 0,
        };
        // SAFETY: `base` is a page-aligned, zeroed array of COUNT entries that lives until `self` is dropped, which is
        // after the ring (see `Ring`).
        unsafe { submitter.register_buf_ring_with_flags(base.as_ptr() as u64, COUNT, GROUP, 0)? };
        for id in 0..COUNT {
            provided.offer(id);
        }
        Ok(provided)
    }

    /// Gives the kernel a fresh block under `id`.
    fn offer(&mut self, id: u16) {
        let slot = &mut self.blocks[usize::from(id)];
        *slot = super::buf::take_block();
        let at = usize::from(self.tail % COUNT);
        // SAFETY: `at` is below COUNT, and this entry lies beyond the tail, where the kernel does not look. The tail
        // is in the reserved field of the first entry, which `set_*` leaves alone; it is only ever accessed atomically.
        unsafe {
            let entry = &mut *self.base.as_ptr().add(at);
            entry.set_addr(slot.as_mut_ptr() as u64);
            entry.set_len(slot.len() as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
            let tail = BufRingEntry::tail(self.base.as_ptr()).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    /// The block of a completion, with `len` bytes in it; another takes its place.
    pub(super) fn take(&mut self, id: u16, len: usize) -> Buf {
        let block = std::mem::take(&mut self.blocks[usize::from(id)]);
        self.offer(id);
        Buf::filled(block, len)
    }
}

#[allow(unsafe_code, reason = "frees what `new` allocated")]
impl Drop for Provided {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout; the kernel has no use of it any more, as the ring is gone.
        unsafe { dealloc(self.base.as_ptr().cast(), layout()) };
    }
}

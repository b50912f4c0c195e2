//! The io_uring back end: the sockets of a worker on one ring. What is asked of them during a turn of the event loop
//! goes to the kernel in one system call at its end, which also brings what has been done (docs/adr/0031-io-uring.md).
//!
//! A receive is asked for when somebody wants bytes, and takes a block of the worker's stock only when some have come.
//! A send takes the whole write buffer along. Operations belong to the ring, not to whoever asked: what is dropped
//! meanwhile is cancelled, and its socket and memory stay until the kernel has said that it is done.

use std::cell::RefCell;
use std::io;
use std::net::TcpStream as StdStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use io_uring::types::{CancelBuilder, Fd};
use io_uring::{cqueue, opcode, squeue, IoUring};
use slab::Slab;
use tokio::io::unix::AsyncFd;
use tokio::io::Interest;

use super::provided::{Provided, GROUP};
use super::Buf;

/// Operations that fit into one submission; more make two.
const SUBMISSIONS: u32 = 512;
/// Turns in which what is cancelled at a worker's end may end.
const FAREWELL_TURNS: usize = 1000;
/// Turns in which a cancelled receive ends; the first should do.
const CANCEL_TURNS: usize = 8;

thread_local! {
    static RING: RefCell<Option<Ring>> = const { RefCell::new(None) };
}

/// IORING_RECVSEND_POLL_FIRST of linux/io_uring.h: wait for bytes before the first attempt.
const POLL_FIRST: u16 = 1;

/// What the kernel is asked for, beside the place of the socket in an operation's name.
const RECEIVE: u64 = 0;
const SEND: u64 = 1;
const CANCEL: u64 = 2;
const KINDS: u64 = 4;

/// What is known of the bytes that come.
#[derive(Debug, Default)]
enum Incoming {
    /// Nobody has asked.
    #[default]
    Unasked,
    /// The kernel has been asked.
    Asked,
    Came(Buf),
    Failed(io::Error),
    Ended,
}

/// A socket and its operations.
#[derive(Debug)]
struct Entry {
    stream: Rc<StdStream>,
    incoming: Incoming,
    /// More bytes were there than the last receive has taken.
    has_more: bool,
    /// What is being sent.
    outgoing: Option<Buf>,
    /// Why the last send ended early.
    unsent: Option<io::Error>,
    reader: Option<Waker>,
    /// Whoever was told that a send is not over.
    writer: Option<Waker>,
    /// Nobody has it any more.
    left: bool,
}

impl Entry {
    fn is_busy(&self) -> bool {
        matches!(self.incoming, Incoming::Asked) || self.outgoing.is_some()
    }
}

/// One worker's ring.
///
/// Invariants: the kernel is given pointers only into blocks of `provided` and into `outgoing` of entries; an entry
/// is removed, and its `outgoing` replaced, only when no operation of it is in flight. `ring` is declared first and
/// dropped first, after `close` has seen every operation end.
struct Ring {
    ring: IoUring,
    provided: Provided,
    entries: Slab<Entry>,
    woken: Vec<Waker>,
}

/// Whether the ring can be had, in the words of the system.
pub(crate) fn probe() -> io::Result<()> {
    Ring::new().map(drop)
}

/// The ring of this thread while it is in use: keeps the reactor awake to it, and ends what is left of it.
#[derive(Debug)]
pub(super) struct Opened {
    _event: AsyncFd<OwnedFd>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        close();
    }
}

/// Makes the ring of this thread, inside its runtime.
#[allow(unsafe_code, reason = "the reactor is given a descriptor")]
pub(super) fn open() -> io::Result<Opened> {
    let ring = Ring::new()?;
    // SAFETY: no pointers; a descriptor that was just made is ours.
    let event = unsafe {
        let fd = libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    ring.ring.submitter().register_eventfd(event.as_raw_fd())?;
    RING.set(Some(ring));
    // SAFETY: a descriptor that is owned stays what it is.
    let event = unsafe { AsyncFd::register_with_interest(event, Interest::READABLE) }?;
    Ok(Opened { _event: event })
}

/// Hands over what has been asked for, takes in what has been done, and wakes whoever waits for it.
pub(super) fn turn() {
    let woken = RING.with_borrow_mut(|ring| {
        let Some(ring) = ring else { return Vec::new() };
        ring.turn();
        std::mem::take(&mut ring.woken)
    });
    if woken.is_empty() {
        return;
    }
    // Outside, since it is not known what they do.
    let mut woken = woken;
    woken.drain(..).for_each(Waker::wake);
    RING.with_borrow_mut(|ring| {
        if let Some(ring) = ring {
            if ring.woken.is_empty() {
                ring.woken = woken;
            }
        }
    });
}

/// Ends what is left. Nobody may have a socket any more.
fn close() {
    let Some(mut ring) = RING.take() else { return };
    for _ in 0..FAREWELL_TURNS {
        if ring.entries.is_empty() {
            return;
        }
        ring.turn();
        std::thread::yield_now();
    }
    // The kernel may still write into its memory.
    std::mem::forget(ring);
}

#[allow(unsafe_code, reason = "the kernel is given pointers")]
impl Ring {
    fn new() -> io::Result<Ring> {
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_cqsize(SUBMISSIONS * 8)
            .build(SUBMISSIONS)?;
        let provided = Provided::new(&ring.submitter())?;
        Ok(Ring {
            ring,
            provided,
            entries: Slab::new(),
            woken: Vec::new(),
        })
    }

    fn push(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: whoever makes an entry keeps what it points to until it has been completed; see `Ring`.
            if unsafe { self.ring.submission().push(&entry) }.is_ok() {
                return;
            }
            self.enter();
        }
    }

    fn receive(&mut self, place: usize) {
        let entry = &mut self.entries[place];
        entry.incoming = Incoming::Asked;
        // Where nothing can be there yet, the attempt that would say so is left out.
        let first = if entry.has_more { 0 } else { POLL_FIRST };
        let fd = Fd(entry.stream.as_raw_fd());
        let asked = opcode::Recv::new(fd, std::ptr::null_mut(), 0)
            .buf_group(GROUP)
            .ioprio(first)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT)
            .user_data(place as u64 * KINDS + RECEIVE);
        self.push(asked);
    }

    /// Sends what is in `outgoing`.
    fn send(&mut self, place: usize) {
        let entry = &self.entries[place];
        let Some(outgoing) = &entry.outgoing else {
            return;
        };
        let bytes = outgoing.bytes();
        let asked = opcode::Send::new(
            Fd(entry.stream.as_raw_fd()),
            bytes.as_ptr(),
            bytes.len() as u32,
        )
        .flags(libc::MSG_NOSIGNAL)
        .build()
        .user_data(place as u64 * KINDS + SEND);
        self.push(asked);
    }

    fn cancel(&mut self, place: usize) {
        let fd = Fd(self.entries[place].stream.as_raw_fd());
        let asked = opcode::AsyncCancel2::new(CancelBuilder::fd(fd).all())
            .build()
            .user_data(CANCEL);
        self.push(asked);
    }

    fn enter(&mut self) {
        let (submitter, mut submissions, _) = self.ring.split();
        submissions.sync();
        const GETEVENTS: u32 = 1;
        // SAFETY: without an argument. Interrupted or short of memory, what is left goes with the next turn.
        let _ = unsafe {
            submitter.enter::<libc::sigset_t>(submissions.len() as u32, 0, GETEVENTS, None)
        };
    }

    fn turn(&mut self) {
        loop {
            let mut submissions = self.ring.submission();
            submissions.sync();
            if submissions.is_empty() && !submissions.taskrun() && !submissions.cq_overflow() {
                drop(submissions);
                if self.ring.completion().is_empty() {
                    return;
                }
            } else {
                drop(submissions);
                self.enter();
            }
            let mut idle = true;
            while let Some(done) = self.next() {
                self.complete(&done);
                idle = false;
            }
            // The kernel may leave the flag behind that says there is work.
            if idle {
                return;
            }
        }
    }

    fn next(&mut self) -> Option<cqueue::Entry> {
        self.ring.completion().next()
    }

    fn complete(&mut self, done: &cqueue::Entry) {
        let (place, kind) = (
            (done.user_data() / KINDS) as usize,
            done.user_data() % KINDS,
        );
        match kind {
            RECEIVE => self.received(place, done.result(), done.flags()),
            SEND => self.sent(place, done.result()),
            _ => return,
        }
        let entry = &self.entries[place];
        if entry.left && !entry.is_busy() {
            self.entries.remove(place);
        }
    }

    fn received(&mut self, place: usize, result: i32, flags: u32) {
        let block = cqueue::buffer_select(flags);
        let bytes = block.map(|id| self.provided.take(id, result.max(0) as usize));
        let entry = &mut self.entries[place];
        entry.has_more = cqueue::sock_nonempty(flags);
        entry.incoming = match (result, bytes) {
            (1.., Some(bytes)) => Incoming::Came(bytes),
            (0.., _) => Incoming::Ended,
            _ => match -result {
                // Every block was filled by others in the same moment; they have been replaced.
                libc::ENOBUFS | libc::EINTR | libc::EAGAIN if !entry.left => {
                    return self.receive(place)
                }
                libc::ECANCELED => Incoming::Unasked,
                code => Incoming::Failed(io::Error::from_raw_os_error(code)),
            },
        };
        self.woken.extend(entry.reader.take());
    }

    fn sent(&mut self, place: usize, result: i32) {
        let entry = &mut self.entries[place];
        let Some(outgoing) = &mut entry.outgoing else {
            return;
        };
        if let Ok(n) = usize::try_from(result) {
            outgoing.consume(n);
            if !outgoing.is_empty() && !entry.left {
                return self.send(place);
            }
        } else if matches!(-result, libc::EINTR | libc::EAGAIN) && !entry.left {
            return self.send(place);
        } else {
            entry.unsent = Some(io::Error::from_raw_os_error(-result));
            self.woken.extend(entry.reader.take());
        }
        entry.outgoing = None;
        self.woken.extend(entry.writer.take());
    }
}

/// A connected socket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: Rc<StdStream>,
    place: usize,
}

/// Whether this thread has a ring.
pub(super) fn is_open() -> bool {
    RING.with_borrow(Option::is_some)
}

fn note(waker: &mut Option<Waker>, cx: &Context<'_>) {
    match waker {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waker = Some(cx.waker().clone()),
    }
}

impl Socket {
    /// Takes over a socket. The thread must have a ring.
    pub(super) fn new(stream: StdStream) -> Socket {
        let stream = Rc::new(stream);
        let entry = Entry {
            stream: Rc::clone(&stream),
            incoming: Incoming::Unasked,
            has_more: true,
            outgoing: None,
            unsent: None,
            reader: None,
            writer: None,
            left: false,
        };
        let place = RING.with_borrow_mut(|ring| {
            let ring = ring.as_mut().expect("a worker on io_uring has a ring");
            ring.entries.insert(entry)
        });
        Socket { stream, place }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Ring, usize) -> T) -> T {
        RING.with_borrow_mut(|ring| {
            let ring = ring
                .as_mut()
                .expect("sockets end before their worker's ring");
            act(ring, self.place)
        })
    }

    pub(super) fn stream(&self) -> &StdStream {
        &self.stream
    }

    /// Leaves the ring. Bytes that have come and nobody has read would be lost: then it fails.
    pub(super) fn into_std(self) -> io::Result<StdStream> {
        let is_quiet = self.with(|ring, place| {
            for _ in 0..CANCEL_TURNS {
                if !ring.entries[place].is_busy() {
                    break;
                }
                ring.cancel(place);
                ring.turn();
            }
            let entry = &ring.entries[place];
            !entry.is_busy()
                && entry.unsent.is_none()
                && matches!(entry.incoming, Incoming::Unasked)
        });
        if !is_quiet {
            return Err(io::Error::other("the connection is not at rest"));
        }
        let stream = Rc::clone(&self.stream);
        drop(self);
        Rc::into_inner(stream).ok_or_else(|| io::ErrorKind::ResourceBusy.into())
    }

    /// Whether bytes, the end or an error have come.
    pub(super) fn is_readable(&self) -> bool {
        self.with(|ring, place| match ring.entries[place].incoming {
            Incoming::Asked => false,
            Incoming::Unasked => !matches!(
                self.stream.peek(&mut [0]),
                Err(err) if err.kind() == io::ErrorKind::WouldBlock
            ),
            _ => true,
        })
    }

    /// Has the kernel say when something comes, though nobody waits for it.
    pub(super) fn watch(&self) {
        self.with(|ring, place| {
            if matches!(ring.entries[place].incoming, Incoming::Unasked) {
                ring.receive(place);
            }
        });
    }

    /// What has come, all of it: 0 bytes are the end.
    fn poll_incoming(&mut self, cx: &Context<'_>) -> Poll<io::Result<Buf>> {
        self.with(|ring, place| {
            let entry = &mut ring.entries[place];
            match std::mem::take(&mut entry.incoming) {
                Incoming::Came(bytes) => Poll::Ready(Ok(bytes)),
                Incoming::Failed(err) => {
                    entry.incoming = Incoming::Ended;
                    Poll::Ready(Err(err))
                }
                Incoming::Ended => {
                    entry.incoming = Incoming::Ended;
                    Poll::Ready(Ok(Buf::default()))
                }
                asked @ (Incoming::Asked | Incoming::Unasked) => {
                    note(&mut entry.reader, cx);
                    entry.incoming = asked;
                    if matches!(entry.incoming, Incoming::Unasked) {
                        ring.receive(place);
                    }
                    Poll::Pending
                }
            }
        })
    }

    pub(super) fn poll_fill(
        &mut self,
        rbuf: &mut Buf,
        cx: &Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.poll_incoming(cx).map_ok(|bytes| {
            let n = bytes.len();
            rbuf.append(bytes);
            n
        })
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_incoming(cx).map_ok(|mut bytes| {
            let n = bytes.len().min(into.len());
            into[..n].copy_from_slice(&bytes.bytes()[..n]);
            bytes.consume(n);
            if !bytes.is_empty() {
                self.with(|ring, place| ring.entries[place].incoming = Incoming::Came(bytes));
            }
            n
        })
    }

    /// Ready when a send may begin, with the error of the last one.
    pub(super) fn poll_writable(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.with(|ring, place| {
            let entry = &mut ring.entries[place];
            if let Some(err) = entry.unsent.take() {
                return Poll::Ready(Err(err));
            }
            if entry.outgoing.is_some() {
                note(&mut entry.writer, cx);
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        })
    }

    fn begin(&mut self, bytes: Buf) {
        self.with(|ring, place| {
            ring.entries[place].outgoing = Some(bytes);
            ring.send(place);
        });
    }

    /// Takes all of `wbuf` along, once the last send is over.
    pub(super) fn poll_flush(&mut self, wbuf: &mut Buf, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if wbuf.is_empty() {
            return Poll::Ready(Ok(()));
        }
        self.poll_writable(cx)
            .map_ok(|()| self.begin(std::mem::take(wbuf)))
    }

    pub(super) fn poll_write(&mut self, cx: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_writable(cx).map_ok(|()| {
            let mut copy = Buf::default();
            copy.extend(bytes);
            self.begin(copy);
            bytes.len()
        })
    }

    /// Writes what it takes at once.
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.with(|ring, place| ring.entries[place].outgoing.is_some()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        io::Write::write(&mut &*self.stream, bytes)
    }
}

impl Drop for Socket {
    /// What is under way is cancelled, as a closed socket would drop it; the socket closes when that is over.
    fn drop(&mut self) {
        self.with(|ring, place| {
            let entry = &mut ring.entries[place];
            if entry.is_busy() {
                entry.left = true;
                ring.cancel(place);
            } else {
                ring.entries.remove(place);
            }
        });
    }
}

//! A socket on the reactor of tokio. A task is registered there only where it is not yet: that takes a lock, and of
//! the four times that a query asks for bytes which have not come, three are repetitions.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;
use std::task::{ready, Context, Poll};

use tokio::io::unix::AsyncFd;
use tokio::io::Interest;

use super::{Buf, BLOCK};

/// A connected, non-blocking socket.
#[derive(Debug)]
pub(crate) struct Evented<S: AsRawFd> {
    fd: AsyncFd<S>,
    /// Address of the task that is registered for reading; 0 is none. Until something comes the reactor keeps that
    /// task, so that no other can have its address.
    reader: usize,
}

impl<S: AsRawFd + From<OwnedFd>> Evented<S> {
    #[allow(unsafe_code, reason = "the reactor is given a descriptor")]
    pub(super) fn attach(socket: S) -> io::Result<Evented<S>> {
        // SAFETY: the socket owns its descriptor, and is not to be had but by `detach`, which ends the registration.
        let fd = unsafe { AsyncFd::register(socket) }?;
        Ok(Evented { fd, reader: 0 })
    }
}

impl<S: AsRawFd> Evented<S> {
    pub(super) fn detach(self) -> S {
        self.fd.into_inner()
    }

    pub(super) fn get_ref(&self) -> &S {
        self.fd.get_ref()
    }

    /// Whether a read may find bytes or the end.
    #[inline]
    pub(super) fn is_readable(&self) -> bool {
        self.fd.try_io(Interest::READABLE, |_| Ok(())).is_ok()
    }

    /// Has the task woken when something has come. Ready if it has. Relies on tasks without a budget (`spawn`), whose
    /// end would be a pending answer without a registration.
    #[inline]
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let task = cx.waker().data() as usize;
        if self.reader == task && task != 0 {
            return Poll::Pending;
        }
        match self.fd.poll_read_ready(cx) {
            Poll::Ready(result) => Poll::Ready(result.map(drop)),
            Poll::Pending => {
                self.reader = task;
                Poll::Pending
            }
        }
    }
}

/// Something to accept connections from.
impl<S: AsRawFd> Evented<S> {
    /// The next connection, ready for `attach`: one system call, where tokio's own would register it for nothing.
    #[allow(
        unsafe_code,
        reason = "the standard library cannot say how the socket is to be"
    )]
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<OwnedFd>> {
        loop {
            let Evented { fd, reader } = self;
            let accepted = fd.try_io(Interest::READABLE, |listener| {
                *reader = 0;
                let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
                // SAFETY: nobody asks for an address, and a descriptor that was just made is ours.
                unsafe {
                    let fd = libc::accept4(listener.as_raw_fd(), null_mut(), null_mut(), flags);
                    if fd < 0 {
                        return Err(io::Error::last_os_error());
                    }
                    Ok(OwnedFd::from_raw_fd(fd))
                }
            });
            if !would_block(&accepted) {
                return Poll::Ready(accepted);
            }
            ready!(self.poll_readable(cx))?;
        }
    }
}

impl<S: AsRawFd> Evented<S>
where
    for<'a> &'a S: Read + Write,
{
    /// Reads once into `rbuf`; 0 is the end of the stream. No buffer is held while nothing has come.
    #[inline]
    pub(super) fn poll_fill(
        &mut self,
        rbuf: &mut Buf,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            while !self.is_readable() {
                ready!(self.poll_readable(cx))?;
            }
            rbuf.reserve(BLOCK / 4);
            let result = self.try_read(rbuf.spare());
            if let Ok(n) = result {
                rbuf.commit(n);
            }
            if rbuf.is_empty() {
                rbuf.release();
            }
            if !would_block(&result) {
                return Poll::Ready(result);
            }
        }
    }

    /// Writes `wbuf` until it is empty.
    #[inline]
    pub(super) fn poll_flush(
        &mut self,
        wbuf: &mut Buf,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !wbuf.is_empty() {
            let n = ready!(self.poll_write(wbuf.bytes(), cx))?;
            if n == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            wbuf.consume(n);
        }
        Poll::Ready(Ok(()))
    }

    #[inline]
    pub(super) fn poll_read(
        &mut self,
        into: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let result = self.try_read(into);
            if !would_block(&result) {
                return Poll::Ready(result);
            }
            ready!(self.poll_readable(cx))?;
        }
    }

    #[inline]
    pub(super) fn poll_write(
        &mut self,
        bytes: &[u8],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            let result = self.try_write(bytes);
            if !would_block(&result) {
                return Poll::Ready(result);
            }
            ready!(self.fd.poll_write_ready(cx))?.retain_ready();
        }
    }

    /// Writes what the kernel takes at once.
    #[inline]
    pub(super) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let write = |mut socket: &S| socket.write(bytes);
        self.fd.try_io(Interest::WRITABLE, write)
    }

    #[inline]
    fn try_read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Evented { fd, reader } = self;
        let mut n = 0;
        let read = |mut socket: &S| {
            // What has come has ended the registration.
            *reader = 0;
            n = socket.read(into)?;
            // A read that could have taken more has taken all: the reactor says when there is more.
            match n {
                0 => Ok(()),
                n if n == into.len() => Ok(()),
                _ => Err(ErrorKind::WouldBlock.into()),
            }
        };
        let result = fd.try_io(Interest::READABLE, read);
        match result {
            Err(err) if n == 0 => Err(err),
            _ => Ok(n),
        }
    }
}

fn would_block<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(err) if err.kind() == ErrorKind::WouldBlock)
}

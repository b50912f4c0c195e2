//! A connected socket: on the ring of its worker, or on the reactor of tokio.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use super::evented::Evented;
use super::{uring, Buf, LOCAL};
use crate::config::Tcp;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(Evented<TcpStream>),
    Unix(Evented<UnixStream>),
    /// A TCP connection of a worker on io_uring.
    Ring(uring::Socket),
}

/// A connected, non-blocking socket that belongs to no worker.
#[derive(Debug)]
pub(crate) enum Detached {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Detached {
    /// Sets what every new connection has.
    pub(crate) fn tune(&self, tcp: &Tcp) -> io::Result<()> {
        match self {
            Detached::Tcp(stream) => tune(&SockRef::from(stream), tcp),
            Detached::Unix(_) => Ok(()),
        }
    }
}

/// No delay, and an end when the peer is gone. The system tells at once when the peer on a Unix socket is.
pub(super) fn tune(socket: &SockRef<'_>, tcp: &Tcp) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if tcp.keepalive_idle_seconds > 0 {
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(tcp.keepalive_idle_seconds))
            .with_interval(Duration::from_secs(tcp.keepalive_interval_seconds))
            .with_retries(tcp.keepalive_count);
        socket.set_tcp_keepalive(&keepalive)?;
    } else {
        // A listening socket may have been told otherwise before.
        socket.set_keepalive(false)?;
    }
    // 0 is the system's own idea of it.
    socket.set_tcp_user_timeout(Some(Duration::from_millis(tcp.user_timeout_ms)))
}

impl Socket {
    /// Registers a socket with this worker.
    pub(super) fn attach(socket: Detached) -> io::Result<Socket> {
        match socket {
            Detached::Tcp(stream) if uring::is_open() => {
                Ok(Socket::Ring(uring::Socket::new(stream)))
            }
            Detached::Tcp(stream) => Evented::attach(stream).map(Socket::Tcp),
            Detached::Unix(stream) => Evented::attach(stream).map(Socket::Unix),
        }
    }

    pub(super) fn detach(self) -> io::Result<Detached> {
        match self {
            Socket::Tcp(stream) => Ok(Detached::Tcp(stream.detach())),
            Socket::Unix(stream) => Ok(Detached::Unix(stream.detach())),
            Socket::Ring(socket) => socket.into_std().map(Detached::Tcp),
        }
    }

    /// Both ends: the peer's address, and our own that it connected to. `None` on a Unix socket.
    pub(super) fn ends(&self) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
        let stream = match self {
            Socket::Tcp(stream) => stream.get_ref(),
            Socket::Ring(socket) => socket.stream(),
            Socket::Unix(_) => return Ok(None),
        };
        Ok(Some((stream.peer_addr()?, stream.local_addr()?)))
    }

    pub(super) fn peer(&self) -> String {
        match self.ends() {
            Ok(Some((peer, _))) => peer.to_string(),
            Ok(None) => LOCAL.to_owned(),
            Err(err) => err.to_string(),
        }
    }

    /// The user that the process at the other end of a Unix socket ran as when it connected.
    pub(super) fn peer_user(&self) -> io::Result<u32> {
        match self {
            Socket::Unix(stream) => peer_user(stream.get_ref()),
            Socket::Tcp(_) | Socket::Ring(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Whether bytes or the end have come that nobody has read, or that cannot be told.
    pub(super) fn is_readable(&self) -> bool {
        match self {
            Socket::Tcp(stream) => stream.is_readable(),
            Socket::Unix(stream) => stream.is_readable(),
            Socket::Ring(socket) => socket.is_readable(),
        }
    }

    /// Keeps `is_readable` true to what comes while nobody reads. A reactor tells all the time.
    pub(super) fn watch(&self) {
        if let Socket::Ring(socket) = self {
            socket.watch();
        }
    }

    /// Reads once into `rbuf`; 0 is the end of the stream. No buffer is held while nothing has come.
    #[inline]
    pub(super) fn poll_fill(
        &mut self,
        rbuf: &mut Buf,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match self {
            Socket::Tcp(stream) => stream.poll_fill(rbuf, cx),
            Socket::Unix(stream) => stream.poll_fill(rbuf, cx),
            Socket::Ring(socket) => socket.poll_fill(rbuf, cx),
        }
    }

    /// Hands `wbuf` over until it is empty.
    #[inline]
    pub(super) fn poll_flush(
        &mut self,
        wbuf: &mut Buf,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_flush(wbuf, cx),
            Socket::Unix(stream) => stream.poll_flush(wbuf, cx),
            Socket::Ring(socket) => socket.poll_flush(wbuf, cx),
        }
    }

    /// Ready when the kernel has all that was handed over.
    pub(super) fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Ring(socket) => socket.poll_writable(cx),
            Socket::Tcp(_) | Socket::Unix(_) => Poll::Ready(Ok(())),
        }
    }

    #[inline]
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Socket::Tcp(stream) => stream.poll_read(into, cx),
            Socket::Unix(stream) => stream.poll_read(into, cx),
            Socket::Ring(socket) => socket.poll_read(cx, into),
        }
    }

    /// Writes what it takes at once.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_write(bytes),
            Socket::Unix(stream) => stream.try_write(bytes),
            Socket::Ring(socket) => socket.try_write(bytes),
        }
    }

    #[inline]
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self {
            Socket::Tcp(stream) => stream.poll_write(bytes, cx),
            Socket::Unix(stream) => stream.poll_write(bytes, cx),
            Socket::Ring(socket) => socket.poll_write(cx, bytes),
        }
    }
}

/// Through tokio, whose way to ask is safe; on a copy of the socket, since a socket is registered once. Only at a login.
fn peer_user(stream: &UnixStream) -> io::Result<u32> {
    let copy = tokio::net::UnixStream::from_std(stream.try_clone()?)?;
    copy.peer_cred().map(|credentials| credentials.uid())
}

//! A connected socket: on the ring of its worker, or on the reactor of tokio.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{ready, Context, Poll, Waker};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::{uring, Buf, BLOCK, LOCAL};
use crate::config::Tcp;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// A TCP connection of a worker on io_uring.
    Ring(uring::Socket),
}

/// A connected, non-blocking socket that belongs to no worker.
#[derive(Debug)]
pub(crate) enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Detached {
    /// Sets what every new connection has: no delay, and an end when the peer is gone. The system tells at once when
    /// the peer on a Unix socket is.
    pub(super) fn tune(&self, tcp: &Tcp) -> io::Result<()> {
        let Detached::Tcp(stream) = self else {
            return Ok(());
        };
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        if tcp.keepalive_idle_seconds > 0 {
            let keepalive = TcpKeepalive::new()
                .with_time(Duration::from_secs(tcp.keepalive_idle_seconds))
                .with_interval(Duration::from_secs(tcp.keepalive_interval_seconds))
                .with_retries(tcp.keepalive_count);
            socket.set_tcp_keepalive(&keepalive)?;
        }
        // 0 is the system's own idea of it.
        socket.set_tcp_user_timeout(Some(Duration::from_millis(tcp.user_timeout_ms)))
    }
}

impl Socket {
    /// Registers a socket with this worker.
    pub(super) fn attach(socket: Detached) -> io::Result<Socket> {
        match socket {
            Detached::Tcp(stream) if uring::is_open() => {
                Ok(Socket::Ring(uring::Socket::new(stream)))
            }
            Detached::Tcp(stream) => TcpStream::from_std(stream).map(Socket::Tcp),
            Detached::Unix(stream) => UnixStream::from_std(stream).map(Socket::Unix),
        }
    }

    pub(super) fn detach(self) -> io::Result<Detached> {
        match self {
            Socket::Tcp(stream) => stream.into_std().map(Detached::Tcp),
            Socket::Unix(stream) => stream.into_std().map(Detached::Unix),
            Socket::Ring(socket) => socket.into_std().map(Detached::Tcp),
        }
    }

    /// Both ends: the peer's address, and our own that it connected to. `None` on a Unix socket.
    pub(super) fn ends(&self) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
        match self {
            Socket::Tcp(stream) => Ok(Some((stream.peer_addr()?, stream.local_addr()?))),
            Socket::Ring(socket) => {
                let stream = socket.stream();
                Ok(Some((stream.peer_addr()?, stream.local_addr()?)))
            }
            Socket::Unix(_) => Ok(None),
        }
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
            Socket::Unix(stream) => stream.peer_cred().map(|credentials| credentials.uid()),
            Socket::Tcp(_) | Socket::Ring(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Ready when a read will find bytes or the end, or when that cannot be told. Not for the ring.
    #[inline]
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
            Socket::Ring(_) => Poll::Ready(Ok(())),
        }
    }

    /// Whether bytes or the end have come that nobody has read, or that cannot be told.
    pub(super) fn is_readable(&self) -> bool {
        match self {
            Socket::Ring(socket) => socket.is_readable(),
            _ => {
                let mut cx = Context::from_waker(Waker::noop());
                self.poll_readable(&mut cx).is_ready()
            }
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
        if let Socket::Ring(socket) = self {
            return socket.poll_fill(rbuf, cx);
        }
        ready!(self.poll_readable(cx))?;
        rbuf.reserve(BLOCK / 4);
        let result = self.poll_read(cx, rbuf.spare());
        if let Poll::Ready(Ok(n)) = result {
            rbuf.commit(n);
        }
        if rbuf.is_empty() {
            rbuf.release();
        }
        result
    }

    /// Hands `wbuf` over until it is empty.
    #[inline]
    pub(super) fn poll_flush(
        &mut self,
        wbuf: &mut Buf,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if let Socket::Ring(socket) = self {
            return socket.poll_flush(wbuf, cx);
        }
        while !wbuf.is_empty() {
            let n = ready!(self.poll_write(cx, wbuf.bytes()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            wbuf.consume(n);
        }
        Poll::Ready(Ok(()))
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
        let mut read = ReadBuf::new(into);
        ready!(match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut read),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, &mut read),
            Socket::Ring(socket) => return socket.poll_read(cx, into),
        })?;
        Poll::Ready(Ok(read.filled().len()))
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
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Ring(socket) => socket.poll_write(cx, bytes),
        }
    }
}

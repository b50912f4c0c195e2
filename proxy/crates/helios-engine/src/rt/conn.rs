//! A connection: a socket of the back end, its two buffers, and TLS between them where both ends agreed on it.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::{ready, Context, Poll};

use super::{Buf, Detached, Socket};
use crate::config::Tcp;
use crate::tls::{Stream, Subject};

/// One socket with its two buffers, which hold plain bytes with and without TLS.
#[derive(Debug)]
pub(crate) struct Conn {
    /// `None` once it went to another worker.
    socket: Option<Socket>,
    tls: Option<Box<Stream>>,
    /// Bytes read and not yet consumed.
    pub(crate) rbuf: Buf,
    /// Bytes to be written.
    pub(crate) wbuf: Buf,
}

/// A connection between two workers: what it consists of besides its empty buffers.
#[derive(Debug)]
pub(crate) struct Moving {
    socket: Detached,
    tls: Option<Box<Stream>>,
}

impl Conn {
    /// Takes over a socket that is new. Must run on a worker.
    pub(crate) fn new(socket: Detached, tcp: &Tcp) -> io::Result<Conn> {
        socket.tune(tcp)?;
        Conn::tuned(socket)
    }

    /// The same for one that has its options already.
    pub(crate) fn tuned(socket: Detached) -> io::Result<Conn> {
        Ok(Conn::over(Socket::attach(socket)?))
    }

    fn over(socket: Socket) -> Conn {
        Conn {
            socket: Some(socket),
            tls: None,
            rbuf: Buf::default(),
            wbuf: Buf::default(),
        }
    }

    /// Detaches it from this worker. Both buffers must be empty.
    pub(crate) fn detach(mut self) -> io::Result<Moving> {
        debug_assert!(self.rbuf.is_empty() && self.wbuf.is_empty());
        let socket = self.socket.take().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Moving {
            socket: socket.detach()?,
            tls: self.tls.take(),
        })
    }

    /// Attaches one that another worker gave away.
    pub(crate) fn attach(moving: Moving) -> io::Result<Conn> {
        let mut conn = Conn::over(Socket::attach(moving.socket)?);
        conn.tls = moving.tls;
        Ok(conn)
    }

    /// Who is at the other end, for the log.
    pub(crate) fn peer(&self) -> String {
        self.socket.as_ref().map_or_else(String::new, Socket::peer)
    }

    /// The peer's address, and our own that it connected to. `None` on a Unix socket.
    pub(crate) fn ends(&self) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        socket.ends()
    }

    /// The user that the process at the other end of a Unix socket ran as when it connected.
    pub(crate) fn peer_user(&self) -> io::Result<u32> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        socket.peer_user()
    }

    /// Whether both ends are on this machine and nothing lies between them.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self.socket, Some(Socket::Unix(_)))
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// Encrypts from here on: shakes hands, beginning with what `rbuf` holds.
    ///
    /// # Errors
    /// The peer went away, or the two found no terms; the peer has been told by an alert.
    pub(crate) async fn start_tls(&mut self, stream: Stream) -> io::Result<()> {
        let socket = self.socket.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let tls = self.tls.insert(Box::new(stream));
        let begun = tls.feed(self.rbuf.bytes());
        self.rbuf.release();
        poll_fn(|cx| tls.poll_handshake(socket, cx))
            .await
            .and(begun)
    }

    /// How it is encrypted, for people to read; empty without TLS.
    pub(crate) fn encryption(&self) -> String {
        let tls = self.tls.as_ref();
        tls.map_or_else(String::new, |tls| tls.terms())
    }

    /// The protocol that both ends named in the handshake.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.tls.as_ref().and_then(|tls| tls.alpn())
    }

    /// What stands for the certificate of the end that is the server; `None` without TLS.
    pub(crate) fn end_point(&self) -> Option<Vec<u8>> {
        self.tls.as_ref().and_then(|tls| tls.end_point())
    }

    /// Whom the peer's certificate names; `None` if it showed none.
    pub(crate) fn subject(&self) -> Option<Subject> {
        self.tls.as_ref().and_then(|tls| tls.subject())
    }

    /// Reads once into `rbuf`; 0 is the end of the stream. No buffer is held while nothing has come.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(socket) = &mut self.socket else {
            return Poll::Ready(Ok(0));
        };
        if let Some(tls) = &mut self.tls {
            return tls.poll_fill(socket, &mut self.rbuf, cx);
        }
        socket.poll_fill(&mut self.rbuf, cx)
    }

    /// Writes `wbuf` until it is empty.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(socket) = &mut self.socket else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        if let Some(tls) = &mut self.tls {
            return tls.poll_flush(socket, &mut self.wbuf, cx);
        }
        socket.poll_flush(&mut self.wbuf, cx)
    }

    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx)).await
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            ready!(self.poll_flush(cx))?;
            self.poll_sent(cx)
        })
        .await
    }

    /// Ready when the kernel has all that was flushed: what is dropped before does not arrive.
    fn poll_sent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Some(socket) => socket.poll_sent(cx),
            None => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    /// Nobody reads for now: keeps `is_readable` true to what comes.
    pub(crate) fn watch(&self) {
        if let Some(socket) = &self.socket {
            socket.watch();
        }
    }

    /// Whether bytes or the end of the stream have come that nobody has read.
    pub(crate) fn is_readable(&self) -> bool {
        self.socket.as_ref().is_some_and(Socket::is_readable)
    }
}

impl Drop for Conn {
    /// Says that nothing was cut off; libpq takes an end without that for an error.
    fn drop(&mut self) {
        if let (Some(socket), Some(tls)) = (&self.socket, &mut self.tls) {
            tls.farewell(socket);
        }
    }
}

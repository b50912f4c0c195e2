//! The state machine of one encrypted connection, between a socket and the connection's buffers of plain bytes.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::{ready, Context, Poll};

use rustls::Connection;

use super::certificate::{self, Subject};
use crate::rt::{Buf, Socket};

/// Most plain bytes that are encrypted before they are written; one record holds as many.
const RECORD: usize = 16 * 1024;

/// One end of a TLS connection.
pub(crate) struct Stream {
    session: Connection,
    /// Towards a client, what stands for our own certificate.
    shown: Option<Arc<[u8]>>,
    /// Decrypted bytes that nobody has fetched.
    opened: usize,
    /// Bytes at the front of the write buffer that are encrypted and partly written; they stay there until the last
    /// of them is on its way, so that an empty write buffer means what it says.
    sealed: usize,
    /// The peer sends no more.
    ended: bool,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({:?})", self.session.protocol_version())
    }
}

impl Stream {
    pub(super) fn new(session: impl Into<Connection>, shown: Option<Arc<[u8]>>) -> Stream {
        Stream {
            session: session.into(),
            shown,
            opened: 0,
            sealed: 0,
            ended: false,
        }
    }

    /// What both ends agreed on, as PgBouncer writes it: `TLSv1.3/TLS_AES_256_GCM_SHA384/ECDH=X25519`.
    pub(crate) fn terms(&self) -> String {
        let version = match self.session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let suite = self.session.negotiated_cipher_suite();
        let suite = suite.and_then(|suite| suite.suite().as_str()).unwrap_or("");
        let suite = suite.replacen("TLS13_", "TLS_", 1);
        let group = self.session.negotiated_key_exchange_group();
        let group = group.map_or_else(String::new, |group| format!("/ECDH={:?}", group.name()));
        format!("{version}/{suite}{group}")
    }

    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        self.session.alpn_protocol()
    }

    /// What stands for the server's certificate in SCRAM's channel binding; `None` if it cannot be bound.
    pub(crate) fn end_point(&self) -> Option<Vec<u8>> {
        match &self.session {
            Connection::Server(_) => self.shown.as_deref().map(<[u8]>::to_vec),
            Connection::Client(session) => {
                certificate::end_point(session.peer_certificates()?.first()?)
            }
        }
    }

    /// Whom the peer's certificate names, which has been verified; `None` if it showed none.
    pub(crate) fn subject(&self) -> Option<Subject> {
        certificate::subject(self.session.peer_certificates()?.first()?)
    }

    /// Takes in bytes that were read before it was known that they are encrypted.
    ///
    /// # Errors
    /// They are no TLS; the handshake then ends with the alert that says so.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.session.read_tls(&mut bytes)?;
            self.process().inspect_err(|_| self.ended = true)?;
        }
        Ok(())
    }

    pub(crate) fn poll_handshake(
        &mut self,
        socket: &mut Socket,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(socket, cx))?;
            if !self.session.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_receive(socket, cx))?;
        }
    }

    /// All plain bytes of what has come; 0 is the end of the stream.
    pub(crate) fn poll_fill(
        &mut self,
        socket: &mut Socket,
        rbuf: &mut Buf,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.opened > 0 {
                return Poll::Ready(self.fetch(rbuf));
            }
            if self.ended {
                return Poll::Ready(Ok(0));
            }
            // An answer to the peer's key update; what the socket does not take now goes with the next bytes.
            if self.sealed == 0 && self.session.wants_write() {
                if let Poll::Ready(Err(err)) = self.poll_send(socket, cx) {
                    return Poll::Ready(Err(err));
                }
            }
            ready!(self.poll_receive(socket, cx))?;
        }
    }

    /// Encrypts and writes `wbuf` until it is empty.
    pub(crate) fn poll_flush(
        &mut self,
        socket: &mut Socket,
        wbuf: &mut Buf,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_send(socket, cx))?;
            // A client that is leaving has no write buffer any more.
            wbuf.consume(std::mem::take(&mut self.sealed).min(wbuf.len()));
            if wbuf.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let next = &wbuf.bytes()[..wbuf.len().min(RECORD)];
            self.sealed = self.session.writer().write(next)?;
        }
    }

    /// Announces the end, as far as the socket takes it at once.
    pub(crate) fn farewell(&mut self, socket: &Socket) {
        self.session.send_close_notify();
        // The peer may be gone, or slower than its end is worth waiting for.
        let _ = self.session.write_tls(&mut AtOnce(socket));
    }

    fn fetch(&mut self, rbuf: &mut Buf) -> io::Result<usize> {
        let wanted = std::mem::take(&mut self.opened);
        rbuf.reserve(wanted);
        self.session
            .reader()
            .read_exact(&mut rbuf.spare()[..wanted])?;
        rbuf.commit(wanted);
        Ok(wanted)
    }

    fn poll_send(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut Unblocked { socket, cx }) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => {}
                Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(err) => return Poll::Ready(Err(err)),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_receive(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.session.read_tls(&mut Unblocked { socket, cx }) {
            // Many clients leave without the alert that says so; the protocol inside has its own end.
            Ok(0) => {
                self.ended = true;
                return Poll::Ready(Ok(()));
            }
            Ok(_) => {}
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            Err(err) => return Poll::Ready(Err(err)),
        }
        let processed = self.process();
        if processed.is_err() {
            // The alert that names the cause; the peer may be gone.
            let _ = self.poll_send(socket, cx);
        }
        Poll::Ready(processed)
    }

    fn process(&mut self) -> io::Result<()> {
        let state = self
            .session
            .process_new_packets()
            .map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))?;
        self.opened = state.plaintext_bytes_to_read();
        self.ended |= state.peer_has_closed();
        Ok(())
    }
}

/// A socket on which nobody waits.
struct AtOnce<'a>(&'a Socket);

impl Write for AtOnce<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A socket that says `WouldBlock` where it would, and wakes the task when that is over.
struct Unblocked<'a, 'b> {
    socket: &'a mut Socket,
    cx: &'a mut Context<'b>,
}

fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

impl Read for Unblocked<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        now(self.socket.poll_read(self.cx, into))
    }
}

impl Write for Unblocked<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        now(self.socket.poll_write(self.cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

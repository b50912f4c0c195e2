//! The epoll back end: one tokio `current_thread` runtime per worker thread.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::pin::Pin;
use std::task::{ready, Context, Poll};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::{Buf, BLOCK};

/// Silence after which a peer is probed, and the pause between two probes.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long sent bytes may stay unacknowledged before the connection counts as lost.
const USER_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections the kernel may hold ready for `accept`.
const BACKLOG: i32 = 4096;

/// One socket with its two buffers.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: TcpStream,
    /// Bytes read and not yet consumed.
    pub(crate) rbuf: Buf,
    /// Bytes to be written.
    pub(crate) wbuf: Buf,
}

impl Conn {
    /// Takes over a non-blocking socket that is new. Must run on a worker.
    pub(crate) fn new(stream: StdStream) -> io::Result<Conn> {
        Conn::from_tokio(TcpStream::from_std(stream)?)
    }

    /// Takes over a socket that another worker gave away.
    pub(crate) fn moved(stream: StdStream) -> io::Result<Conn> {
        let stream = TcpStream::from_std(stream)?;
        Ok(Conn {
            stream,
            rbuf: Buf::default(),
            wbuf: Buf::default(),
        })
    }

    fn from_tokio(stream: TcpStream) -> io::Result<Conn> {
        stream.set_nodelay(true)?;
        let socket = SockRef::from(&stream);
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(KEEPALIVE)
                .with_interval(KEEPALIVE),
        )?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        Ok(Conn {
            stream,
            rbuf: Buf::default(),
            wbuf: Buf::default(),
        })
    }

    /// Who is at the other end, for the log.
    pub(crate) fn peer(&self) -> String {
        self.stream
            .peer_addr()
            .map_or_else(|err| err.to_string(), |address| address.to_string())
    }

    /// The socket alone, to be carried to another worker. Both buffers must be empty.
    pub(crate) fn into_socket(self) -> io::Result<StdStream> {
        debug_assert!(self.rbuf.is_empty() && self.wbuf.is_empty());
        self.stream.into_std()
    }

    /// Reads once into `rbuf`; 0 is the end of the stream. No buffer is held while nothing has come.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.stream.poll_read_ready(cx))?;
        self.rbuf.reserve(BLOCK / 4);
        let mut spare = ReadBuf::new(self.rbuf.spare());
        let result = Pin::new(&mut self.stream).poll_read(cx, &mut spare);
        let n = spare.filled().len();
        self.rbuf.commit(n);
        if self.rbuf.is_empty() {
            self.rbuf.release();
        }
        ready!(result)?;
        Poll::Ready(Ok(n))
    }

    /// Writes `wbuf` until it is empty.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.wbuf.is_empty() {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, self.wbuf.bytes()))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.wbuf.consume(n);
        }
        Poll::Ready(Ok(()))
    }

    pub(crate) async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Whether bytes or the end of the stream have come that nobody has read.
    pub(crate) fn is_readable(&self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.stream.poll_read_ready(&mut cx).is_ready()
    }
}

/// A listening socket of one worker; several share an address by SO_REUSEPORT.
pub(crate) struct Listener(TcpListener);

impl Listener {
    /// Binds without a runtime, so that a taken port is known before any worker starts.
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    }

    pub(crate) fn new(socket: Socket) -> io::Result<Listener> {
        Ok(Listener(TcpListener::from_std(socket.into())?))
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<StdStream>> {
        let (stream, _) = ready!(self.0.poll_accept(cx))?;
        Poll::Ready(stream.into_std())
    }
}

/// Connects to the first address of `host` that answers within `limit`.
pub(crate) async fn connect(host: &str, port: u16, limit: Duration) -> io::Result<Conn> {
    let stream = timeout(limit, TcpStream::connect((host, port)))
        .await
        .ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "connection attempt timed out"))??;
    Conn::from_tokio(stream)
}

/// Sends to one worker from any thread.
pub(crate) type Sender<T> = mpsc::UnboundedSender<T>;
/// What a worker receives.
pub(crate) type Inbox<T> = mpsc::UnboundedReceiver<T>;

/// A channel into a worker; used where work changes threads, never per query.
pub(crate) fn channel<T>() -> (Sender<T>, Inbox<T>) {
    mpsc::unbounded_channel()
}

/// Runs `main` to its end on this thread; tasks spawned inside run beside it and end with it.
pub(crate) fn run_worker(main: impl Future<Output = ()>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, main);
    Ok(())
}

/// Starts a task on this worker. A panic ends the task alone.
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    // Sessions limit their own rounds, so tokio's budget would be counted for nothing.
    drop(tokio::task::spawn_local(tokio::task::unconstrained(task)));
}

/// Runs blocking or long work beside the event loop.
pub(crate) async fn offload<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)
}

pub(crate) async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// The result of `future`, or `None` when `limit` passes first.
pub(crate) async fn timeout<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, future).await.ok()
}

/// Calls `tick` every `period` until it answers false.
pub(crate) async fn interval(period: Duration, mut tick: impl FnMut() -> bool) {
    let mut timer = tokio::time::interval(period);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        if !tick() {
            return;
        }
    }
}

//! The epoll back end: one tokio `current_thread` runtime per worker thread.

use std::fs;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::pin::Pin;
use std::task::{ready, Context, Poll};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::{is_folder, socket_path, Conn, LOCAL};

/// Silence after which a peer is probed, and the pause between two probes.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How long sent bytes may stay unacknowledged before the connection counts as lost.
const USER_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections the kernel may hold ready for `accept`.
const BACKLOG: i32 = 4096;

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connected, non-blocking socket that belongs to no worker.
#[derive(Debug)]
pub(crate) enum Detached {
    Tcp(std::net::TcpStream),
    Unix(std::os::unix::net::UnixStream),
}

impl Socket {
    /// Registers a socket with this worker.
    pub(super) fn attach(socket: Detached) -> io::Result<Socket> {
        match socket {
            Detached::Tcp(stream) => TcpStream::from_std(stream).map(Socket::Tcp),
            Detached::Unix(stream) => UnixStream::from_std(stream).map(Socket::Unix),
        }
    }

    pub(super) fn detach(self) -> io::Result<Detached> {
        match self {
            Socket::Tcp(stream) => stream.into_std().map(Detached::Tcp),
            Socket::Unix(stream) => stream.into_std().map(Detached::Unix),
        }
    }

    /// Sets what every new connection has: no delay, and an end when the peer is gone. The system tells at once when
    /// the peer on a Unix socket is.
    pub(super) fn tune(&self) -> io::Result<()> {
        let Socket::Tcp(stream) = self else {
            return Ok(());
        };
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(KEEPALIVE)
                .with_interval(KEEPALIVE),
        )?;
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
    }

    pub(super) fn peer(&self) -> String {
        match self {
            Socket::Tcp(stream) => stream
                .peer_addr()
                .map_or_else(|err| err.to_string(), |address| address.to_string()),
            Socket::Unix(_) => LOCAL.to_owned(),
        }
    }

    /// Both ends: the peer's address, and our own that it connected to. `None` on a Unix socket.
    pub(super) fn ends(&self) -> io::Result<Option<(IpAddr, IpAddr)>> {
        match self {
            Socket::Tcp(stream) => Ok(Some((stream.peer_addr()?.ip(), stream.local_addr()?.ip()))),
            Socket::Unix(_) => Ok(None),
        }
    }

    /// The user that the process at the other end of a Unix socket ran as when it connected.
    pub(super) fn peer_user(&self) -> io::Result<u32> {
        match self {
            Socket::Tcp(_) => Err(io::ErrorKind::Unsupported.into()),
            Socket::Unix(stream) => stream.peer_cred().map(|credentials| credentials.uid()),
        }
    }

    /// Ready when a read will find bytes or the end, or when that cannot be told.
    #[inline]
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Socket::Tcp(stream) => stream.poll_read_ready(cx),
            Socket::Unix(stream) => stream.poll_read_ready(cx),
        }
    }

    #[inline]
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut into = ReadBuf::new(into);
        ready!(match self {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, &mut into),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, &mut into),
        })?;
        Poll::Ready(Ok(into.filled().len()))
    }

    /// Writes what it takes at once.
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_write(bytes),
            Socket::Unix(stream) => stream.try_write(bytes),
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
        }
    }
}

/// A listening socket of one worker; several share a TCP address by SO_REUSEPORT.
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds without a runtime, so that a taken port is known before any worker starts.
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<socket2::Socket> {
        let socket =
            socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    }

    /// The same for a Unix socket. There must be no such file; it gets `mode` before anybody can connect.
    pub(crate) fn bind_unix(path: &Path, mode: u32) -> io::Result<socket2::Socket> {
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.bind(&SockAddr::unix(path)?)?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    }

    pub(crate) fn new(socket: socket2::Socket) -> io::Result<Listener> {
        Ok(match socket.domain()? {
            Domain::UNIX => Listener::Unix(UnixListener::from_std(socket.into())?),
            _ => Listener::Tcp(TcpListener::from_std(socket.into())?),
        })
    }

    pub(crate) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Detached>> {
        let socket = match self {
            Listener::Tcp(listener) => Socket::Tcp(ready!(listener.poll_accept(cx))?.0),
            Listener::Unix(listener) => Socket::Unix(ready!(listener.poll_accept(cx))?.0),
        };
        Poll::Ready(socket.detach())
    }
}

/// Connects to the first address of `host` that answers within `limit`; one that is a folder holds a Unix socket.
pub(crate) async fn connect(host: &str, port: u16, limit: Duration) -> io::Result<Conn> {
    let attempt = async {
        if is_folder(host) {
            let stream = UnixStream::connect(socket_path(host, port)).await;
            return stream.map(Socket::Unix);
        }
        TcpStream::connect((host, port)).await.map(Socket::Tcp)
    };
    let socket = timeout(limit, attempt)
        .await
        .ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "connection attempt timed out"))??;
    socket.tune()?;
    Ok(Conn::over(socket))
}

/// A lock that is waited for without holding the worker up; never on the way of a query.
pub(crate) type Lock<T> = tokio::sync::Mutex<T>;

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

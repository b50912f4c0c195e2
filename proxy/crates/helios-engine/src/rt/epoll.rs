//! Threads, tasks and timers: one tokio `current_thread` runtime per worker. Its epoll is the reactor of everything but
//! the TCP connections of a worker on io_uring.

use std::fs;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{FromRawFd, RawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::task::{ready, Context, Poll};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, SockRef, Type};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::mpsc;

use super::evented::Evented;
use super::socket::tune;
use super::{is_folder, socket_path, uring, Conn, Detached, Io};
use crate::config::Tcp;

/// Connections the kernel may hold ready for `accept`.
const BACKLOG: i32 = 4096;

/// A listening socket.
pub(crate) enum Listener {
    Tcp(Evented<socket2::Socket>),
    Unix(Evented<socket2::Socket>),
}

impl Listener {
    /// Binds without a runtime, so that a taken port is known before any worker starts.
    pub(crate) fn bind(addr: SocketAddr) -> io::Result<socket2::Socket> {
        let socket =
            socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
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

    /// One that another process listened on and handed over.
    #[allow(unsafe_code, reason = "a descriptor comes from Python as a number")]
    pub(crate) fn inherit(fd: RawFd) -> io::Result<socket2::Socket> {
        // SAFETY: it was received for this, and whoever received it has let go of it.
        let socket = unsafe { socket2::Socket::from_raw_fd(fd) };
        if !socket.is_listener()? {
            return Err(io::Error::other("it is no listening socket"));
        }
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    pub(crate) fn new(socket: socket2::Socket) -> io::Result<Listener> {
        Ok(match socket.domain()? {
            Domain::UNIX => Listener::Unix(Evented::attach(socket)?),
            _ => Listener::Tcp(Evented::attach(socket)?),
        })
    }

    /// Has every connection that comes from now on begin with these options. Those that wait to be accepted have others.
    pub(crate) fn tune(&self, tcp: &Tcp) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => tune(&SockRef::from(listener.get_ref()), tcp),
            Listener::Unix(_) => Ok(()),
        }
    }

    pub(crate) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Detached>> {
        Poll::Ready(Ok(match self {
            Listener::Tcp(listener) => Detached::Tcp(ready!(listener.poll_accept(cx))?.into()),
            Listener::Unix(listener) => Detached::Unix(ready!(listener.poll_accept(cx))?.into()),
        }))
    }
}

/// Connects to the first of `addresses` that answers within `limit`, each of which has a fair part of it. Without any,
/// `host` is looked up; one that is a folder holds a Unix socket.
pub(crate) async fn connect(
    host: &str,
    port: u16,
    addresses: &[IpAddr],
    limit: Duration,
    options: &Tcp,
) -> io::Result<Conn> {
    let socket = timeout(limit, async {
        if is_folder(host) {
            return unix(UnixStream::connect(socket_path(host, port)).await?);
        }
        let mut ends: Vec<_> = addresses.iter().map(|&ip| (ip, port).into()).collect();
        if ends.is_empty() {
            ends = tokio::net::lookup_host((host, port)).await?.collect();
        }
        tcp(connect_any(&ends, limit).await?)
    });
    let socket = socket.await.ok_or_else(timed_out)??;
    Conn::new(socket, options)
}

fn tcp(stream: TcpStream) -> io::Result<Detached> {
    stream.into_std().map(Detached::Tcp)
}

fn unix(stream: UnixStream) -> io::Result<Detached> {
    stream.into_std().map(Detached::Unix)
}

/// Connects to a process of this machine by its file.
pub(crate) async fn connect_file(path: &Path, limit: Duration, options: &Tcp) -> io::Result<Conn> {
    let stream = timeout(limit, UnixStream::connect(path)).await;
    Conn::new(unix(stream.ok_or_else(timed_out)??)?, options)
}

async fn connect_any(ends: &[SocketAddr], limit: Duration) -> io::Result<TcpStream> {
    let until = Instant::now() + limit;
    let mut failure = io::ErrorKind::NotFound.into();
    for (at, end) in ends.iter().enumerate() {
        let left = until.saturating_duration_since(Instant::now());
        let part = left / u32::try_from(ends.len() - at).unwrap_or(u32::MAX);
        match timeout(part, TcpStream::connect(end)).await {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(err)) => failure = err,
            None => failure = timed_out(),
        }
    }
    Err(failure)
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "connection attempt timed out")
}

/// All addresses of a host.
pub(crate) async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// A lock that is waited for without holding the worker up; never on the way of a query.
pub(crate) type Lock<T> = tokio::sync::Mutex<T>;

/// Bounds how many do something at a time, in the order in which they asked; never on the way of a query.
pub(crate) type Permits = tokio::sync::Semaphore;

/// Sends to one worker from any thread.
pub(crate) type Sender<T> = mpsc::UnboundedSender<T>;
/// What a worker receives.
pub(crate) type Inbox<T> = mpsc::UnboundedReceiver<T>;

/// A channel into a worker; used where work changes threads, never per query.
pub(crate) fn channel<T>() -> (Sender<T>, Inbox<T>) {
    mpsc::unbounded_channel()
}

/// Runs `main` to its end on this thread; tasks spawned inside run beside it and end with it.
pub(crate) fn run_worker(io: Io, main: impl Future<Output = ()>) -> io::Result<()> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().max_blocking_threads(2);
    if io == Io::Uring {
        builder.on_thread_park(uring::turn);
    }
    let runtime = builder.build()?;
    let reactor = runtime.enter();
    // Outlives every task and so every socket, also when `main` panics.
    let _ring = (io == Io::Uring).then(uring::open).transpose()?;
    drop(reactor);
    tokio::task::LocalSet::new().block_on(&runtime, main);
    Ok(())
}

/// Starts a task on this worker. A panic ends the task alone.
pub(crate) fn spawn(task: impl Future<Output = ()> + 'static) {
    // Sessions limit their own rounds, so tokio's budget would be counted for nothing, and `evented` relies on none.
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

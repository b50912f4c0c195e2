//! Accepting clients: every worker listens, and gives a new client to whichever has fewest.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::Socket;

use crate::config::{Address, Snapshot};
use crate::error::EngineError;
use crate::events::Level;
use crate::rt::{self, Conn, Detached, Listener};
use crate::seat::Seat;
use crate::session;
use crate::socket_file::SocketFile;
use crate::worker::{Message, Newcomer, Worker};

/// Pause after an accept that failed for want of file descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// What clients can connect to.
#[derive(Debug)]
pub(crate) enum Bound {
    Tcp(SocketAddr),
    Unix(SocketFile),
}

impl Bound {
    /// No more clients are wanted.
    pub(crate) fn withdraw(&self) {
        if let Bound::Unix(file) = self {
            file.remove();
        }
    }
}

/// Binds all that the snapshot says. Returns the sockets per worker and the addresses as bound.
pub(crate) fn bind(snapshot: &Snapshot) -> Result<(Vec<Vec<Socket>>, Vec<Bound>), EngineError> {
    let mut sockets: Vec<Vec<Socket>> = (0..snapshot.workers).map(|_| Vec::new()).collect();
    let bound = bind_tcp(&snapshot.listen, &mut sockets)?;
    let port = bound.first().map_or(0, SocketAddr::port);
    let mut bound: Vec<Bound> = bound.into_iter().map(Bound::Tcp).collect();
    if let Some(unix) = &snapshot.unix_socket {
        let made = SocketFile::bind(&unix.folder, port, unix.mode);
        let (file, socket) = made.map_err(|err| {
            let path = rt::socket_path(&unix.folder, port);
            refused(&path.display().to_string(), &err)
        })?;
        bound.push(Bound::Unix(file));
        // One worker is enough to accept: whom it accepts goes to the worker with the fewest clients.
        sockets[0].push(socket);
    }
    Ok((sockets, bound))
}

fn refused(address: &str, err: &io::Error) -> EngineError {
    EngineError::Listen(format!("cannot listen on {address}: {}", reason(err)))
}

/// Binds every address once per worker.
fn bind_tcp(
    addresses: &[Address],
    sockets: &mut [Vec<Socket>],
) -> Result<Vec<SocketAddr>, EngineError> {
    let mut bound = Vec::new();
    for address in addresses {
        let refused = |err: io::Error| refused(&format!("{}:{}", address.host, address.port), &err);
        let mut resolved = (address.host.as_str(), address.port)
            .to_socket_addrs()
            .map_err(refused)?;
        let mut target = resolved
            .next()
            .ok_or_else(|| refused(io::ErrorKind::NotFound.into()))?;
        claim(target).map_err(refused)?;
        for sockets in &mut *sockets {
            let socket = Listener::bind(target).map_err(refused)?;
            target = socket
                .local_addr()
                .map_err(refused)?
                .as_socket()
                .unwrap_or(target);
            sockets.push(socket);
        }
        bound.push(target);
    }
    Ok(bound)
}

/// SO_REUSEPORT would let a second process of the same user share the port and take half the clients unseen, so
/// the address must be free for an ordinary bind first.
fn claim(address: SocketAddr) -> io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    std::net::TcpListener::bind(address).map(drop)
}

fn reason(err: &io::Error) -> String {
    match err.kind() {
        io::ErrorKind::AddrInUse => "the address is in use by another process".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied (ports below 1024 need a privilege)".to_owned()
        }
        io::ErrorKind::NotFound => "there is no such name or folder".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine has no such address".to_owned(),
        _ => err.to_string(),
    }
}

/// Accepts until the worker stops accepting.
pub(crate) async fn accept_loop(worker: Rc<Worker>, mut listener: Listener) {
    let newcomer = worker.newcomer();
    while worker.accepting.get() {
        match poll_fn(|cx| poll_accept(&newcomer, &worker, &mut listener, cx)).await {
            None => return,
            Some(Ok(socket)) => dispatch(&worker, socket),
            Some(Err(err)) if is_exhausted(&err) => {
                let fields = vec![("error", err.to_string())];
                worker
                    .shared
                    .events
                    .log(Level::Error, "cannot accept clients", fields);
                rt::sleep(EXHAUSTED_PAUSE).await;
            }
            // The client went away before it was accepted.
            Some(Err(_)) => {}
        }
    }
}

/// The next client, or `None` once the worker stops accepting.
fn poll_accept(
    newcomer: &Newcomer,
    worker: &Worker,
    listener: &mut Listener,
    cx: &mut Context<'_>,
) -> Poll<Option<io::Result<Detached>>> {
    if !worker.accepting.get() {
        return Poll::Ready(None);
    }
    newcomer.listen(cx);
    listener.poll_accept(cx).map(Some)
}

fn is_exhausted(err: &io::Error) -> bool {
    matches!(
        err.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// So many clients go to one worker before the next gets any: a wake-up that serves several costs less than several
/// wake-ups.
fn dispatch(worker: &Rc<Worker>, socket: Detached) {
    let pack = worker.config().clients_per_worker;
    let load = |id: usize| worker.shared.clients[id].load(Ordering::Relaxed) / pack;
    let least = (0..worker.shared.clients.len())
        .min_by_key(|&id| load(id))
        .unwrap_or(worker.id);
    if least != worker.id {
        let _ = worker.shared.inboxes[least].send(Message::Client(socket));
    } else {
        admit(worker, socket);
    }
}

/// Starts the session of a client on this worker.
pub(crate) fn admit(worker: &Rc<Worker>, socket: Detached) {
    // A client that is gone already leaves a socket that cannot be set up.
    let Ok(conn) = Conn::new(socket, &worker.config().tcp) else {
        return;
    };
    let address = match conn.ends() {
        Ok(Some((address, _))) => address.ip(),
        Ok(None) => Ipv4Addr::LOCALHOST.into(),
        Err(_) => return,
    };
    let census = &worker.shared.census;
    if let Some(stranger) = census.arrive(address, &worker.config().limits) {
        let seat = Seat::take(worker, stranger);
        rt::spawn(session::run(Rc::clone(worker), conn, seat));
    }
}

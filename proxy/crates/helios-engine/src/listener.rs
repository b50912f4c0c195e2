//! Accepting clients: one worker listens, and gives a new client to whichever has fewest.

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::Socket;

use crate::config::{Entrance, Role, Snapshot, Tcp};
use crate::error::EngineError;
use crate::events::Level;
use crate::newcomer::Newcomer;
use crate::rt::{self, Conn, Detached, Listener};
use crate::seat::Seat;
use crate::session;
use crate::socket_file::SocketFile;
use crate::worker::{Message, Worker};

/// Pause after an accept that failed for want of file descriptors or memory.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket, and what nodes serve those who come by it.
pub(crate) type Door = (Socket, Role);

/// What clients can connect to.
#[derive(Debug)]
pub(crate) enum Bound {
    Tcp(SocketAddr),
    Unix {
        folder: String,
        port: u16,
        mode: u32,
        file: SocketFile,
    },
}

impl Bound {
    /// No more clients are wanted.
    pub(crate) fn withdraw(&self) {
        if let Bound::Unix { file, .. } = self {
            file.remove();
        }
    }

    /// The process that listened here before has let go.
    pub(crate) fn own(&self) -> io::Result<()> {
        match self {
            Bound::Unix { file, mode, .. } => file.own(*mode),
            Bound::Tcp(_) => Ok(()),
        }
    }

    /// Another process listens at this folder and port from now on, so what is there is not ours to remove.
    pub(crate) fn leave_to(&self, host: &str, at: u16) {
        match self {
            Bound::Unix {
                folder, port, file, ..
            } if folder == host && *port == at => {
                file.forget();
            }
            _ => {}
        }
    }
}

/// Binds all that the snapshot says, by sockets that were handed over where there are any for it. Returns the sockets
/// and the addresses as bound.
pub(crate) fn bind(
    snapshot: &Snapshot,
    mut inherited: Vec<Socket>,
) -> Result<(Vec<Door>, Vec<Bound>), EngineError> {
    let (mut doors, bound) = bind_tcp(&snapshot.listen, &mut inherited)?;
    let port = bound.first().map_or(0, SocketAddr::port);
    let mut bound: Vec<Bound> = bound.into_iter().map(Bound::Tcp).collect();
    if let Some(unix) = &snapshot.unix_socket {
        let path = rt::socket_path(&unix.folder, port);
        let (file, socket) = bind_file(&path, unix.mode, &mut inherited)
            .map_err(|err| refused(&path.display().to_string(), &err))?;
        bound.push(Bound::Unix {
            folder: unix.folder.clone(),
            port,
            mode: unix.mode,
            file,
        });
        doors.push((socket, Role::Primary));
    }
    Ok((doors, bound))
}

fn bind_file(
    path: &Path,
    mode: u32,
    inherited: &mut Vec<Socket>,
) -> io::Result<(SocketFile, Socket)> {
    let is_ours =
        |socket: &Socket| matches!(socket.local_addr(), Ok(at) if at.as_pathname() == Some(path));
    match take(inherited, is_ours).pop() {
        Some(socket) => Ok((SocketFile::of_another(path), socket)),
        None => SocketFile::bind(path, mode),
    }
}

/// Those of `sockets` that are wanted.
fn take(sockets: &mut Vec<Socket>, is_wanted: impl Fn(&Socket) -> bool) -> Vec<Socket> {
    let (wanted, rest) = sockets.drain(..).partition(|socket| is_wanted(socket));
    *sockets = rest;
    wanted
}

fn refused(address: &str, err: &io::Error) -> EngineError {
    EngineError::Listen(format!("cannot listen on {address}: {}", reason(err)))
}

/// Binds every address, but for what was handed over: several sockets at one address, where a process that had one per
/// worker did it. Clients that wait at a socket are lost if nobody accepts them.
fn bind_tcp(
    entrances: &[Entrance],
    inherited: &mut Vec<Socket>,
) -> Result<(Vec<Door>, Vec<SocketAddr>), EngineError> {
    let (mut doors, mut bound) = (Vec::new(), Vec::new());
    for entrance in entrances {
        let refused =
            |err: io::Error| refused(&format!("{}:{}", entrance.host, entrance.port), &err);
        let mut resolved = (entrance.host.as_str(), entrance.port)
            .to_socket_addrs()
            .map_err(refused)?;
        let target = resolved
            .next()
            .ok_or_else(|| refused(io::ErrorKind::NotFound.into()))?;
        let ours = inherited
            .iter()
            .filter_map(tcp_address)
            .find(|&at| fits(target, at));
        let sockets = match ours {
            Some(address) => take(inherited, |socket| tcp_address(socket) == Some(address)),
            None => vec![Listener::bind(target).map_err(refused)?],
        };
        bound.push(sockets.first().and_then(tcp_address).unwrap_or(target));
        doors.extend(sockets.into_iter().map(|socket| (socket, entrance.role)));
    }
    Ok((doors, bound))
}

fn tcp_address(socket: &Socket) -> Option<SocketAddr> {
    socket.local_addr().ok()?.as_socket()
}

fn fits(wanted: SocketAddr, bound: SocketAddr) -> bool {
    wanted.ip() == bound.ip() && (wanted.port() == 0 || wanted.port() == bound.port())
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

/// What new connections have from their listening socket, which saves setting it for each.
#[derive(Debug, Default)]
struct Inheritance {
    /// As the socket was told.
    tcp: Option<Tcp>,
    /// None that came before it was told so waits any more.
    is_certain: bool,
}

impl Inheritance {
    /// Tells the socket what the configuration says now.
    fn follow(&mut self, listener: &Listener, tcp: Tcp) {
        if self.tcp != Some(tcp) {
            *self = Inheritance {
                tcp: listener.tune(&tcp).ok().map(|()| tcp),
                is_certain: false,
            };
        }
    }

    /// Nothing is left to be accepted.
    fn is_drained(&mut self) {
        self.is_certain = self.tcp.is_some();
    }
}

/// Accepts until the worker stops accepting.
pub(crate) async fn accept_loop(worker: Rc<Worker>, mut listener: Listener, role: Role) {
    let newcomer = worker.newcomer();
    let mut inheritance = Inheritance::default();
    while worker.accepting.get() {
        let accepted =
            poll_fn(|cx| poll_accept(&newcomer, &worker, &mut listener, &mut inheritance, cx));
        match accepted.await {
            None => return,
            Some(Ok(socket)) => {
                // A client that is gone already leaves a socket that cannot be set up.
                if inheritance.is_certain || socket.tune(&worker.config().tcp).is_ok() {
                    dispatch(&worker, socket, role);
                }
            }
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
    inheritance: &mut Inheritance,
    cx: &mut Context<'_>,
) -> Poll<Option<io::Result<Detached>>> {
    if !worker.accepting.get() {
        return Poll::Ready(None);
    }
    newcomer.listen(cx);
    inheritance.follow(listener, worker.config().tcp);
    let accepted = listener.poll_accept(cx);
    if accepted.is_pending() {
        inheritance.is_drained();
    }
    accepted.map(Some)
}

fn is_exhausted(err: &io::Error) -> bool {
    matches!(
        err.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM)
    )
}

/// So many clients go to one worker before the next gets any: a wake-up that serves several costs less than several
/// wake-ups.
fn dispatch(worker: &Rc<Worker>, socket: Detached, role: Role) {
    let pack = worker.config().clients_per_worker;
    let load = |id: usize| worker.shared.clients[id].load(Ordering::Relaxed) / pack;
    let least = (0..worker.shared.clients.len())
        .min_by_key(|&id| load(id))
        .unwrap_or(worker.id);
    if least != worker.id {
        let _ = worker.shared.inboxes[least].send(Message::Client(socket, role));
    } else {
        admit(worker, socket, role);
    }
}

/// Starts the session of a client on this worker.
pub(crate) fn admit(worker: &Rc<Worker>, socket: Detached, role: Role) {
    let Ok(conn) = Conn::tuned(socket) else {
        return;
    };
    // A client that is gone already has no address.
    let Ok(ends) = conn.ends() else {
        return;
    };
    let address = ends.map_or(Ipv4Addr::LOCALHOST.into(), |(client, _)| client.ip());
    let census = &worker.shared.census;
    if let Some(stranger) = census.arrive(address, &worker.config().limits) {
        let seat = Seat::take(worker, role, stranger);
        rt::spawn(session::run(Rc::clone(worker), conn, ends, seat));
    }
}

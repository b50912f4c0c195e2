//! An online restart: the process that takes over gets the listening sockets of the one before it, which serves its
//! clients to their end. Python brings the two together (`helios.handover`) and carries the descriptors; here is what
//! is kept for a successor, and the way back for CancelRequests, which come to the successor from then on.
//!
//! That way is a Unix socket whose file only the user of the process can open, so what comes is taken at its word: a
//! CancelRequest as a client sends it, or what a peer has shown to know. One byte answers, as to a peer.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use helios_wire::peer;
use helios_wire::startup::{self, Startup};
use serde::Deserialize;
use serde_json::{json, Value};
use socket2::Socket;

use crate::error::EngineError;
use crate::events::Level;
use crate::peers;
use crate::rt::{self, Conn, Detached, Listener};
use crate::session::cancel::{find, Claim};
use crate::session::startup::read_packet;
use crate::socket_file::SocketFile;
use crate::worker::Worker;

/// How long passing a request on may take, with what the other process does about it.
const LIMIT: Duration = Duration::from_secs(12);
/// Pause after an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);
/// For the owner only.
const MODE: u32 = 0o600;

/// What a process begins with.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inheritance {
    /// Descriptors of listening sockets.
    listeners: Vec<RawFd>,
    /// Files at which processes before it are asked for their sessions.
    pub(crate) predecessors: Vec<PathBuf>,
}

impl Inheritance {
    /// The sockets.
    pub(crate) fn sockets(&self) -> Result<Vec<Socket>, EngineError> {
        let refused =
            |err| EngineError::Listen(format!("cannot listen on what was handed over: {err}"));
        let sockets = self.listeners.iter().map(|&fd| Listener::inherit(fd));
        sockets.collect::<io::Result<_>>().map_err(refused)
    }
}

/// Where a process listens that takes over.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Successor {
    pub(crate) listen: Vec<Place>,
}

/// A listener as the border's documents have it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Place {
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// What is kept for a successor.
#[derive(Debug, Default)]
pub(crate) struct Estate {
    /// Copies of the sockets that are listened on.
    listeners: Mutex<Vec<Socket>>,
    /// At which a successor asks for sessions, once there may be one.
    file: Mutex<Option<SocketFile>>,
}

impl Estate {
    pub(crate) fn keep<'a>(&self, sockets: impl Iterator<Item = &'a Socket>) -> io::Result<()> {
        *lock(&self.listeners) = sockets.map(Socket::try_clone).collect::<io::Result<_>>()?;
        Ok(())
    }

    /// Nobody gets the sockets any more: a copy that nobody accepts from would swallow clients.
    pub(crate) fn close(&self) {
        lock(&self.listeners).clear();
    }

    /// Ends the way back as well.
    pub(crate) fn end(&self) {
        self.close();
        lock(&self.file).take();
    }

    /// Listens at `path`, if it does not yet listen at another one.
    pub(crate) fn open(&self, path: &Path) -> io::Result<Option<Socket>> {
        let mut file = lock(&self.file);
        if file.is_some() {
            return Ok(None);
        }
        let (made, socket) = SocketFile::bind(path, MODE)?;
        *file = Some(made);
        Ok(Some(socket))
    }

    /// `{"listeners": [descriptor], "predecessors": [file]}`, as `Inheritance` has it.
    pub(crate) fn document(&self, predecessors: &Predecessors) -> Value {
        let listeners: Vec<_> = lock(&self.listeners)
            .iter()
            .map(Socket::as_raw_fd)
            .collect();
        let mut files = predecessors.files();
        files.extend(lock(&self.file).as_ref().map(|file| file.path().to_owned()));
        json!({"listeners": listeners, "predecessors": files})
    }
}

/// Processes before this one that may have clients still.
#[derive(Debug, Default)]
pub(crate) struct Predecessors(Mutex<Vec<PathBuf>>);

impl Predecessors {
    pub(crate) fn set(&self, files: Vec<PathBuf>) {
        *lock(&self.0) = files;
    }

    fn files(&self) -> Vec<PathBuf> {
        lock(&self.0).clone()
    }

    fn remove(&self, gone: &Path) {
        lock(&self.0).retain(|file| file != gone);
    }
}

/// Passes a cancel request on to each predecessor until one has the session. `None` if that cannot be said, since one
/// did not answer.
pub(crate) async fn ask(worker: &Worker, packets: &[u8]) -> Option<bool> {
    let predecessors = &worker.shared.predecessors;
    let mut found = Some(false);
    for file in predecessors.files() {
        let _permit = worker.shared.cancels.acquire().await;
        let answer = rt::timeout(LIMIT, tell(worker, &file, packets)).await;
        match answer.unwrap_or_else(|| Err(io::ErrorKind::TimedOut.into())) {
            Ok(true) => return Some(true),
            Ok(false) => {}
            Err(err) if is_gone(&err) => predecessors.remove(&file),
            Err(err) => {
                let fields = vec![("error", err.to_string())];
                let events = &worker.shared.events;
                events.log(
                    Level::Warning,
                    "the process before this one took no cancel request",
                    fields,
                );
                found = None;
            }
        }
    }
    found
}

fn is_gone(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}

async fn tell(worker: &Worker, file: &Path, packets: &[u8]) -> io::Result<bool> {
    let mut conn = rt::connect_file(file, LIMIT, &worker.config().tcp).await?;
    conn.wbuf.extend(packets);
    conn.flush().await?;
    Ok(peers::read(&mut conn).await? == [peer::FOUND])
}

/// Answers a successor for as long as the worker lives.
pub(crate) async fn answer_successors(worker: Rc<Worker>, socket: Socket) {
    let Ok(mut listener) = Listener::new(socket) else {
        return;
    };
    loop {
        match poll_fn(|cx| listener.poll_accept(cx)).await {
            Ok(socket) => {
                let worker = Rc::clone(&worker);
                rt::spawn(async move {
                    rt::timeout(LIMIT, answer(&worker, socket)).await;
                });
            }
            Err(_) => rt::sleep(PAUSE).await,
        }
    }
}

/// `None` where what came is not understood.
async fn answer(worker: &Worker, socket: Detached) -> Option<()> {
    let mut conn = Conn::new(socket, &worker.config().tcp).ok()?;
    let packet = read_packet(&mut conn).await.ok()?;
    let (pid, claim) = match startup::parse(&packet).ok()? {
        Startup::Cancel { pid, key } => (pid, Claim::Key(key.into())),
        Startup::Peer => {
            let challenge = peers::read(&mut conn).await.ok()?;
            let claim = read_packet(&mut conn).await.ok()?;
            let (pid, proven) = peers::read_claim(worker, challenge, &claim)?;
            (pid, Claim::Peer(proven))
        }
        _ => return None,
    };
    let is_found = find(worker, pid, claim).await;
    conn.wbuf
        .extend(&[if is_found { peer::FOUND } else { peer::UNKNOWN }]);
    conn.flush().await.ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

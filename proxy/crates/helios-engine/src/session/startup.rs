//! From the first byte of a client to its session: encryption requests, cancel requests, version negotiation,
//! authentication. Nothing here allocates by an announced length that has not been checked.

use std::future::{poll_fn, Future};
use std::pin::{pin, Pin};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::task::Poll;
use std::time::SystemTime;

use helios_wire::error_response::Severity;
use helios_wire::frame::{self, HEADER_LEN};
use helios_wire::startup::{self, Startup, StartupError, StartupParams};
use helios_wire::{backend, sqlstate};

use super::cancel;
use super::console::ConsoleSession;
use super::handle::{Ends, Handle, Visit};
use super::{Login, Session, FAREWELL};
use crate::config::{PoolMode, Role, Routing, Snapshot, WriteMode};
use crate::error::Refusal;
use crate::events::Level;
use crate::fault::Fault;
use crate::plans::Parameter;
use crate::pool::Profile;
use crate::rt::{self, Conn};
use crate::seat::Seat;
use crate::tls::{self, Acceptor};
use crate::worker::Worker;

/// Longest password, JWT or SASL message of a login.
const MAX_PASSWORD_LEN: usize = 64 * 1024;
/// Longest application_name that a server keeps.
const MAX_APPLICATION_NAME: usize = 63;
/// What stands for the name of an application that gives none, as in PgBouncer.
const UNNAMED_APPLICATION: &str = "app";
/// About as long is what a client is greeted with.
const GREETING: usize = 1024;
/// First byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

/// What a login leads to.
pub(crate) enum Client {
    Session(Box<Session>),
    Console(Box<ConsoleSession>),
}

/// Why no session came about.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The client left, or only wanted to cancel.
    Quietly,
    /// The client is told why.
    Refused(Refusal),
}

impl From<std::io::Error> for Ended {
    fn from(_: std::io::Error) -> Ended {
        Ended::Quietly
    }
}

/// Brings a client to the point where it may send queries. What few logins need is boxed, so that the rest of them do
/// not carry the room for it about.
pub(crate) async fn establish(
    worker: Rc<Worker>,
    mut conn: Conn,
    ends: Option<Ends>,
    mut seat: Seat,
) -> Option<Client> {
    let limit = seat.patience();
    let admitted = {
        let login = pin!(login(&worker, &mut conn, ends, &mut seat));
        rt::timeout(limit, until_drain(&worker, login)).await
    };
    match admitted.unwrap_or_else(|| Err(Ended::Refused(seat.too_late()))) {
        Ok((params, handle)) => begin(&worker, conn, seat, params, handle).await,
        Err(Ended::Quietly) => None,
        Err(Ended::Refused(refusal)) => {
            refuse(&worker, &mut conn, &refusal).await;
            None
        }
    }
}

/// The login, unless the proxy begins to shut down before it is done: then nobody waits for it.
async fn until_drain<T>(
    worker: &Rc<Worker>,
    mut login: Pin<&mut impl Future<Output = Result<T, Ended>>>,
) -> Result<T, Ended> {
    let newcomer = worker.newcomer();
    poll_fn(|cx| {
        if let Poll::Ready(done) = login.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        if worker.shared.draining.load(Ordering::SeqCst) {
            return Poll::Ready(Err(Ended::Quietly));
        }
        newcomer.listen(cx);
        Poll::Pending
    })
    .await
}

async fn refuse(worker: &Worker, conn: &mut Conn, refusal: &Refusal) {
    let fields = vec![("client", conn.peer()), ("error", refusal.text())];
    worker
        .shared
        .events
        .log(Level::Info, "client refused", fields);
    conn.wbuf.extend(&refusal.message(Severity::Fatal));
    // The client may be gone, or not read; there is nobody else to tell.
    let _ = rt::timeout(FAREWELL, conn.flush()).await;
}

async fn login(
    worker: &Rc<Worker>,
    conn: &mut Conn,
    ends: Option<Ends>,
    seat: &mut Seat,
) -> Result<(StartupParams, Handle), Ended> {
    let params = negotiate(worker, conn).await?;
    refuse_in_drain(worker)?;
    refuse_in_maintenance(worker, &params)?;
    seat.check().map_err(Ended::Refused)?;
    if let Some(message) = startup::negotiate(params.minor, &params.protocol_options) {
        conn.wbuf.extend(&message);
    }
    let active = worker.active();
    active.users.admit(worker, conn, &params).await?;
    check_database(worker, &active.snapshot, &params)?;
    // Who has not proven to be the user learns nothing of that user, and takes no place of theirs.
    seat.settle(&params.user, &params.database)
        .map_err(Ended::Refused)?;
    conn.wbuf.extend(backend::AUTHENTICATION_OK);
    let (pid, key) = cancel::new_key(worker, conn, params.minor);
    let visit = Visit {
        id: worker.shared.numbers.next(),
        login: Login {
            user: params.user.clone(),
            database: params.database.clone(),
            replication: params.replication,
        },
        ends,
        encryption: conn.encryption(),
        since: SystemTime::now(),
    };
    let limits = *active.snapshot.user_limits(&params.user);
    let handle = Handle::new(visit, pid, key, limits, worker.ticks());
    Ok((params, handle))
}

/// Whether a client that has proven who it is may go where it wants to.
fn check_database(
    worker: &Worker,
    snapshot: &Snapshot,
    params: &StartupParams,
) -> Result<(), Ended> {
    let (user, database) = (&params.user, &params.database);
    if let Some(console) = snapshot.console(database) {
        if console.users.contains(user) {
            return Ok(());
        }
        let text = format!("user \"{user}\" is not allowed to use the console");
        let refusal = Refusal::new(sqlstate::INVALID_AUTHORIZATION_SPECIFICATION, text)
            .hint("Name it in console.admin_users or console.stats_users.");
        return Err(Ended::Refused(refusal));
    }
    let shown = snapshot.shown(database);
    if worker.shared.halts().is_disabled(shown) {
        let text = format!("database \"{shown}\" is disabled");
        let refusal = Refusal::new(sqlstate::OBJECT_NOT_IN_PREREQUISITE_STATE, text)
            .hint("An administrator has disabled it; ENABLE on the console ends that.");
        return Err(Ended::Refused(refusal));
    }
    Ok(())
}

async fn begin(
    worker: &Rc<Worker>,
    conn: Conn,
    seat: Seat,
    mut params: StartupParams,
    handle: Handle,
) -> Option<Client> {
    if worker.config().console(&params.database).is_some() {
        handle.set_bucket(&worker.shared.buckets.of_startup(&params.parameters));
        return Some(Client::Console(Box::new(ConsoleSession::new(
            worker, conn, seat, handle,
        ))));
    }
    if adds_host(worker, &params) {
        label(&mut params.parameters, &conn.peer());
    }
    let own = own_parameters(worker, seat.role(), &mut params);
    let write_mode = write_mode(worker, seat.role(), &params);
    let buckets = &worker.shared.buckets;
    let bucket = match params.replication {
        None => buckets.of_startup(&params.parameters),
        // Its server is opened with them.
        Some(_) => Arc::clone(&buckets.plain),
    };
    let mut session = Box::new(Session::new(Rc::clone(worker), conn, seat, bucket, handle));
    if let Some(mode) = write_mode {
        session.begin_with_mode(mode);
    }
    let limit = session.seat.patience();
    let greeted = rt::timeout(limit, greet(&mut session, &params, own)).await;
    match greeted.unwrap_or_else(|| Err(Ended::Refused(session.seat.too_late()))) {
        Ok(profile) => {
            let mut out = Vec::with_capacity(GREETING);
            for (name, value) in profile.iter() {
                backend::parameter_status(&mut out, name, value);
            }
            backend::backend_key_data(&mut out, session.handle.pid(), session.handle.key());
            backend::ready_for_query(&mut out, backend::Status::Idle);
            session.client.wbuf.extend(&out);
            Some(Client::Session(session))
        }
        Err(Ended::Quietly) => None,
        Err(Ended::Refused(refusal)) => {
            refuse(worker, &mut session.client, &refusal).await;
            None
        }
    }
}

/// What a client is told of its server at first, once it has the settings that it began with.
async fn greet(
    session: &mut Session,
    params: &StartupParams,
    own: Vec<(Parameter, String)>,
) -> Result<Profile, Ended> {
    let profile = match params.replication {
        None => session.profile().await?,
        Some(_) => Box::pin(session.open_own(&params.parameters)).await?,
    };
    session.greeting = Some(Arc::clone(&profile));
    if !own.is_empty() {
        Box::pin(session.begin_with(own)).await?;
    }
    Ok(profile)
}

/// How the client's statements are routed; absent where nothing of ours is done with them.
fn routing<T>(
    worker: &Worker,
    entrance: Role,
    params: &StartupParams,
    look: impl FnOnce(&Routing) -> T,
) -> Option<T> {
    let config = worker.config();
    let entry = config.database_at(entrance, &params.database)?;
    let mode = config.pool_settings(entry, &params.user).mode;
    let is_pooled = mode != PoolMode::Session && params.replication.is_none();
    entry.routing.as_ref().filter(|_| is_pooled).map(look)
}

/// What the configuration says of its writes.
fn write_mode(worker: &Worker, entrance: Role, params: &StartupParams) -> Option<WriteMode> {
    routing(worker, entrance, params, |routing| routing.write_mode)?
}

/// Takes settings of ours out of a client's, where they are not for PostgreSQL.
fn own_parameters(
    worker: &Worker,
    entrance: Role,
    params: &mut StartupParams,
) -> Vec<(Parameter, String)> {
    if routing(worker, entrance, params, |_| ()).is_none() {
        return Vec::new();
    }
    let mut own = Vec::new();
    params.parameters.retain(|(name, value)| {
        let parameter = Parameter::named(name);
        own.extend(parameter.map(|parameter| (parameter, value.clone())));
        parameter.is_none()
    });
    own
}

/// Whether the client's application_name is to tell people at the server who it is. That of a standby is its name.
fn adds_host(worker: &Worker, params: &StartupParams) -> bool {
    let config = worker.config();
    let entry = config.database(&params.database);
    params.replication.is_none() && entry.is_some_and(|entry| entry.pool.application_name_add_host)
}

fn label(parameters: &mut Vec<(String, String)>, address: &str) {
    let is_name = |name: &str| name.eq_ignore_ascii_case("application_name");
    let given = parameters.iter().rev().find(|(name, _)| is_name(name));
    let given = given.map_or(UNNAMED_APPLICATION, |(_, value)| value);
    // The server cuts at the end, where the address is.
    let room = MAX_APPLICATION_NAME.saturating_sub(" - ".len() + address.len());
    let mut ends = (0..=room.min(given.len())).rev();
    let end = ends.find(|&at| given.is_char_boundary(at)).unwrap_or(0);
    let label = format!("{} - {address}", &given[..end]);
    parameters.retain(|(name, _)| !is_name(name));
    parameters.push(("application_name".to_owned(), label));
}

fn refuse_in_drain(worker: &Worker) -> Result<(), Ended> {
    if worker.shared.draining.load(Ordering::Relaxed) {
        return Err(Ended::Refused(Refusal::new(
            sqlstate::CANNOT_CONNECT_NOW,
            "the proxy is shutting down",
        )));
    }
    Ok(())
}

/// Before the login, as PostgreSQL does. Who comes to the console may end the maintenance.
fn refuse_in_maintenance(worker: &Worker, params: &StartupParams) -> Result<(), Ended> {
    let is_console = || worker.active().snapshot.console(&params.database).is_some();
    if worker.shared.halts().refuses_newcomers() && !is_console() {
        let text = "the proxy is in maintenance and takes no new clients";
        let refusal = Refusal::new(sqlstate::CANNOT_CONNECT_NOW, text).hint("Try again later.");
        return Err(Ended::Refused(refusal));
    }
    Ok(())
}

/// Answers encryption requests and passes cancel requests on, until a StartupMessage comes.
async fn negotiate(worker: &Worker, conn: &mut Conn) -> Result<StartupParams, Ended> {
    let (mut asked_tls, mut asked_gss) = (false, false);
    let active = worker.active();
    // Nobody listens in between two processes of one machine.
    let acceptor = active.acceptor.as_ref().filter(|_| !conn.is_local());
    if starts_with_handshake(conn).await? {
        encrypt(worker, conn, acceptor).await?;
        // Without a name for the protocol, a web browser could be made to speak to us.
        if conn.alpn() != Some(tls::ALPN) {
            return Err(Ended::Quietly);
        }
        asked_tls = true;
    }
    loop {
        let packet = read_packet(conn).await?;
        match startup::parse(&packet).map_err(refusal)? {
            Startup::Ssl if !asked_tls && acceptor.is_some() => {
                asked_tls = true;
                if !conn.rbuf.is_empty() && !Fault::PlainText.is_seeded() {
                    return Err(Ended::Refused(Refusal::protocol(
                        "received unencrypted data after SSL request",
                    )));
                }
                conn.wbuf.extend(b"S");
                conn.flush().await?;
                encrypt(worker, conn, acceptor).await?;
                continue;
            }
            Startup::Ssl if !asked_tls => asked_tls = true,
            Startup::GssEnc if !asked_gss => asked_gss = true,
            // As PostgreSQL words it: after the first one, the request's number is a protocol version like any other.
            Startup::Ssl => {
                return Err(refusal(StartupError::UnsupportedProtocol {
                    major: 1234,
                    minor: 5679,
                }))
            }
            Startup::GssEnc => {
                return Err(refusal(StartupError::UnsupportedProtocol {
                    major: 1234,
                    minor: 5680,
                }))
            }
            Startup::Cancel { pid, key } => {
                Box::pin(cancel::request(worker, conn, pid, key)).await;
                return Err(Ended::Quietly);
            }
            Startup::Peer => {
                Box::pin(cancel::passed_on(worker, conn)).await;
                return Err(Ended::Quietly);
            }
            Startup::Start(_)
                if acceptor.is_some_and(|tls| tls.is_required) && !conn.is_encrypted() =>
            {
                let refusal = Refusal::new(
                    sqlstate::INVALID_AUTHORIZATION_SPECIFICATION,
                    "this proxy takes encrypted connections only",
                );
                return Err(Ended::Refused(
                    refusal.hint("Connect with sslmode=require or stronger."),
                ));
            }
            Startup::Start(_)
                if acceptor.is_some_and(|tls| tls.needs_certificate)
                    && conn.subject().is_none() =>
            {
                return Err(Ended::Refused(no_certificate()));
            }
            Startup::Start(params) => return Ok(params),
        }
        conn.wbuf.extend(b"N");
        conn.flush().await?;
    }
}

/// The client showed no certificate where one is needed.
pub(crate) fn no_certificate() -> Refusal {
    Refusal::new(
        sqlstate::INVALID_AUTHORIZATION_SPECIFICATION,
        "connection requires a valid client certificate",
    )
}

/// Whether a client begins with TLS at once (`sslnegotiation=direct`): no startup packet is so long that it could.
async fn starts_with_handshake(conn: &mut Conn) -> Result<bool, Ended> {
    if conn.rbuf.is_empty() && conn.fill().await? == 0 {
        return Err(Ended::Quietly);
    }
    Ok(conn.rbuf.bytes().first() == Some(&TLS_HANDSHAKE))
}

/// Shakes hands with a client.
async fn encrypt(
    worker: &Worker,
    conn: &mut Conn,
    acceptor: Option<&Acceptor>,
) -> Result<(), Ended> {
    let stream = acceptor.and_then(|acceptor| acceptor.stream().ok());
    let Err(err) = conn.start_tls(stream.ok_or(Ended::Quietly)?).await else {
        return Ok(());
    };
    let fields = vec![("client", conn.peer()), ("error", err.to_string())];
    let events = &worker.shared.events;
    events.log(Level::Info, "no TLS with a client", fields);
    Err(Ended::Quietly)
}

fn refusal(err: StartupError) -> Ended {
    if !err.is_for_client() {
        return Ended::Quietly;
    }
    let refusal = Refusal::new(err.sqlstate(), err.message());
    Ended::Refused(match err.hint() {
        Some(hint) => refusal.hint(hint),
        None => refusal,
    })
}

/// A packet without a tag: what follows its length word.
pub(crate) async fn read_packet(conn: &mut Conn) -> Result<Vec<u8>, Ended> {
    loop {
        let bytes = conn.rbuf.bytes();
        if let Some(first) = bytes.first_chunk::<4>() {
            let total = startup::packet_len(*first).map_err(refusal)?;
            if bytes.len() >= total {
                let packet = bytes[4..total].to_vec();
                conn.rbuf.consume(total);
                return Ok(packet);
            }
        }
        if conn.fill().await? == 0 {
            return Err(Ended::Quietly);
        }
    }
}

/// The body of a PasswordMessage or SASL response.
pub(crate) async fn read_password(conn: &mut Conn) -> Result<Vec<u8>, Ended> {
    let refused = |refusal| Err(Ended::Refused(refusal));
    loop {
        let bytes = conn.rbuf.bytes();
        match frame::header(bytes) {
            Err(err) => return refused(err.into()),
            Ok(Some(header)) if header.tag == b'X' => return Err(Ended::Quietly),
            Ok(Some(header)) if header.tag != b'p' => {
                let tag = header.tag.escape_ascii();
                return refused(Refusal::protocol(format!(
                    "expected password response, got message type '{tag}'"
                )));
            }
            Ok(Some(header)) if header.total > MAX_PASSWORD_LEN => {
                return refused(Refusal::protocol(format!(
                    "password message of {} bytes",
                    header.total
                )));
            }
            Ok(Some(header)) if bytes.len() >= header.total => {
                let body = bytes[HEADER_LEN..header.total].to_vec();
                conn.rbuf.consume(header.total);
                return Ok(body);
            }
            Ok(_) => {}
        }
        if conn.fill().await? == 0 {
            return Err(Ended::Quietly);
        }
    }
}

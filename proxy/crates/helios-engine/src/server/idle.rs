//! A server that no client has: what it sends meanwhile, and the statements that clean it for the next client.

use std::sync::Arc;
use std::time::Duration;

use helios_wire::backend;
use helios_wire::error_response::ErrorFields;
use helios_wire::frame::{self, HEADER_LEN};
use helios_wire::frontend;

use super::{Dirt, Server};
use crate::error::{server_text, Doubt};
use crate::rt;
use crate::settings::Bucket;

/// How long cleaning may take before the server is given up.
const RESET_LIMIT: Duration = Duration::from_secs(10);
/// Most an idle server may send between two looks at it.
const MAX_CHATTER: usize = 64 * 1024;

/// Undoes session state and keeps plans. DISCARD ALL would drop those too.
const RESET_STATE: &str =
    "SET SESSION AUTHORIZATION DEFAULT;RESET ROLE;RESET ALL;CLOSE ALL;UNLISTEN *;\
    SELECT pg_catalog.pg_advisory_unlock_all();DISCARD TEMP;DISCARD SEQUENCES;";

/// Takes in what an idle server has sent.
///
/// # Errors
/// It ended, or said that it will.
pub(crate) async fn listen(server: &mut Server) -> Result<(), Doubt> {
    if !server.conn.rbuf.is_empty() {
        chatter(server)?;
    }
    while server.conn.is_readable() {
        // Readiness may be a false alarm, so this must not wait for bytes that do not come.
        let filled = rt::timeout(Duration::ZERO, server.conn.fill()).await;
        match filled {
            None => return Ok(()),
            Some(Ok(0)) => return Err(Doubt("the server ended an idle connection".to_owned())),
            Some(Ok(_)) => chatter(server)?,
            Some(Err(err)) => return Err(Doubt(err.to_string())),
        }
    }
    Ok(())
}

fn chatter(server: &mut Server) -> Result<(), Doubt> {
    loop {
        let bytes = server.conn.rbuf.bytes();
        let Some(header) = frame::header(bytes)? else {
            break;
        };
        if bytes.len() < header.total {
            break;
        }
        let message = bytes[..header.total].to_vec();
        server.conn.rbuf.consume(header.total);
        match message[0] {
            b'S' => note_parameter(server, &message[HEADER_LEN..]),
            b'N' | b'A' => {}
            b'E' => return Err(Doubt(server_text(&message))),
            tag => {
                return Err(Doubt(format!(
                    "unexpected message '{}' on an idle connection",
                    tag.escape_ascii()
                )))
            }
        }
    }
    if server.conn.rbuf.len() > MAX_CHATTER {
        return Err(Doubt(
            "an idle server sent a message without end".to_owned(),
        ));
    }
    if server.conn.rbuf.is_empty() {
        Ok(())
    } else {
        Err(Doubt("an idle server sent half a message".to_owned()))
    }
}

fn note_parameter(server: &mut Server, body: &[u8]) {
    if let Some((name, value)) = backend::read_parameter_status(body) {
        server.set_parameter(name, value);
    }
}

/// Runs one simple query of ours on a server with nothing outstanding.
///
/// # Errors
/// `Ok(Err(message))` is the server's ErrorResponse, after which it is ready again; `Doubt` is a lost server.
pub(crate) async fn run(server: &mut Server, sql: &str) -> Result<Result<(), Vec<u8>>, Doubt> {
    ask(server, sql, |_| {}).await
}

/// Runs a simple query of ours that gives one value; `None` for NULL, and for an error.
///
/// # Errors
/// As `run`.
pub(crate) async fn value(server: &mut Server, sql: &str) -> Result<Option<Vec<u8>>, Doubt> {
    let mut value = None;
    let outcome = ask(server, sql, |row| {
        let columns = backend::read_data_row(row).unwrap_or_default();
        value = columns.first().copied().flatten().map(<[u8]>::to_vec);
    });
    Ok(outcome.await?.ok().and(value))
}

/// Runs a simple query of ours and has each of its rows looked at.
///
/// # Errors
/// As `run`.
pub(crate) async fn ask(
    server: &mut Server,
    sql: &str,
    mut on_row: impl FnMut(&[u8]),
) -> Result<Result<(), Vec<u8>>, Doubt> {
    let mut request = Vec::with_capacity(sql.len() + 8);
    frontend::query(&mut request, sql.as_bytes());
    let limits = Limits {
        time: RESET_LIMIT,
        message: MAX_CHATTER,
    };
    let on_message = |message: &[u8]| {
        if message[0] == b'D' {
            on_row(&message[HEADER_LEN..]);
        }
    };
    repeat(server, &request, limits, on_message).await
}

/// What is expected of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Until it has answered.
    pub(crate) time: Duration,
    /// Bytes of one message.
    pub(crate) message: usize,
}

/// Sends a request, with one ReadyForQuery at its end, and has what comes before that looked at.
///
/// # Errors
/// As `run`.
pub(crate) async fn repeat(
    server: &mut Server,
    request: &[u8],
    limits: Limits,
    mut on_message: impl FnMut(&[u8]),
) -> Result<Result<(), Vec<u8>>, Doubt> {
    server.conn.wbuf.extend(request);
    // As any Query does, it ends the unnamed statement.
    server.state.unnamed = 0;
    let exchange = async {
        server.conn.flush().await?;
        let mut outcome = Ok(());
        loop {
            match next(server, limits.message).await? {
                Reply::Ready => return Ok(outcome),
                Reply::Error(message) => outcome = Err(message),
                Reply::Other(message) => on_message(&message),
            }
        }
    };
    let result: Option<Result<_, std::io::Error>> = rt::timeout(limits.time, exchange).await;
    result
        .ok_or_else(|| Doubt("the server did not answer in time".to_owned()))?
        .map_err(|err| Doubt(err.to_string()))
}

enum Reply {
    Ready,
    Error(Vec<u8>),
    Other(Vec<u8>),
}

async fn next(server: &mut Server, max: usize) -> std::io::Result<Reply> {
    let invalid = |text: String| std::io::Error::new(std::io::ErrorKind::InvalidData, text);
    loop {
        let bytes = server.conn.rbuf.bytes();
        let header = frame::header(bytes).map_err(|err| invalid(err.to_string()))?;
        if let Some(header) = header.filter(|header| bytes.len() >= header.total) {
            let message = bytes[..header.total].to_vec();
            server.conn.rbuf.consume(header.total);
            return match message[0] {
                b'Z' if message.get(HEADER_LEN) == Some(&b'I') => Ok(Reply::Ready),
                b'Z' => Err(invalid(
                    "a transaction is open where none should be".to_owned(),
                )),
                b'E' if ErrorFields::new(&message[HEADER_LEN..]).is_fatal() => {
                    Err(invalid(server_text(&message)))
                }
                b'E' => Ok(Reply::Error(message)),
                tag => {
                    if tag == b'S' {
                        note_parameter(server, &message[HEADER_LEN..]);
                    }
                    Ok(Reply::Other(message))
                }
            };
        }
        if header.is_some_and(|header| header.total > max) {
            return Err(invalid("a reply of unexpected size".to_owned()));
        }
        if server.conn.fill().await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Makes a server as it was after its login, as far as `dirt` says that it is not.
///
/// # Errors
/// It could not be made so, and must be closed.
pub(crate) async fn clean(
    server: &mut Server,
    reset_query: Option<&str>,
    plain: &Arc<Bucket>,
) -> Result<(), Doubt> {
    let dirt = std::mem::take(&mut server.state.dirt);
    let sql = reset_query.map_or_else(|| targeted(dirt), str::to_owned);
    run(server, &sql)
        .await?
        .map_err(|message| Doubt(server_text(&message)))?;
    if dirt.prepared || reset_query.is_some() {
        server.state.statements.clear();
    }
    server.state.bucket = Arc::clone(plain);
    Ok(())
}

fn targeted(dirt: Dirt) -> String {
    let mut sql = RESET_STATE.to_owned();
    if dirt.prepared {
        sql.push_str("DEALLOCATE ALL");
    }
    sql
}

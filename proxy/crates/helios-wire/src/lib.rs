//! The PostgreSQL frontend/backend protocol 3.x: bytes in, bytes out.
//!
//! The engine reads from its sockets and hands the bytes to this crate; what comes back is either
//! the meaning of a message or the bytes of one to send. Nothing here does I/O, waits, or panics:
//! both the client and the server are untrusted, so every size that comes off the wire has a named
//! limit and every refusal is an error value carrying the SQLSTATE PostgreSQL would use.
//!
//! | Module | What it knows |
//! |---|---|
//! | [`frame`] | tag and length of a message |
//! | [`frontend`] | client messages: names in them, and those we send to servers |
//! | [`backend`] | server messages: those we originate, and the few bodies we read |
//! | [`startup`] | the packets before the first tagged message: startup, SSL, GSS, cancel, version negotiation |
//! | [`options`] | splitting the `options` startup parameter into settings |
//! | [`hba`] | who may come from where, by `pg_hba.conf` |
//! | [`ident`] | user maps of `pg_ident.conf` |
//! | [`md5`] | MD5 password exchange |
//! | [`peer`] | passing a cancel request on to the process that has the session |
//! | [`scram`] | SCRAM-SHA-256, both sides |
//! | [`error_response`] | reading and writing ErrorResponse and NoticeResponse |
//! | [`sqlstate`] | names for the SQLSTATEs a pooler meets |

pub mod backend;
pub mod error_response;
pub mod frame;
pub mod frontend;
pub mod hba;
pub mod ident;
pub mod md5;
pub mod options;
pub mod peer;
pub mod scram;
pub mod sqlstate;
pub mod startup;

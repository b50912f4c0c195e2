//! What a client must show: one method for everybody, or what a `pg_hba.conf` says for it. Called by `auth`.

use helios_wire::hba::{self, ClientCertificate, Hba, Method, Origin, Visitor};
use helios_wire::sqlstate;
use helios_wire::startup::{Replication, StartupParams};

use super::startup::Ended;
use crate::config::{AuthMethod, CertificateName, ClientAuth, Snapshot};
use crate::error::Refusal;
use crate::rt::{self, Conn};

/// What one client must show.
#[derive(Debug, Clone)]
pub(super) struct Demand {
    pub(super) method: AuthMethod,
    /// Whether it must show a certificate, whatever the method asks for.
    pub(super) needs_certificate: bool,
    /// Whether that must name the role, whatever the method asks for.
    pub(super) needs_name: bool,
    /// Which name counts, and the user map to look it up in.
    pub(super) name: CertificateName,
    pub(super) map: Option<String>,
}

/// What all clients must show.
#[derive(Debug)]
pub(super) enum Demands {
    Same(Demand),
    ByOrigin(Hba),
}

impl Demands {
    /// # Errors
    /// Every fault of the `pg_hba.conf`, with its line.
    pub(super) fn new(snapshot: &Snapshot) -> Result<Demands, String> {
        let auth = &snapshot.auth;
        let Some(text) = &auth.hba else {
            return Ok(Demands::Same(Demand {
                method: auth.method,
                needs_certificate: auth.method == AuthMethod::Cert,
                needs_name: auth.method == AuthMethod::Cert,
                name: auth.client_name,
                map: auth.map.clone(),
            }));
        };
        let hba = Hba::parse(text).map_err(|errors| {
            let told: Vec<_> = errors.iter().map(ToString::to_string).collect();
            format!("auth.hba_file: {}", told.join("; "))
        })?;
        for record in hba.records() {
            check(record, snapshot)
                .map_err(|why| format!("auth.hba_file: line {}: {why}", record.line))?;
        }
        Ok(Demands::ByOrigin(hba))
    }

    /// What this client must show.
    ///
    /// # Errors
    /// No record fits it, or one that rejects it; in PostgreSQL's words.
    pub(super) fn of(&self, conn: &Conn, params: &StartupParams) -> Result<Demand, Ended> {
        let hba = match self {
            Demands::Same(demand) => return Ok(demand.clone()),
            Demands::ByOrigin(hba) => hba,
        };
        let origin = match conn.ends()? {
            None => Origin::Local,
            Some((address, own_address)) => Origin::Network {
                address: address.ip(),
                own_address: own_address.ip(),
            },
        };
        let visitor = Visitor {
            is_encrypted: conn.is_encrypted(),
            origin,
            database: &params.database,
            user: &params.user,
            is_replication: params.replication == Some(Replication::Physical),
        };
        let found = hba.find(&visitor);
        found.and_then(demand).ok_or_else(|| {
            Ended::Refused(Refusal::new(
                sqlstate::INVALID_AUTHORIZATION_SPECIFICATION,
                refusal(&visitor, found.is_some()),
            ))
        })
    }
}

/// Whether a record can be kept.
fn check(record: &hba::Record, snapshot: &Snapshot) -> Result<(), String> {
    let asks = |tls: &crate::config::ClientTls| tls.client_auth != ClientAuth::None;
    let wants = record.client_certificate != ClientCertificate::Any;
    if wants && !snapshot.tls.as_ref().is_some_and(asks) {
        return Err(
            "it needs certificates of clients; set tls.client_auth to optional or required"
                .to_owned(),
        );
    }
    match &record.map {
        Some(map) if !snapshot.auth.ident.iter().any(|line| line.map == *map) => {
            Err(format!("there is no user map \"{map}\" in auth.ident"))
        }
        _ => Ok(()),
    }
}

/// What a record asks for; `None` where nothing helps.
fn demand(record: &hba::Record) -> Option<Demand> {
    let method = match record.method {
        Method::Reject => return None,
        Method::Trust => AuthMethod::Trust,
        Method::Password => AuthMethod::Password,
        Method::Md5 => AuthMethod::Md5,
        Method::ScramSha256 => AuthMethod::ScramSha256,
        Method::Cert => AuthMethod::Cert,
        Method::Peer => AuthMethod::Peer,
    };
    Some(Demand {
        method,
        needs_certificate: record.client_certificate != ClientCertificate::Any,
        needs_name: record.client_certificate == ClientCertificate::VerifyFull,
        name: match record.client_name {
            hba::CertificateName::Cn => CertificateName::Cn,
            hba::CertificateName::Dn => CertificateName::Dn,
        },
        map: record.map.clone(),
    })
}

fn refusal(visitor: &Visitor<'_>, is_rejected: bool) -> String {
    let user = visitor.user;
    let address = match visitor.origin {
        Origin::Local => rt::LOCAL.to_owned(),
        Origin::Network { address, .. } => address.to_canonical().to_string(),
    };
    let encryption = if visitor.is_encrypted {
        "SSL encryption"
    } else {
        "no encryption"
    };
    let what = match (is_rejected, visitor.is_replication) {
        (true, true) => "pg_hba.conf rejects replication connection for",
        (true, false) => "pg_hba.conf rejects connection for",
        (false, true) => "no pg_hba.conf entry for replication connection from",
        (false, false) => "no pg_hba.conf entry for",
    };
    let database = match visitor.is_replication {
        true => String::new(),
        false => format!(", database \"{}\"", visitor.database),
    };
    format!("{what} host \"{address}\", user \"{user}\"{database}, {encryption}")
}

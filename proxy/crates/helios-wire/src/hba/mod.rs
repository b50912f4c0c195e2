//! `pg_hba.conf` as it is: who may come from where, to which database, and what must be proven.
//!
//! The engine parses the file's text when the configuration is read and asks [`Hba::find`] at each login. What cannot be
//! acted on (GSSAPI, LDAP, membership in roles, names of hosts…) is refused with its line, so that no record is taken for
//! another than it is.

mod record;
mod token;

use std::fmt;
use std::net::IpAddr;

pub use record::{CertificateName, ClientCertificate, Method, Record};

/// One fault of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HbaError {
    /// Line, from 1; 0 is the file as a whole.
    pub line: usize,
    /// What is wrong, as PostgreSQL says it where it would.
    pub message: String,
}

impl fmt::Display for HbaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.message),
            line => write!(f, "line {line}: {}", self.message),
        }
    }
}

impl std::error::Error for HbaError {}

/// Where somebody comes from.
#[derive(Debug, Clone, Copy)]
pub enum Origin {
    /// This machine, over a Unix socket.
    Local,
    /// A network.
    Network {
        /// The other end.
        address: IpAddr,
        /// The address that was connected to.
        own_address: IpAddr,
    },
}

/// Who wants to log in.
#[derive(Debug, Clone, Copy)]
pub struct Visitor<'a> {
    /// Whether over TLS.
    pub is_encrypted: bool,
    /// Where from.
    pub origin: Origin,
    /// Database asked for.
    pub database: &'a str,
    /// Role asked for.
    pub user: &'a str,
    /// Whether for physical replication, which belongs to no database.
    pub is_replication: bool,
}

/// The records of a file, in its order.
#[derive(Debug)]
pub struct Hba(Vec<Record>);

impl Hba {
    /// Reads a file.
    ///
    /// # Errors
    /// Every faulty line.
    pub fn parse(text: &str) -> Result<Hba, Vec<HbaError>> {
        let lines = token::lines(text);
        let mut errors = Vec::new();
        let mut records = Vec::new();
        if lines.is_empty() {
            errors.push(HbaError {
                line: 0,
                message: "contains no entries".to_owned(),
            });
        }
        for (line, fields) in lines {
            match record::read(line, &fields) {
                Ok(record) => records.push(record),
                Err(message) => errors.push(HbaError { line, message }),
            }
        }
        if errors.is_empty() {
            Ok(Hba(records))
        } else {
            Err(errors)
        }
    }

    /// The first record that fits; its method alone decides.
    pub fn find(&self, visitor: &Visitor<'_>) -> Option<&Record> {
        self.0.iter().find(|record| record.fits(visitor))
    }

    /// All records.
    pub fn records(&self) -> &[Record] {
        &self.0
    }
}

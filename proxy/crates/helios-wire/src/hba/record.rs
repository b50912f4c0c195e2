//! One record: what it says, whether it can be acted on, and whom it fits.

use std::net::IpAddr;

use regex_lite::Regex;

use super::token::Token;
use super::{Origin, Visitor};

/// What must be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Nothing.
    Trust,
    /// Nothing helps.
    Reject,
    /// The password itself.
    Password,
    /// Its md5 hash, or SCRAM where that is what is stored.
    Md5,
    /// SCRAM.
    ScramSha256,
    /// A certificate that names the role.
    Cert,
    /// A process of this machine that runs as a user of the role's name.
    Peer,
}

/// What a certificate must be, besides what the method asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificate {
    /// None is needed.
    Any,
    /// One of a trusted authority.
    VerifyCa,
    /// The same, and it names the role.
    VerifyFull,
}

/// Which name of a certificate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateName {
    /// The common name.
    Cn,
    /// The distinguished name.
    Dn,
}

/// One record.
#[derive(Debug)]
pub struct Record {
    /// Its line, from 1.
    pub line: usize,
    connection: Connection,
    databases: Vec<Database>,
    users: Vec<User>,
    address: Address,
    /// What must be proven.
    pub method: Method,
    /// Whether a certificate must be shown as well.
    pub client_certificate: ClientCertificate,
    /// Which of its names counts.
    pub client_name: CertificateName,
    /// The user map to look that up in.
    pub map: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    Local,
    Network,
    Tls,
    Plain,
}

#[derive(Debug)]
enum Database {
    All,
    SameUser,
    Replication,
    Name(String),
    Pattern(Regex),
}

#[derive(Debug)]
enum User {
    All,
    Name(String),
    Pattern(Regex),
}

#[derive(Debug)]
enum Address {
    All,
    SameHost,
    Network { address: IpAddr, mask: IpAddr },
}

/// Methods that PostgreSQL knows and Helios does not speak.
const FOREIGN: [&str; 8] = [
    "gss", "sspi", "ident", "ldap", "radius", "pam", "bsd", "oauth",
];
const INCLUDES: [&str; 3] = ["include", "include_if_exists", "include_dir"];

/// Reads a record.
pub(super) fn read(line: usize, fields: &[Vec<Token>]) -> Result<Record, String> {
    let mut fields = fields.iter();
    let kind = single(fields.next(), "connection type")?;
    let connection = match kind.text.as_str() {
        "local" => Connection::Local,
        "host" | "hostnogssenc" => Connection::Network,
        "hostssl" => Connection::Tls,
        "hostnossl" => Connection::Plain,
        "hostgssenc" => {
            return Err("hostgssenc: Helios does not speak GSSAPI encryption".to_owned())
        }
        word if INCLUDES.contains(&word) => {
            return Err(format!(
                "{word}: other files are not read; put their records here"
            ))
        }
        word => return Err(format!("invalid connection type \"{word}\"")),
    };
    let databases = fields
        .next()
        .ok_or("end-of-line before database specification")?;
    let users = fields
        .next()
        .ok_or("end-of-line before role specification")?;
    let address = match connection {
        Connection::Local => Address::All,
        _ => address(&mut fields)?,
    };
    let method = single(fields.next(), "authentication method")?;
    let mut record = Record {
        line,
        connection,
        databases: databases.iter().map(database).collect::<Result<_, _>>()?,
        users: users.iter().map(user).collect::<Result<_, _>>()?,
        address,
        method: known(&method.text, connection)?.ok_or_else(|| {
            format!(
                "authentication method \"{}\" is not supported by Helios",
                method.text
            )
        })?,
        client_certificate: ClientCertificate::Any,
        client_name: CertificateName::Cn,
        map: None,
    };
    for option in fields.flatten() {
        record.set(&option.text)?;
    }
    if record.method == Method::Cert {
        if connection != Connection::Tls {
            return Err("cert authentication is only supported on hostssl connections".to_owned());
        }
        record.client_certificate = ClientCertificate::VerifyFull;
    }
    if record.method == Method::Peer && connection != Connection::Local {
        return Err("peer authentication is only supported on local sockets".to_owned());
    }
    Ok(record)
}

impl Record {
    /// Takes over an option, `name=value`.
    fn set(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option
            .split_once('=')
            .ok_or_else(|| format!("authentication option not in name=value format: {option}"))?;
        match (name, value) {
            ("map", map) => self.map = Some(map.to_owned()),
            ("clientcert", _) if self.connection != Connection::Tls => {
                return Err("clientcert can only be configured for \"hostssl\" rows".to_owned());
            }
            ("clientcert", "verify-full") => {
                self.client_certificate = ClientCertificate::VerifyFull;
            }
            ("clientcert", "verify-ca") if self.method == Method::Cert => {
                return Err(
                    "clientcert only accepts \"verify-full\" when using \"cert\" authentication"
                        .to_owned(),
                );
            }
            ("clientcert", "verify-ca") => self.client_certificate = ClientCertificate::VerifyCa,
            ("clientname", "CN") => self.client_name = CertificateName::Cn,
            ("clientname", "DN") => self.client_name = CertificateName::Dn,
            ("clientcert" | "clientname", value) => {
                return Err(format!("invalid value for {name}: \"{value}\""));
            }
            _ => {
                return Err(format!(
                    "unrecognized authentication option name: \"{name}\""
                ))
            }
        }
        Ok(())
    }

    pub(super) fn fits(&self, visitor: &Visitor<'_>) -> bool {
        let is_encrypted = visitor.is_encrypted;
        let origin = match (self.connection, visitor.origin) {
            (Connection::Local, origin) => matches!(origin, Origin::Local),
            (_, Origin::Local) => false,
            (Connection::Tls, _) if !is_encrypted => false,
            (Connection::Plain, _) if is_encrypted => false,
            (
                _,
                Origin::Network {
                    address,
                    own_address,
                },
            ) => self.address.fits(address, own_address),
        };
        origin
            && self.databases.iter().any(|database| database.fits(visitor))
            && self.users.iter().any(|user| user.fits(visitor.user))
    }
}

impl Database {
    fn fits(&self, visitor: &Visitor<'_>) -> bool {
        if visitor.is_replication {
            return matches!(self, Database::Replication);
        }
        match self {
            Database::All => true,
            Database::SameUser => visitor.database == visitor.user,
            Database::Replication => false,
            Database::Name(name) => name == visitor.database,
            Database::Pattern(pattern) => pattern.is_match(visitor.database),
        }
    }
}

impl User {
    fn fits(&self, user: &str) -> bool {
        match self {
            User::All => true,
            User::Name(name) => name == user,
            User::Pattern(pattern) => pattern.is_match(user),
        }
    }
}

impl Address {
    fn fits(&self, from: IpAddr, to: IpAddr) -> bool {
        let from = from.to_canonical();
        match self {
            Address::All => true,
            Address::SameHost => from.is_loopback() || from == to.to_canonical(),
            Address::Network { address, mask } => match (from, address, mask) {
                (IpAddr::V4(from), IpAddr::V4(address), IpAddr::V4(mask)) => {
                    (from.to_bits() ^ address.to_bits()) & mask.to_bits() == 0
                }
                (IpAddr::V6(from), IpAddr::V6(address), IpAddr::V6(mask)) => {
                    (from.to_bits() ^ address.to_bits()) & mask.to_bits() == 0
                }
                _ => false,
            },
        }
    }
}

/// The only word of a field.
fn single<'a>(field: Option<&'a Vec<Token>>, what: &str) -> Result<&'a Token, String> {
    match field.map(Vec::as_slice) {
        Some([token]) => Ok(token),
        Some(_) => Err(format!("multiple values specified for {what}")),
        None => Err(format!("end-of-line before {what}")),
    }
}

fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|err| format!("invalid regular expression {text:?}: {err}"))
}

fn refuse_file(token: &Token) -> Result<(), String> {
    match token.keyword().and_then(|word| word.strip_prefix('@')) {
        Some(file) if !file.is_empty() => Err(format!(
            "@{file}: other files are not read; put the names here"
        )),
        _ => Ok(()),
    }
}

fn database(token: &Token) -> Result<Database, String> {
    refuse_file(token)?;
    Ok(match token.keyword() {
        Some("all") => Database::All,
        Some("sameuser") => Database::SameUser,
        Some("replication") => Database::Replication,
        Some(word @ ("samerole" | "samegroup")) => {
            return Err(format!(
                "{word}: Helios does not know who is a member of which role"
            ));
        }
        Some(word) if word.starts_with('/') => Database::Pattern(pattern(&word[1..])?),
        _ => Database::Name(token.text.clone()),
    })
}

fn user(token: &Token) -> Result<User, String> {
    refuse_file(token)?;
    Ok(match token.keyword() {
        Some("all") => User::All,
        Some(word) if word.starts_with('+') => {
            return Err(format!(
                "{word}: Helios does not know who is a member of which role"
            ));
        }
        Some(word) if word.starts_with('/') => User::Pattern(pattern(&word[1..])?),
        _ => User::Name(token.text.clone()),
    })
}

fn address<'a>(fields: &mut impl Iterator<Item = &'a Vec<Token>>) -> Result<Address, String> {
    let token = single(fields.next(), "IP address specification")?;
    match token.keyword() {
        Some("all") => return Ok(Address::All),
        Some("samehost") => return Ok(Address::SameHost),
        Some("samenet") => return Err("samenet: write the network as address/bits".to_owned()),
        _ => {}
    }
    let text = token.text.as_str();
    let (text, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = text
        .parse()
        .map_err(|_| format!("\"{text}\" is no IP address; names of hosts are not looked up"))?;
    let mask = match bits {
        Some(bits) => mask(address, bits)
            .ok_or_else(|| format!("invalid CIDR mask in address \"{}\"", token.text))?,
        None => {
            let mask = &single(fields.next(), "netmask specification")?.text;
            let parsed = mask.parse().ok();
            parsed
                .filter(|mask: &IpAddr| mask.is_ipv4() == address.is_ipv4())
                .ok_or_else(|| format!("invalid IP mask \"{mask}\""))?
        }
    };
    Ok(Address::Network { address, mask })
}

/// The mask of a network whose first `bits` bits count.
fn mask(address: IpAddr, bits: &str) -> Option<IpAddr> {
    if bits.is_empty() || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let bits: u32 = bits.parse().ok()?;
    Some(match address {
        IpAddr::V4(_) if bits <= 32 => {
            IpAddr::V4(u32::MAX.checked_shl(32 - bits).unwrap_or(0).into())
        }
        IpAddr::V6(_) if bits <= 128 => {
            IpAddr::V6(u128::MAX.checked_shl(128 - bits).unwrap_or(0).into())
        }
        _ => return None,
    })
}

/// The method of this name; `None` for one that Helios does not speak.
fn known(name: &str, connection: Connection) -> Result<Option<Method>, String> {
    Ok(Some(match name {
        "trust" => Method::Trust,
        "reject" => Method::Reject,
        "password" => Method::Password,
        "md5" => Method::Md5,
        "scram-sha-256" => Method::ScramSha256,
        "cert" => Method::Cert,
        "peer" => Method::Peer,
        // As PostgreSQL takes it: on a Unix socket nobody has to be asked.
        "ident" if connection == Connection::Local => Method::Peer,
        name if FOREIGN.contains(&name) => return Ok(None),
        name => return Err(format!("invalid authentication method \"{name}\"")),
    }))
}

//! The snapshot's part about encryption.

use serde::Deserialize;

/// Encryption towards clients.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    /// Whether it may be left out.
    pub mode: ClientTlsMode,
    /// Certificate chain in PEM.
    pub certificate: String,
    /// Its private key in PEM.
    pub key: String,
    /// Whether clients show certificates.
    pub client_auth: ClientAuth,
    /// Certificates of the authorities that theirs come from, in PEM.
    pub client_ca: Option<String>,
    /// Revocation lists of these authorities, in PEM.
    pub crl: Option<String>,
}

/// Whether clients show certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientAuth {
    /// They are not asked.
    None,
    /// They may.
    Optional,
    /// They must.
    Required,
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClientTls({:?})", self.mode)
    }
}

/// Whether clients may do without encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClientTlsMode {
    /// They may.
    Allow,
    /// They are refused.
    Require,
}

/// Encryption towards the servers of a cluster.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// What is demanded of a server.
    pub mode: ServerTlsMode,
    /// Certificates of the authorities that are trusted, in PEM.
    pub ca: Option<String>,
    /// Whether logins bind the channel.
    pub channel_binding: ChannelBinding,
}

/// Whether a SCRAM login binds the TLS channel, in libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where the server offers it.
    Prefer,
    /// A login without it fails.
    Require,
}

/// What is demanded of a server, in libpq's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerTlsMode {
    /// No encryption.
    Disable,
    /// Encryption if the server has it.
    Prefer,
    /// Encryption, with whoever answers.
    Require,
    /// A certificate of a trusted authority.
    VerifyCa,
    /// The same, for the name of the node's host.
    VerifyFull,
}

//! Encryption towards clients and servers: what the snapshot says, as the state machines of `rustls`.

mod certificate;
mod stream;
mod verify;

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

use crate::config::{
    ChannelBinding, ClientAuth, ClientTls, ClientTlsMode, ServerTls, ServerTlsMode,
};

pub(crate) use certificate::Subject;
pub(crate) use stream::Stream;

/// The protocol's name in a handshake (RFC 7301), which PostgreSQL 17 introduced.
pub(crate) const ALPN: &[u8] = b"postgresql";

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// How clients are met.
#[derive(Debug)]
pub(crate) struct Acceptor {
    config: Arc<ServerConfig>,
    /// What stands for our certificate where a channel is bound.
    end_point: Option<Arc<[u8]>>,
    /// Clients without encryption are refused.
    pub(crate) is_required: bool,
    /// Clients without a certificate are refused.
    pub(crate) needs_certificate: bool,
}

impl Acceptor {
    /// # Errors
    /// One sentence that names the field.
    pub(crate) fn new(tls: &ClientTls) -> Result<Acceptor, String> {
        let chain = certificates("tls.cert_file", &tls.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(tls.key.as_bytes())
            .map_err(|err| format!("tls.key_file: no usable private key: {err}"))?;
        let end_point = chain.first().and_then(certificate::end_point);
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|err| format!("tls: {err}"))?
            .with_client_cert_verifier(client_verifier(tls)?)
            .with_single_cert(chain, key)
            .map_err(|err| {
                format!("tls.cert_file: cannot be used with the key of tls.key_file: {err}")
            })?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // As PostgreSQL, whose clients resume nothing: a certificate is checked at each connection.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Acceptor {
            config: Arc::new(config),
            end_point: end_point.map(Into::into),
            is_required: tls.mode == ClientTlsMode::Require,
            needs_certificate: tls.client_auth == ClientAuth::Required,
        })
    }

    /// The server's side of a new connection.
    pub(crate) fn stream(&self) -> Result<Stream, rustls::Error> {
        let session = ServerConnection::new(Arc::clone(&self.config))?;
        Ok(Stream::new(session, self.end_point.clone()))
    }
}

/// Who checks the certificates of clients. One that is shown must be good; whether one must be shown is asked when the
/// client has said what it wants, in words that it understands.
fn client_verifier(tls: &ClientTls) -> Result<Arc<dyn ClientCertVerifier>, String> {
    if tls.client_auth == ClientAuth::None {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let field = "tls.client_ca_file";
    let roots = store(field, tls.client_ca.as_deref().unwrap_or_default())?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .allow_unauthenticated();
    if let Some(pem) = &tls.crl {
        // As OpenSSL does for PostgreSQL: every authority of a chain must have its list, and a list has its day.
        builder = builder
            .with_crls(revocations("tls.crl_file", pem)?)
            .enforce_revocation_expiration();
    }
    builder.build().map_err(|err| match err {
        VerifierBuilderError::InvalidCrl(_) => format!("tls.crl_file: {err}"),
        _ => format!("{field}: {err}"),
    })
}

/// How the servers of a cluster are met; `None` in its place is without encryption.
#[derive(Debug)]
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    /// Servers without encryption are refused.
    pub(crate) is_required: bool,
    /// Whether a SCRAM login binds the channel.
    pub(crate) channel_binding: ChannelBinding,
}

impl Connector {
    /// # Errors
    /// One sentence that names the field.
    pub(crate) fn new(cluster: &str, tls: &ServerTls) -> Result<Option<Connector>, String> {
        if tls.mode == ServerTlsMode::Disable {
            return Ok(None);
        }
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|err| format!("clusters: {cluster:?}: tls: {err}"))?;
        let roots = roots(cluster, tls)?;
        let mut config = match tls.mode {
            ServerTlsMode::VerifyFull => {
                builder.with_root_certificates(roots).with_no_client_auth()
            }
            ServerTlsMode::VerifyCa => builder
                .dangerous()
                .with_custom_certificate_verifier(verify::any_name(roots, provider)?)
                .with_no_client_auth(),
            ServerTlsMode::Disable | ServerTlsMode::Prefer | ServerTlsMode::Require => builder
                .dangerous()
                .with_custom_certificate_verifier(verify::any_certificate(provider))
                .with_no_client_auth(),
        };
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Some(Connector {
            config: Arc::new(config),
            is_required: tls.mode != ServerTlsMode::Prefer,
            channel_binding: tls.channel_binding,
        }))
    }

    /// For a server that is no PostgreSQL, whose certificate must be for its name, from one of these authorities.
    ///
    /// # Errors
    /// One sentence that names the field.
    pub(crate) fn verifying(field: &str, authorities: &str) -> Result<Connector, String> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|err| format!("{field}: {err}"))?
            .with_root_certificates(store(field, authorities)?)
            .with_no_client_auth();
        Ok(Connector {
            config: Arc::new(config),
            is_required: true,
            channel_binding: ChannelBinding::Disable,
        })
    }

    /// The client's side of a new connection to `host`.
    ///
    /// # Errors
    /// `host` is neither a DNS name nor an address.
    pub(crate) fn stream(&self, host: &str) -> Result<Stream, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|err| format!("{host:?} cannot be verified: {err}"))?;
        ClientConnection::new(Arc::clone(&self.config), name)
            .map(|session| Stream::new(session, None))
            .map_err(|err| err.to_string())
    }
}

fn certificates(field: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(format!("{field}: holds no certificate")),
        Err(err) => Err(format!("{field}: {err}")),
    }
}

fn revocations(
    field: &str,
    pem: &str,
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let found: Result<Vec<_>, _> =
        CertificateRevocationListDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(lists) if !lists.is_empty() => Ok(lists),
        Ok(_) => Err(format!("{field}: holds no certificate revocation list")),
        Err(err) => Err(format!("{field}: {err}")),
    }
}

fn roots(cluster: &str, tls: &ServerTls) -> Result<RootCertStore, String> {
    match &tls.ca {
        Some(pem) => store(&format!("clusters: {cluster:?}: tls.ca_file"), pem),
        None => Ok(RootCertStore::empty()),
    }
}

fn store(field: &str, pem: &str) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(field, pem)? {
        store
            .add(certificate)
            .map_err(|err| format!("{field}: {err}"))?;
    }
    Ok(store)
}

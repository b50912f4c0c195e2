//! What is read from a certificate itself. Called by the two ends of a TLS connection; whether the certificate can be
//! trusted has been decided before.

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::der::oid::db::{rfc4519, rfc5912};
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::Certificate;

/// `tls-server-end-point` (RFC 5929): the hash of a server's certificate by the algorithm of its signature, by SHA-256
/// where that is weaker. `None` where the algorithm's name holds no hash (Ed25519, RSASSA-PSS): such a channel cannot
/// be bound.
pub(super) fn end_point(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = Certificate::from_der(certificate).ok()?;
    match parsed.signature_algorithm.oid {
        rfc5912::MD_5_WITH_RSA_ENCRYPTION
        | rfc5912::SHA_1_WITH_RSA_ENCRYPTION
        | rfc5912::SHA_256_WITH_RSA_ENCRYPTION
        | rfc5912::ECDSA_WITH_SHA_256 => Some(Sha256::digest(certificate).to_vec()),
        rfc5912::SHA_384_WITH_RSA_ENCRYPTION | rfc5912::ECDSA_WITH_SHA_384 => {
            Some(Sha384::digest(certificate).to_vec())
        }
        rfc5912::SHA_512_WITH_RSA_ENCRYPTION | rfc5912::ECDSA_WITH_SHA_512 => {
            Some(Sha512::digest(certificate).to_vec())
        }
        _ => None,
    }
}

/// The names of a certificate's subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Subject {
    /// The first common name, if there is one that is text.
    pub(crate) common: Option<String>,
    /// The distinguished name as RFC 4514 writes it, the most specific part first: `CN=alice,O=Example`.
    pub(crate) distinguished: String,
}

/// Reads them; `None` when the certificate cannot be read.
pub(super) fn subject(certificate: &CertificateDer<'_>) -> Option<Subject> {
    let name = Certificate::from_der(certificate)
        .ok()?
        .tbs_certificate
        .subject;
    let mut attributes = name.0.iter().flat_map(|part| part.0.iter());
    Some(Subject {
        common: attributes
            .find(|attribute| attribute.oid == rfc4519::CN)
            .and_then(text),
        distinguished: name.to_string(),
    })
}

/// An attribute's value; `None` when it is no text, or holds a zero byte, behind which others would not look.
fn text(attribute: &AttributeTypeAndValue) -> Option<String> {
    match attribute.value.tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {}
        _ => return None,
    }
    let text = std::str::from_utf8(attribute.value.value()).ok()?;
    (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned())
}

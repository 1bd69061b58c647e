//! Whether a host is the one it was: asks `known_hosts`, turns its verdict into an error.

use std::{borrow::Cow, sync::Arc};

use russh::{
    Preferred,
    keys::{Algorithm, PublicKey, PublicKeyOrCertificate},
};

use super::{
    OfferedKey, TrustRecorder,
    known_hosts::{HostId, KeyVerdict, KnownHosts, fingerprint},
};
use crate::transport::TransportError;

/// Judges the key that a server offers.
pub(super) struct Judge {
    pub(super) known: Arc<KnownHosts>,
    pub(super) id: HostId,
    pub(super) address: String,
    pub(super) purpose: Purpose,
    pub(super) now_unix_seconds: u64,
}

/// What a connection is made for.
#[derive(Clone)]
pub(super) enum Purpose {
    /// To log in; an unknown key may be accepted by the recorder.
    LogIn(Option<Arc<dyn TrustRecorder>>),
    /// To learn the key, and go away.
    Learn,
}

impl Judge {
    /// Says whether to go on; an error says why not.
    pub(super) fn judge(&self, offered: &PublicKeyOrCertificate) -> Result<bool, TransportError> {
        let Purpose::LogIn(recorder) = &self.purpose else { return Ok(false) };
        let key = offered.public_key();
        let verdict = match offered {
            PublicKeyOrCertificate::PublicKey { .. } => self.known.judge(&self.id, &key),
            PublicKeyOrCertificate::Certificate(certificate) => {
                self.known.judge_certificate(&self.id, certificate, self.now_unix_seconds)
            }
        };
        match verdict {
            KeyVerdict::Known { .. } => Ok(true),
            KeyVerdict::Unknown => {
                let offered = OfferedKey::new(self.address.clone(), self.id.clone(), key, false);
                if recorder.as_ref().is_some_and(|recorder| recorder.accepts(&offered)) {
                    return Ok(true);
                }
                Err(TransportError::HostKeyUnknown {
                    address: self.address.clone(),
                    algorithm: offered.algorithm,
                    fingerprint: offered.fingerprint,
                })
            }
            KeyVerdict::Changed { known, place } => Err(TransportError::HostKeyChanged {
                address: self.address.clone(),
                known,
                seen: fingerprint(&key),
                place,
            }),
            KeyVerdict::Revoked { place } => Err(TransportError::HostKeyRevoked {
                address: self.address.clone(),
                fingerprint: fingerprint(&key),
                place,
            }),
        }
    }

    /// The key types to ask for: those known for the host first, certificates only where `known_hosts`
    /// has an authority that could have signed one.
    pub(super) fn preferred(&self) -> Preferred {
        let known = self.known.known_algorithms(&self.id);
        let is_known = |algorithm: &Algorithm| {
            known.iter().any(|known| match (known, algorithm) {
                (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                (known, algorithm) => known == algorithm,
            })
        };
        // SHA-1 signatures stay out: a server that knows no other hash is not one to trust.
        let all: Vec<Algorithm> =
            Preferred::DEFAULT.key.iter().filter(|a| **a != Algorithm::Rsa { hash: None }).cloned().collect();
        let (mut first, rest): (Vec<_>, Vec<_>) = all.iter().cloned().partition(is_known);
        first.extend(rest);
        let wants_certificate = matches!(self.purpose, Purpose::LogIn(_)) && self.known.has_authority_for(&self.id);
        Preferred {
            key: Cow::Owned(first),
            host_key_certificates: if wants_certificate { Cow::Owned(all) } else { Cow::Borrowed(&[]) },
            cipher: Cow::Borrowed(CIPHERS),
            ..Preferred::DEFAULT
        }
    }
}

/// AES in hardware first: the fastest of the safe ones.
const CIPHERS: &[russh::cipher::Name] = &[
    russh::cipher::AES_128_GCM,
    russh::cipher::AES_256_GCM,
    russh::cipher::CHACHA20_POLY1305,
    russh::cipher::AES_256_CTR,
    russh::cipher::AES_128_CTR,
];

impl OfferedKey {
    pub(super) fn new(address: String, id: HostId, key: PublicKey, is_jump: bool) -> Self {
        Self { address, algorithm: key.algorithm().to_string(), fingerprint: fingerprint(&key), key, id, is_jump }
    }
}

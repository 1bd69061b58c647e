//! Judges host certificates by the `@cert-authority` lines.

use russh::keys::{Algorithm, Certificate, HashAlg, PublicKey, ssh_key::certificate::CertType};

use super::{Entry, HostId, KeyVerdict, KnownHosts, Place, is_same, line::Marker};
use crate::transport::ssh::pattern;

impl KnownHosts {
    /// Says whether certificates should be asked for: some authority may sign them for this host.
    pub fn has_authority_for(&self, name: &HostId) -> bool {
        name.lookups().any(|lookup| self.covering(lookup).any(|(entry, _)| entry.marker == Marker::Authority))
    }

    /// Says what is known of a certificate that a host has shown.
    ///
    /// Without an authority for it, and when it does not hold, the key inside is judged as a plain key,
    /// as OpenSSH does. [`Self::certificate_fault`] says why it does not hold.
    pub fn judge_certificate(&self, name: &HostId, certificate: &Certificate, now_unix_seconds: u64) -> KeyVerdict {
        let key = PublicKey::from(certificate.public_key().clone());
        let signer = PublicKey::from(certificate.signature_key().clone());
        if let Some(place) = self.revocation(name, &key).or_else(|| self.revocation(name, &signer)) {
            return KeyVerdict::Revoked { place };
        }
        match self.authority(name, &signer) {
            Some((_, place)) if check(name, certificate, now_unix_seconds).is_ok() => {
                KeyVerdict::Known { place: place.to_string() }
            }
            _ => self.judge(name, &key),
        }
    }

    /// Returns why a certificate does not hold for a host, for the message to a person.
    pub fn certificate_fault(
        &self,
        name: &HostId,
        certificate: &Certificate,
        now_unix_seconds: u64,
    ) -> Option<CertificateFault> {
        let signer = PublicKey::from(certificate.signature_key().clone());
        if self.authority(name, &signer).is_none() {
            return Some(CertificateFault::Authority);
        }
        check(name, certificate, now_unix_seconds).err()
    }

    fn authority(&self, name: &HostId, signer: &PublicKey) -> Option<&(Entry, Place)> {
        name.lookups().find_map(|lookup| {
            self.covering(lookup).find(|(entry, _)| entry.marker == Marker::Authority && is_same(&entry.key, signer))
        })
    }
}

/// Why a host certificate does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateFault {
    #[error("no `@cert-authority` line for this host has the key that signed the certificate")]
    Authority,
    #[error("the certificate is for a user, not for a host")]
    Kind,
    #[error("the certificate is not valid yet")]
    NotYetValid,
    #[error("the certificate has expired")]
    Expired,
    #[error("the certificate is for other names")]
    Principal,
    #[error("the certificate has a critical option that is not known")]
    CriticalOption,
    #[error("the certificate is signed by an algorithm that is not safe")]
    Algorithm,
    #[error("the signature of the certificate is wrong")]
    Signature,
}

/// Checks everything but whether the signing key is trusted.
fn check(name: &HostId, certificate: &Certificate, now: u64) -> Result<(), CertificateFault> {
    if certificate.cert_type() != CertType::Host {
        return Err(CertificateFault::Kind);
    }
    if now < certificate.valid_after() {
        return Err(CertificateFault::NotYetValid);
    }
    if now >= certificate.valid_before() {
        return Err(CertificateFault::Expired);
    }
    // A certificate without names would be for every host; OpenSSH does not take it either.
    if !certificate.valid_principals().iter().any(|principal| pattern::matches(name.principal(), principal)) {
        return Err(CertificateFault::Principal);
    }
    if !certificate.critical_options().is_empty() {
        return Err(CertificateFault::CriticalOption);
    }
    if matches!(certificate.signature().algorithm(), Algorithm::Dsa | Algorithm::Rsa { hash: None }) {
        return Err(CertificateFault::Algorithm);
    }
    let signer = certificate.signature_key().fingerprint(HashAlg::Sha256);
    certificate.validate_at(now, [&signer]).map_err(|_| CertificateFault::Signature)
}

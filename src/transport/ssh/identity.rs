//! Which keys and certificates to offer a host, and in which order.

use std::path::{Path, PathBuf};

use russh::{
    Signer,
    keys::{
        Algorithm, Certificate, HashAlg, PrivateKey, PublicKey,
        agent::{AgentIdentity, AgentSessionBinding, client::AgentClient},
        signature::Signer as _,
        ssh_encoding::Encode,
        ssh_key::{Signature, private::KeypairData},
    },
};
use tokio::net::UnixStream;

use super::{
    keyring::{self, KeyFile, Keyring, with_suffix},
    route::Hop,
};

/// One thing to offer.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) what: Offer,
    pub(super) by: Holder,
}

#[derive(Debug)]
pub(super) enum Offer {
    Key(PublicKey),
    Certificate(Box<Certificate>),
    /// A key whose public half is seen only with its passphrase.
    Unseen,
}

/// Who signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holder {
    File(PathBuf),
    /// The agent, by the comment of the key; with the certificate in the agent, too, or not.
    Agent {
        comment: String,
        holds_certificate: bool,
    },
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.what {
            Offer::Key(_) | Offer::Unseen => "key",
            Offer::Certificate(_) => "certificate",
        };
        match &self.by {
            Holder::File(path) => write!(f, "{kind} {}", path.display()),
            Holder::Agent { comment, .. } => {
                let comment = crate::model::clean_line(comment.as_bytes(), 60);
                write!(f, "{kind} `{comment}` (agent)")
            }
        }
    }
}

impl Identity {
    pub(super) fn is_rsa(&self) -> bool {
        match &self.what {
            Offer::Key(key) => matches!(key.algorithm(), Algorithm::Rsa { .. }),
            Offer::Certificate(certificate) => matches!(certificate.algorithm(), Algorithm::Rsa { .. }),
            Offer::Unseen => false,
        }
    }
}

/// What is to be offered, and what cannot be and why.
#[derive(Debug, Default)]
pub(super) struct Identities {
    pub(super) offers: Vec<Identity>,
    pub(super) left_out: Vec<String>,
}

/// Connects to the agent of `hop`, if it has one.
pub(super) async fn agent(
    hop: &Hop,
    binding: Option<&AgentSessionBinding>,
    left_out: &mut Vec<String>,
) -> Option<AgentClient<UnixStream>> {
    let socket = hop.agent.as_ref()?;
    let Ok(mut agent) = AgentClient::connect_uds(socket).await else {
        left_out.push(format!("agent ({} does not answer)", socket.display()));
        return None;
    };
    if let Some(binding) = binding {
        // Older agents do not know this, and have no keys that need it.
        let _ = agent.bind_session(binding, false).await;
    }
    Some(agent)
}

/// Collects what to offer `hop`: servers count, so what was named for this host comes first.
///
/// Keys the inventory names; then the agent's, those with a certificate first; then the files of
/// `~/.ssh/config`. A key that the agent holds is not also read from its file.
pub(super) async fn collect(hop: &Hop, keyring: &Keyring, agent: Option<&mut AgentClient<UnixStream>>) -> Identities {
    let mut found = Identities::default();
    let held = match agent {
        Some(agent) => agent.request_identities().await.unwrap_or_else(|_| {
            found.left_out.push("agent (it does not list its keys)".to_owned());
            Vec::new()
        }),
        None => Vec::new(),
    };
    let mut named = Vec::new();
    let mut others = Vec::new();
    let mut certificates = Vec::new();
    for path in &hop.certificates {
        match keyring::certificate(path).await {
            Some(Ok(certificate)) => certificates.push(certificate),
            Some(Err(reason)) => found.left_out.push(format!("certificate {} ({reason})", path.display())),
            None => found.left_out.push(format!("certificate {} (no such file)", path.display())),
        }
    }
    let mut wanted = Vec::new();
    let lists = [(&hop.named_keys, &mut named, true), (&hop.other_keys, &mut others, false)];
    for (paths, offers, is_named) in lists {
        for path in paths {
            let file = keyring.file(path).await;
            match &*file {
                KeyFile::Missing if is_named => found.left_out.push(format!("key {} (no such file)", path.display())),
                KeyFile::Unusable(reason) => found.left_out.push(format!("key {} ({reason})", path.display())),
                KeyFile::Missing | KeyFile::Public(_) | KeyFile::Open(_) | KeyFile::Locked { .. } => {}
            }
            // Also for a file that is not there: its public half may be, with the private one in the agent.
            let public = file.public().cloned().or_else(|| beside(path));
            wanted.extend(public.clone());
            offer_file(path, &file, public, &held, &mut certificates, offers).await;
        }
    }
    let mut by_agent: Vec<Identity> = Vec::new();
    // Certificates of `CertificateFile` whose key only the agent has.
    for certificate in certificates {
        if let Some(comment) = comment_of(&held, |key| key.key_data() == certificate.public_key()) {
            by_agent.push(Identity {
                what: Offer::Certificate(Box::new(certificate)),
                by: Holder::Agent { comment, holds_certificate: false },
            });
        }
    }
    for identity in held {
        match identity {
            AgentIdentity::Certificate { certificate, comment } => {
                let is_wanted = wanted.iter().any(|key| key.key_data() == certificate.public_key());
                if !hop.identities_only || is_wanted {
                    by_agent.push(Identity {
                        what: Offer::Certificate(Box::new(certificate)),
                        by: Holder::Agent { comment, holds_certificate: true },
                    });
                }
            }
            AgentIdentity::PublicKey { key, comment } => {
                if !hop.identities_only || wanted.iter().any(|wanted| wanted.key_data() == key.key_data()) {
                    by_agent.push(Identity {
                        what: Offer::Key(key),
                        by: Holder::Agent { comment, holds_certificate: false },
                    });
                }
            }
        }
    }
    by_agent.sort_by_key(|identity| matches!(identity.what, Offer::Key(_)));
    for identity in named.into_iter().chain(by_agent).chain(others) {
        if !found.offers.iter().any(|earlier| earlier.is_same_offer(&identity)) {
            found.offers.push(identity);
        }
    }
    found
}

impl Identity {
    fn is_same_offer(&self, other: &Self) -> bool {
        match (&self.what, &other.what) {
            (Offer::Key(a), Offer::Key(b)) => a.key_data() == b.key_data(),
            (Offer::Certificate(a), Offer::Certificate(b)) => a == b,
            (Offer::Unseen, Offer::Unseen) => self.by == other.by,
            _ => false,
        }
    }
}

/// Adds what one key file has to offer, its certificate first.
async fn offer_file(
    path: &Path,
    file: &KeyFile,
    public: Option<PublicKey>,
    held: &[AgentIdentity],
    certificates: &mut Vec<Certificate>,
    offers: &mut Vec<Identity>,
) {
    let is_private = matches!(file, KeyFile::Open(_) | KeyFile::Locked { .. });
    let Some(public) = public else {
        if is_private {
            offers.push(Identity { what: Offer::Unseen, by: Holder::File(path.to_owned()) });
        }
        return;
    };
    let in_agent = comment_of(held, |key| key.key_data() == public.key_data());
    let by = match in_agent {
        Some(comment) => Holder::Agent { comment, holds_certificate: false },
        None if is_private => Holder::File(path.to_owned()),
        None => return,
    };
    let own = keyring::certificate(&with_suffix(path, "-cert.pub")).await.and_then(Result::ok);
    let (fitting, rest): (Vec<_>, Vec<_>) =
        certificates.drain(..).chain(own).partition(|certificate| certificate.public_key() == public.key_data());
    *certificates = rest;
    for certificate in fitting {
        offers.push(Identity { what: Offer::Certificate(Box::new(certificate)), by: by.clone() });
    }
    offers.push(Identity { what: Offer::Key(public), by });
}

fn comment_of(held: &[AgentIdentity], fits: impl Fn(&PublicKey) -> bool) -> Option<String> {
    held.iter().find_map(|identity| match identity {
        AgentIdentity::PublicKey { key, comment } if fits(key) => Some(comment.clone()),
        _ => None,
    })
}

fn beside(path: &Path) -> Option<PublicKey> {
    russh::keys::load_public_key(with_suffix(path, ".pub")).ok()
}

/// Signs with a key file, which is read and unlocked only when the host has said that it takes the key.
pub(super) struct FileSigner<'a> {
    pub(super) keyring: &'a Keyring,
    pub(super) path: &'a Path,
}

/// Signs with the agent's plain key, also where the certificate is not in the agent.
pub(super) struct PlainAgent<'a>(pub(super) &'a mut AgentClient<UnixStream>);

/// Why nothing was signed.
#[derive(Debug)]
pub(super) enum SignError {
    Lost,
    Unable(String),
}

impl From<russh::SendError> for SignError {
    fn from(_: russh::SendError) -> Self {
        Self::Lost
    }
}

impl Signer for FileSigner<'_> {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        let key = self.keyring.private(self.path).await.map_err(SignError::Unable)?;
        let unable = |error: &dyn std::fmt::Display| SignError::Unable(error.to_string());
        let signature = sign(&key, hash, &to_sign).map_err(|error| unable(&error))?;
        let encoded = Vec::<u8>::try_from(signature).map_err(|error| unable(&error))?;
        encoded.as_slice().encode(&mut to_sign).map_err(|error| unable(&error))?;
        Ok(to_sign)
    }
}

fn sign(key: &PrivateKey, hash: Option<HashAlg>, text: &[u8]) -> Result<Signature, russh::keys::signature::Error> {
    match key.key_data() {
        KeypairData::Rsa(pair) => (pair, hash).try_sign(text),
        other => other.try_sign(text),
    }
}

impl Signer for PlainAgent<'_> {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        identity: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        let plain = match identity {
            AgentIdentity::PublicKey { key, .. } => key.clone(),
            AgentIdentity::Certificate { certificate, .. } => PublicKey::new(certificate.public_key().clone(), ""),
        };
        let signed = self.0.sign_request(&plain.into(), hash, to_sign).await;
        signed.map_err(|_| SignError::Unable("the agent did not sign".to_owned()))
    }
}

/// Signs with what the agent holds under the very name it was offered by.
pub(super) struct WholeAgent<'a>(pub(super) &'a mut AgentClient<UnixStream>);

impl Signer for WholeAgent<'_> {
    type Error = SignError;

    async fn auth_sign(
        &mut self,
        identity: &AgentIdentity,
        hash: Option<HashAlg>,
        to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, SignError> {
        let signed = self.0.sign_request(identity, hash, to_sign).await;
        signed.map_err(|_| SignError::Unable("the agent did not sign".to_owned()))
    }
}

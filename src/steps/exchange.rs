//! One HTTP request and its answer, over whatever stream there is: from the controller, or through a
//! host's SSH connection.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use cookie_store::CookieStore;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    body::Bytes,
    header::{self, HeaderValue},
    http::uri::{Authority, Scheme},
};
use hyper_util::rt::TokioIo;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, RootCertStore,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::CryptoProvider,
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    },
};

use super::{Side, check};
use crate::transport::{ByteStream, Session, TransportError};

/// Most of an answer's body that is kept, in bytes.
pub(super) const BODY: u64 = 1024 * 1024;

/// What to ask.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub url: Uri,
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trust: Trust,
    /// Redirections to follow at most.
    pub redirects: u8,
    /// Read the body up to this size, kept or not.
    pub read: u64,
    /// Cookies to send, and to put those of the answers into.
    pub cookies: Option<Cookies>,
}

/// The cookies of several requests.
pub(super) type Cookies = Arc<Mutex<CookieStore>>;

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trust {
    System,
    /// Those in a PEM file.
    File(PathBuf),
    /// Everybody's.
    All,
}

/// What was answered.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub status: u16,
    pub headers: HeaderMap,
    /// The beginning of the body.
    pub body: Vec<u8>,
    /// Size of the body as far as it was read.
    pub size: u64,
    /// All of the body was read and kept.
    pub is_whole: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ExchangeError {
    #[error(transparent)]
    Connect(#[from] TransportError),
    #[error("cannot use the certificates in `{path}`: {reason}")]
    Certificates { path: String, reason: String },
    #[error("the certificates of the system cannot be used: {0}")]
    System(rustls::Error),
    #[error("no TLS with {host}: {reason}")]
    Tls { host: String, reason: String },
    #[error("no answer of HTTP: {0}")]
    Protocol(String),
    #[error("cannot follow the redirection to `{0}`")]
    Redirection(String),
    #[error("more than {0} redirections")]
    Redirections(u8),
    #[error("`{0}` is not an address of HTTP")]
    Address(String),
}

impl ExchangeError {
    /// Whether the controller is at fault, so that nothing was measured.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Certificates { .. } | Self::System(_) | Self::Address(_))
    }
}

/// What is being waited for: said when time runs out.
#[derive(Debug, Default)]
pub(super) struct Phase(Mutex<&'static str>);

impl Phase {
    fn enter(&self, name: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    pub fn name(&self) -> &'static str {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks, following redirections. The caller limits the time.
pub(super) async fn exchange(
    side: Side,
    session: &Arc<dyn Session>,
    mut ask: Ask,
    phase: &Phase,
) -> Result<Answered, ExchangeError> {
    let limit = ask.redirects;
    let mut left = limit;
    loop {
        send_cookies(&mut ask);
        let answered = once(side, session, &ask, phase).await?;
        take_cookies(&ask, &answered);
        let location = answered.headers.get(header::LOCATION);
        let (301 | 302 | 303 | 307 | 308, Some(location)) = (answered.status, location) else { return Ok(answered) };
        if limit == 0 {
            return Ok(answered);
        }
        left = left.checked_sub(1).ok_or(ExchangeError::Redirections(limit))?;
        let location = location.to_str().unwrap_or_default().to_owned();
        let next = resolve(&ask.url, &location).ok_or(ExchangeError::Redirection(location))?;
        if origin(&next) != origin(&ask.url) {
            // Another server has no business with what was meant for this one.
            for name in [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION] {
                ask.headers.remove(name);
            }
        }
        let changes_method = answered.status == 303 || answered.status < 303 && ask.method == Method::POST;
        if changes_method && ask.method != Method::HEAD {
            ask.method = Method::GET;
            ask.body = Bytes::new();
            ask.headers.remove(header::CONTENT_TYPE);
        }
        ask.url = next;
    }
}

fn send_cookies(ask: &mut Ask) {
    let Some((cookies, url)) = cookies_of(ask) else { return };
    let pairs = cookies.lock().unwrap_or_else(PoisonError::into_inner);
    let pairs: Vec<_> = pairs.get_request_values(&url).map(|(name, value)| format!("{name}={value}")).collect();
    if let (false, Ok(mut value)) = (pairs.is_empty(), HeaderValue::from_str(&pairs.join("; "))) {
        value.set_sensitive(true);
        ask.headers.insert(header::COOKIE, value);
    }
}

/// A cookie that cannot be understood is none.
fn take_cookies(ask: &Ask, answered: &Answered) {
    let Some((cookies, url)) = cookies_of(ask) else { return };
    let mut store = cookies.lock().unwrap_or_else(PoisonError::into_inner);
    for cookie in answered.headers.get_all(header::SET_COOKIE) {
        if let Ok(text) = cookie.to_str() {
            let _ = store.parse(text, &url);
        }
    }
}

fn cookies_of(ask: &Ask) -> Option<(Cookies, url::Url)> {
    Some((Arc::clone(ask.cookies.as_ref()?), url::Url::parse(&ask.url.to_string()).ok()?))
}

async fn once(side: Side, session: &Arc<dyn Session>, ask: &Ask, phase: &Phase) -> Result<Answered, ExchangeError> {
    let address = || ExchangeError::Address(ask.url.to_string());
    let host = ask.url.host().ok_or_else(address)?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_secure = ask.url.scheme() == Some(&Scheme::HTTPS);
    let port = ask.url.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
    phase.enter("connecting");
    let stream = check::open(side, session, host, port).await?;
    if !is_secure {
        return converse(stream, ask, phase).await;
    }
    phase.enter("making TLS");
    let wrong = |reason: String| ExchangeError::Tls { host: host.to_owned(), reason };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| wrong(error.to_string()))?;
    let connector = TlsConnector::from(configuration(&ask.trust)?);
    let stream = connector.connect(name, stream).await.map_err(|error| wrong(error.to_string()))?;
    converse(Box::new(stream), ask, phase).await
}

async fn converse(stream: Box<dyn ByteStream>, ask: &Ask, phase: &Phase) -> Result<Answered, ExchangeError> {
    let wrong = |error: hyper::Error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        ExchangeError::Protocol(format!("{error}{cause}"))
    };
    phase.enter("waiting for the answer");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(wrong)?;
    // Ends by itself when the sender is dropped; its error is also the sender's.
    let connection = Tied(tokio::spawn(async move {
        let _ = connection.await;
    }));
    let target = ask.url.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::builder().method(ask.method.clone()).uri(target);
    if let Some(headers) = request.headers_mut() {
        headers.insert(header::USER_AGENT, HeaderValue::from_static("longshore"));
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        if let Some(authority) = ask.url.authority() {
            let authority = authority.as_str().rsplit('@').next().unwrap_or_default();
            if let Ok(value) = HeaderValue::from_str(authority) {
                headers.insert(header::HOST, value);
            }
        }
        for (name, value) in &ask.headers {
            headers.insert(name, value.clone());
        }
    }
    let request =
        request.body(Full::new(ask.body.clone())).map_err(|error| ExchangeError::Protocol(error.to_string()))?;
    let response = sender.send_request(request).await.map_err(wrong)?;
    phase.enter("reading the answer");
    let (head, mut incoming) = response.into_parts();
    let mut answered =
        Answered { status: head.status.as_u16(), headers: head.headers, body: Vec::new(), size: 0, is_whole: false };
    while let Some(frame) = incoming.frame().await {
        if let Some(data) = frame.map_err(wrong)?.data_ref() {
            answered.size += data.len() as u64;
            let room = usize::try_from(BODY).unwrap_or(usize::MAX) - answered.body.len();
            answered.body.extend_from_slice(&data[..data.len().min(room)]);
            if answered.size >= ask.read.max(BODY + 1) {
                return Ok(answered);
            }
        }
    }
    answered.is_whole = answered.size == answered.body.len() as u64;
    drop(connection);
    Ok(answered)
}

/// A task that ends with its owner.
struct Tied(tokio::task::JoinHandle<()>);

impl Drop for Tied {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn origin(url: &Uri) -> (Option<&Scheme>, Option<&Authority>) {
    (url.scheme(), url.authority())
}

/// Resolves the address of a redirection.
fn resolve(base: &Uri, location: &str) -> Option<Uri> {
    let location = location.split('#').next().unwrap_or_default();
    let (scheme, authority) = (base.scheme_str()?, base.authority()?);
    let text = if location.contains("://") {
        location.to_owned()
    } else if let Some(rest) = location.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if location.starts_with('/') {
        format!("{scheme}://{authority}{location}")
    } else if location.starts_with('?') {
        format!("{scheme}://{authority}{}{location}", base.path())
    } else {
        let folder = base.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{scheme}://{authority}{folder}/{location}")
    };
    text.parse::<Uri>().ok().filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
}

fn configuration(trust: &Trust) -> Result<Arc<ClientConfig>, ExchangeError> {
    // Loading the certificates of the system takes long enough to do it once.
    static SYSTEM: OnceLock<Result<Arc<ClientConfig>, rustls::Error>> = OnceLock::new();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(ExchangeError::System)
    };
    match trust {
        Trust::System => SYSTEM
            .get_or_init(|| {
                let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
                Ok(Arc::new(
                    builder.with_safe_default_protocol_versions()?.with_platform_verifier()?.with_no_client_auth(),
                ))
            })
            .clone()
            .map_err(ExchangeError::System),
        Trust::File(path) => Ok(Arc::new(builder()?.with_root_certificates(roots(path)?).with_no_client_auth())),
        Trust::All => Ok(Arc::new(
            builder()?.dangerous().with_custom_certificate_verifier(Arc::new(Gullible(provider))).with_no_client_auth(),
        )),
    }
}

fn roots(path: &Path) -> Result<RootCertStore, ExchangeError> {
    let wrong = |reason: String| ExchangeError::Certificates { path: path.display().to_string(), reason };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() { Err(wrong("it holds none".to_owned())) } else { Ok(roots) }
}

/// Believes every certificate; only for a check that says `verify = false`.
#[derive(Debug)]
struct Gullible(Arc<CryptoProvider>);

impl ServerCertVerifier for Gullible {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The reason that goes with a status: `not found`.
pub(super) fn reason(status: u16) -> String {
    StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_are_resolved_against_where_they_come_from() {
        let base: Uri = "http://app:8080/a/b?x=1".parse().expect("valid");
        for (location, expected) in [
            ("/login", "http://app:8080/login"),
            ("login?next=1", "http://app:8080/a/login?next=1"),
            ("?y=2", "http://app:8080/a/b?y=2"),
            ("https://other/z#part", "https://other/z"),
            ("//other/z", "http://other/z"),
        ] {
            assert_eq!(resolve(&base, location).map(|uri| uri.to_string()).as_deref(), Some(expected));
        }
        for bad in ["ftp://x/y", "http://", "\u{0}"] {
            assert_eq!(resolve(&base, bad), None, "{bad:?}");
        }
    }
}

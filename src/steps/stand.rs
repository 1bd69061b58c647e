//! A small stand for tests of what the controller does: a session on this machine, and servers on loopback.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinHandle,
};

use super::{Check, Probed, Progress, Reach};
use crate::{
    model::{Redactor, Secret, SecretId},
    transport::{ByteStream, Session, local::LocalTransport},
};

/// What a step of the controller reaches in a test.
pub(super) struct Stand {
    pub session: Arc<dyn Session>,
    pub redactor: Redactor,
    pub words: BTreeMap<String, String>,
    pub folder: tempfile::TempDir,
    pub told: Arc<Mutex<Vec<Progress>>>,
}

impl Stand {
    pub fn new() -> Self {
        Self {
            session: LocalTransport::new().session(),
            redactor: Redactor::default(),
            words: BTreeMap::new(),
            folder: tempfile::tempdir().expect("a temporary folder"),
            told: Arc::default(),
        }
    }

    pub fn secret(mut self, name: &str, value: &str) -> Self {
        self.redactor = Redactor::new(BTreeMap::from([(SecretId::new(name), Secret::new(value))]));
        self
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn at(&self, name: &str) -> String {
        self.path(name).to_str().expect("UTF-8").to_owned()
    }

    pub async fn with<T>(&self, work: impl AsyncFnOnce(&Reach<'_>) -> T) -> T {
        let told = Arc::clone(&self.told);
        let progress = move |progress| told.lock().expect("not poisoned").push(progress);
        let reach = Reach {
            session: &self.session,
            redactor: &self.redactor,
            run_as: None,
            words: &self.words,
            local: self.path("local"),
            progress: &progress,
        };
        work(&reach).await
    }

    pub async fn probe(&self, check: &Check) -> Probed {
        self.with(async |reach| check.probe(reach, Duration::from_secs(10)).await).await
    }

    /// Probes with a check written as TOML.
    pub async fn check(&self, text: &str) -> Probed {
        let check: Check = toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(super::StepKind::problems(&check), [], "{text}");
        self.probe(&check).await
    }
}

/// A web server on loopback that answers each request by a function, and remembers what it was asked.
pub(super) struct WebServer {
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl WebServer {
    pub async fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::serve(answer, None).await
    }

    /// The same, behind TLS.
    pub async fn start_tls(
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
        acceptor: tokio_rustls::TlsAcceptor,
    ) -> Self {
        Self::serve(answer, Some(acceptor)).await
    }

    async fn serve(
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
        acceptor: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback");
        let port = listener.local_addr().expect("bound").port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mut stream: Box<dyn ByteStream> = match &acceptor {
                    None => Box::new(stream),
                    Some(acceptor) => match acceptor.accept(stream).await {
                        Ok(stream) => Box::new(stream),
                        Err(_) => continue,
                    },
                };
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !is_whole(&request) {
                    match stream.read(&mut buffer).await {
                        Ok(length) if length > 0 => request.extend_from_slice(&buffer[..length]),
                        _ => break,
                    }
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let answer = answer(&request);
                heard.lock().expect("not poisoned").push(request);
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { port, asked, task }
    }

    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head
        .lines()
        .find_map(|line| line.to_lowercase().strip_prefix("content-length:").and_then(|n| n.trim().parse().ok()));
    body.len() >= length.unwrap_or(0)
}

/// An answer of HTTP.
pub(super) fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

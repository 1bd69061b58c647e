//! One host of the lab: what is known of it, and the port it listens on.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use russh::server::Config;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    connection::Connection,
    fault::{Fault, Faults},
    processes::Processes,
    wire::{Link, Wire},
};
use crate::model::HostName;

/// How long to wait before trying to listen again on a port that is not free.
const LISTEN_AGAIN: Duration = Duration::from_millis(100);

/// How long to wait after an accept that failed: mostly too many open files.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

/// One host, shared by all its connections.
pub(super) struct Host {
    pub(super) name: HostName,
    pub(super) address: SocketAddr,
    pub(super) home: PathBuf,
    pub(super) tools: PathBuf,
    pub(super) user: String,
    pub(super) key: russh::keys::PublicKey,
    pub(super) password: Option<String>,
    pub(super) app_port: u16,
    pub(super) processes: Arc<Processes>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    config: Arc<Config>,
    /// The same with a key that nobody knows.
    wrong_config: Arc<Config>,
    faults: watch::Sender<Faults>,
    /// Commands started since the faults were last set.
    commands: AtomicU32,
}

/// What a host is made of.
pub(super) struct Parts {
    pub(super) name: HostName,
    pub(super) address: SocketAddr,
    pub(super) home: PathBuf,
    pub(super) tools: PathBuf,
    pub(super) user: String,
    pub(super) key: russh::keys::PublicKey,
    pub(super) password: Option<String>,
    pub(super) app_port: u16,
    pub(super) processes: Arc<Processes>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) config: Arc<Config>,
    pub(super) wrong_config: Arc<Config>,
    pub(super) faults: Faults,
}

impl Host {
    pub(super) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            name: parts.name,
            address: parts.address,
            home: parts.home,
            tools: parts.tools,
            user: parts.user,
            key: parts.key,
            password: parts.password,
            app_port: parts.app_port,
            processes: parts.processes,
            tasks: parts.tasks,
            stop: parts.stop,
            config: parts.config,
            wrong_config: parts.wrong_config,
            faults: watch::Sender::new(parts.faults),
            commands: AtomicU32::new(0),
        })
    }

    pub(super) fn faults(&self) -> Faults {
        self.faults.borrow().clone()
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.faults.borrow().has(fault)
    }

    /// Changes the faults; live connections learn of it at once.
    pub(super) fn change_faults(&self, how: impl FnOnce(&mut Faults)) {
        self.commands.store(0, Ordering::Release);
        self.faults.send_modify(how);
    }

    /// Counts a command that has started. Says whether it is the one whose connection is to be cut.
    pub(super) fn count_command(&self) -> bool {
        let count = self.commands.fetch_add(1, Ordering::AcqRel) + 1;
        self.faults.borrow().drop_command() == Some(count)
    }

    /// Accepts connections until the lab stops.
    pub(super) async fn listen(self: Arc<Self>, listener: TcpListener) {
        let mut faults = self.faults.subscribe();
        let mut listener = Some(listener);
        loop {
            if faults.borrow_and_update().has(Fault::RefuseConnect) {
                listener = None;
            } else if listener.is_none() {
                listener = TcpListener::bind(self.address).await.ok();
            }
            let accepting = async {
                match &listener {
                    Some(listener) => Some(listener.accept().await),
                    None if self.has(Fault::RefuseConnect) => std::future::pending().await,
                    None => {
                        tokio::time::sleep(LISTEN_AGAIN).await;
                        None
                    }
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                _ = faults.changed() => {}
                accepted = accepting => match accepted {
                    Some(Ok((stream, _))) => {
                        self.tasks.spawn(self.clone().connect(stream));
                    }
                    Some(Err(_)) => tokio::time::sleep(ACCEPT_AGAIN).await,
                    None => {}
                },
            }
        }
    }

    /// Serves one connection to its end, and makes it misbehave as the host is told to.
    async fn connect(self: Arc<Self>, stream: TcpStream) {
        let began = tokio::time::Instant::now();
        let link = Link::new();
        // Where it fails the connection is merely slower.
        let _ = stream.set_nodelay(true);
        let mut faults = self.faults.subscribe();
        let config = if self.has(Fault::WrongKey) { &self.wrong_config } else { &self.config }.clone();
        let wire = Wire::new(stream, link.clone());
        let handler = Connection::new(self.clone(), link.clone());
        let serving = async {
            if let Ok(session) = russh::server::run_stream(config, wire, handler).await {
                // A connection that ends badly is what a lab is for.
                let _ = session.await;
            }
        };
        tokio::pin!(serving);
        loop {
            let now = faults.borrow_and_update().clone();
            link.freeze(now.has(Fault::Hang));
            link.delay(now.slow().unwrap_or_default());
            link.cut_after(now.drop_bytes());
            if now.has(Fault::RefuseConnect) {
                link.cut();
            }
            let too_old = async {
                match now.drop_after() {
                    Some(age) => tokio::time::sleep_until(began + age).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = &mut serving => break,
                () = self.stop.cancelled() => link.cut(),
                () = too_old => link.cut(),
                _ = faults.changed() => continue,
            }
            // Cut: the session sees it at its next read or write, and ends.
            serving.as_mut().await;
            break;
        }
        // Whoever still works for the connection is told that it is gone.
        link.cut();
    }
}

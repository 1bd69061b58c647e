//! The lab seen from outside: over russh's client, and over `ssh` where that is installed.

use std::{fs, sync::Arc, time::Duration};

use russh::{
    ChannelMsg, Disconnect, Sig,
    client::{self, AuthResult, Handle},
    keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate, load_secret_key},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::*;

mod commands;
mod faults;
mod lifetime;
mod shop;

/// Longer than anything here takes; a test that waits so long has failed.
const LONG: Duration = Duration::from_secs(20);

/// Short enough to wait for in vain.
const SHORT: Duration = Duration::from_millis(300);

struct Client {
    known: String,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        let key = PublicKey::from(key.key_data().clone()).to_openssh()?;
        Ok(self.known.contains(key.trim()))
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Ran {
    out: Vec<u8>,
    err: Vec<u8>,
    status: Option<u32>,
    signal: Option<String>,
    /// The order in which status (`s`), end (`e`) and close (`c`) came.
    order: String,
}

impl Ran {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }
}

async fn fleet(hosts: Vec<LabHost>) -> Fleet {
    Fleet::start(LabOptions { hosts, ..LabOptions::default() }).await.unwrap()
}

fn web(number: u32) -> LabHost {
    LabHost::new(HostName::new(format!("web-{number}")).unwrap())
}

fn name(text: &str) -> HostName {
    HostName::new(text).unwrap()
}

fn known_line(fleet: &Fleet, index: usize) -> String {
    let known = fs::read_to_string(fleet.known_hosts()).unwrap();
    let start = format!("[127.0.0.1]:{} ", fleet.hosts()[index].port);
    known.lines().find(|line| line.starts_with(&start)).unwrap().to_owned()
}

async fn connect(fleet: &Fleet, index: usize) -> Result<Handle<Client>, russh::Error> {
    let host = &fleet.hosts()[index];
    let known = known_line(fleet, index);
    let config = client::Config { nodelay: true, ..client::Config::default() };
    client::connect(Arc::new(config), (host.address, host.port), Client { known }).await
}

async fn log_in(fleet: &Fleet, index: usize) -> Result<Handle<Client>, russh::Error> {
    let mut handle = connect(fleet, index).await?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(load_secret_key(fleet.client_key(), None)?), None);
    match handle.authenticate_publickey(fleet.user(), key).await? {
        AuthResult::Success => Ok(handle),
        AuthResult::Failure { .. } => Err(russh::Error::NotAuthenticated),
    }
}

async fn run_with(handle: &Handle<Client>, command: &[u8], input: &[u8]) -> Ran {
    let channel = handle.channel_open_session().await.unwrap();
    channel.exec(true, command).await.unwrap();
    let (mut read, write) = channel.split();
    let mut ran = Ran::default();
    let feed = async {
        // A program need not read its input to the end.
        if write.data_bytes(input.to_vec()).await.is_ok() {
            let _ = write.eof().await;
        }
    };
    let take = async {
        while let Some(message) = read.wait().await {
            match message {
                ChannelMsg::Data { data } => ran.out.extend_from_slice(&data),
                ChannelMsg::ExtendedData { data, ext: 1 } => ran.err.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => {
                    ran.status = Some(exit_status);
                    ran.order.push('s');
                }
                ChannelMsg::ExitSignal { signal_name, .. } => {
                    ran.signal = Some(format!("{signal_name:?}"));
                    ran.order.push('s');
                }
                ChannelMsg::Eof => ran.order.push('e'),
                ChannelMsg::Close => ran.order.push('c'),
                _ => {}
            }
        }
    };
    // What is fed waits for ever where the channel closes with its window used up: taking says when all is over.
    let feeding = async {
        feed.await;
        std::future::pending::<()>().await;
    };
    let both = async {
        tokio::select! { () = take => {}, () = feeding => {} }
    };
    timeout(LONG, both).await.expect("the command ends");
    ran
}

async fn run(handle: &Handle<Client>, command: &str) -> Ran {
    run_with(handle, command.as_bytes(), b"").await
}

/// Waits until something is so: for what happens in other processes.
async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

async fn get(handle: &Handle<Client>, path: &str) -> Result<String, russh::Error> {
    let mut stream = handle.channel_open_direct_tcpip("localhost", 8080, "127.0.0.1", 0).await?.into_stream();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

//! A TCP proxy on loopback that can cut with FIN or RST, swallow everything, or come late.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
};

/// What happens to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Nothing passes, nothing is answered, nothing is closed.
    Swallow,
    /// Everything comes so much later.
    Late(Duration),
    /// The connection ends in good order.
    Fin,
    /// The connection is reset.
    Rst,
}

/// A running proxy. Stops with the runtime it was started on.
pub struct Proxy {
    pub address: SocketAddr,
    live: Arc<Mutex<Vec<watch::Sender<Mode>>>>,
    fresh: Arc<watch::Sender<Mode>>,
}

impl Proxy {
    pub async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let live: Arc<Mutex<Vec<watch::Sender<Mode>>>> = Arc::default();
        let fresh = Arc::new(watch::channel(Mode::Pass).0);
        let (known, first) = (Arc::clone(&live), Arc::clone(&fresh));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (sender, mode) = watch::channel(*first.borrow());
                {
                    let mut known = known.lock().expect("no panic");
                    known.retain(|one| !one.is_closed());
                    known.push(sender);
                }
                tokio::spawn(carry(client, to, mode));
            }
        });
        Self { address, live, fresh }
    }

    /// Changes what happens on the connections there are.
    pub fn now(&self, mode: Mode) {
        for one in self.live.lock().expect("no panic").iter() {
            one.send_replace(mode);
        }
    }

    /// Changes what happens on the connections to come.
    pub fn next(&self, mode: Mode) {
        self.fresh.send_replace(mode);
    }

    /// Lets everything pass again.
    pub fn calm(&self) {
        self.next(Mode::Pass);
        self.now(Mode::Pass);
    }
}

async fn carry(client: TcpStream, to: SocketAddr, mode: watch::Receiver<Mode>) {
    let Ok(server) = TcpStream::connect(to).await else { return };
    // Where it fails the connection is merely slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mut over = mode.clone();
    let (mut client, mut server) = (client, server);
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::select! {
            ended = over.wait_for(|mode| matches!(mode, Mode::Fin | Mode::Rst)) => ended.map(|mode| *mode).ok(),
            () = pump(from_client, to_server, mode.clone()) => None,
            () = pump(from_server, to_client, mode.clone()) => None,
        }
    };
    if ended == Some(Mode::Rst) {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Carries one direction until either end is closed.
async fn pump(mut from: tcp::ReadHalf<'_>, mut to: tcp::WriteHalf<'_>, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(count) = from.read(&mut buffer).await else { return };
        // The silence begins with what is on its way.
        if mode.wait_for(|mode| *mode != Mode::Swallow).await.is_err() {
            return;
        }
        let now = *mode.borrow();
        if let Mode::Late(by) = now {
            tokio::time::sleep(by).await;
        }
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

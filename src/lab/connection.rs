//! One client's connection: who may log in, and what its channels are for.

use std::{collections::HashMap, sync::Arc};

use russh::{
    Channel, ChannelId, ChannelOpenFailure, Sig,
    server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Response, Session, VerifiedPublicKey},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    fault::Fault,
    forward,
    host::Host,
    program::{self, Wanted},
    wire::Link,
};

/// Sessions at once on one connection, as OpenSSH allows them.
const MAX_SESSIONS: usize = 10;

/// Answers what one client asks for.
pub(super) struct Connection {
    host: Arc<Host>,
    link: Arc<Link>,
    channels: HashMap<ChannelId, State>,
    /// Each live session holds a clone: their number is the count.
    sessions: Arc<()>,
}

enum State {
    /// A session that has not said what it is for.
    Opened {
        channel: Channel<Msg>,
        variables: Vec<(String, String)>,
        session: Arc<()>,
    },
    Running {
        signals: mpsc::UnboundedSender<Sig>,
        gone: CancellationToken,
    },
}

impl Connection {
    pub(super) fn new(host: Arc<Host>, link: Arc<Link>) -> Self {
        Self { host, link, channels: HashMap::new(), sessions: Arc::new(()) }
    }

    fn may_log_in(&self, user: &str) -> bool {
        user == self.host.user && !self.host.has(Fault::Refuse)
    }

    fn judge_password(&self, user: &str, password: &[u8]) -> Auth {
        let is_right = self.host.password.as_ref().is_some_and(|known| known.as_bytes() == password);
        if is_right && self.may_log_in(user) { Auth::Accept } else { Auth::reject() }
    }

    fn run(&mut self, id: ChannelId, wanted: &Wanted<'_>, session: &mut Session) -> Result<(), russh::Error> {
        let Some(State::Opened { mut channel, variables, session: place }) = self.channels.remove(&id) else {
            return session.channel_failure(id);
        };
        if self.host.has(Fault::HangExec) {
            // What is sent to a command that is never run is taken all the same: nothing else hangs.
            let gone = self.link.when_cut();
            self.host.tasks.spawn(async move {
                while let Some(Some(_)) = gone.run_until_cancelled(channel.wait()).await {}
                drop(place);
            });
            return Ok(());
        }
        let Ok(program) = program::start(&self.host, wanted, &variables) else {
            session.channel_failure(id)?;
            return session.close(id);
        };
        session.channel_success(id)?;
        let (signals, received) = mpsc::unbounded_channel();
        let gone = self.link.when_cut().child_token();
        self.channels.insert(id, State::Running { signals, gone: gone.clone() });
        let handle = session.handle();
        self.host.tasks.spawn(async move {
            program.attend(channel, handle, received, gone).await;
            drop(place);
        });
        if self.host.count_command() {
            self.link.cut();
        }
        Ok(())
    }
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        let is_known = offer.public_key.key_data() == self.host.key.key_data();
        Ok(if is_known && self.may_log_in(user) { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let is_known = key.public_key.key_data() == self.host.key.key_data();
        Ok(if is_known && self.may_log_in(user) { Auth::Accept } else { Auth::reject() })
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        Ok(self.judge_password(user, password.as_bytes()))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _submethods: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        let Some(mut response) = response else {
            return Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![("Password: ".into(), false)].into(),
            });
        };
        Ok(self.judge_password(user, &response.next().unwrap_or_default()))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let allowed = self.host.faults().max_sessions().unwrap_or(MAX_SESSIONS);
        if Arc::strong_count(&self.sessions) > allowed {
            // The reason that OpenSSH's server gives, too.
            reply.reject(ChannelOpenFailure::ConnectFailed).await;
            return Ok(());
        }
        let id = channel.id();
        self.channels.insert(id, State::Opened { channel, variables: Vec::new(), session: self.sessions.clone() });
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        address: &str,
        port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        let gone = self.link.when_cut().child_token();
        let way = forward::Wanted { address: address.to_owned(), port };
        self.host.tasks.spawn(forward::connect(self.host.clone(), way, channel, reply, gone));
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        if let Some(State::Running { gone, .. }) = self.channels.remove(&id) {
            gone.cancel();
        }
        Ok(())
    }

    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        // What `AcceptEnv LANG LC_*` allows, which is what most servers come with.
        let is_harmless = (name == "LANG" || name.starts_with("LC_")) && !name.contains('=') && !value.contains('\0');
        match self.channels.get_mut(&id) {
            Some(State::Opened { variables, .. }) if is_harmless => {
                variables.push((name.to_owned(), value.to_owned()));
                session.channel_success(id)
            }
            _ => session.channel_failure(id),
        }
    }

    async fn exec_request(&mut self, id: ChannelId, command: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        self.run(id, &Wanted::Command(command), session)
    }

    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.run(id, &Wanted::Shell, session)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _single_connection: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn signal(&mut self, id: ChannelId, signal: Sig, _session: &mut Session) -> Result<(), Self::Error> {
        if let Some(State::Running { signals, .. }) = self.channels.get(&id) {
            // A program that has ended takes no signal any more.
            let _ = signals.send(signal);
        }
        Ok(())
    }
}

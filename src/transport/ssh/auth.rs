//! Logging in: offers what there is, in order, until the host is satisfied; says well what was tried.

use std::{cell::OnceCell, collections::VecDeque, io, sync::Arc, time::Duration};

use russh::{
    MethodKind, MethodSet,
    client::{AuthResult, Handle, KeyboardInteractiveAuthResponse},
    keys::{HashAlg, agent::client::AgentClient},
};
use tokio::net::UnixStream;

use super::{
    Question, Questions,
    client::{Client, Ending, Fate},
    connect::Setback,
    identity::{self, FileSigner, Holder, Identity, Offer, PlainAgent, SignError, WholeAgent},
    keyring::Keyring,
    patience::Patience,
    route::Hop,
};
use crate::{model::Secret, transport::TransportError};

/// Times a person may mistype a password.
const PASSWORDS: usize = 3;

/// Rounds of questions a host may ask before it is taken for a joke.
const ROUNDS: usize = 16;

/// Logs in to `hop`; returns how it was won.
///
/// `limit` is for each answer of the host. A person typing does not count.
pub(super) async fn log_in(
    handle: &mut Handle<Client>,
    fate: &Arc<Fate>,
    hop: &Hop,
    keyring: &Keyring,
    patience: &Patience,
    limit: Duration,
) -> Result<String, Setback> {
    let mut left_out = Vec::new();
    let mut agent = identity::agent(hop, handle.agent_session_binding(), &mut left_out).await;
    let identities = identity::collect(hop, keyring, agent.as_mut()).await;
    left_out.extend(identities.left_out);
    let login = Login {
        handle,
        fate,
        hop,
        keyring,
        patience,
        limit,
        agent,
        rsa_hash: OnceCell::new(),
        takes: None,
        tried: Vec::new(),
        left_out,
    };
    login.run(identities.offers.into()).await
}

struct Login<'a> {
    handle: &'a mut Handle<Client>,
    fate: &'a Arc<Fate>,
    hop: &'a Hop,
    keyring: &'a Keyring,
    patience: &'a Patience,
    limit: Duration,
    agent: Option<AgentClient<UnixStream>>,
    /// Asked of the host once; inside, what it said.
    rsa_hash: OnceCell<Option<HashAlg>>,
    /// What the host said it takes; not known before its first answer.
    takes: Option<MethodSet>,
    tried: Vec<String>,
    left_out: Vec<String>,
}

/// The host's answer to an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    In,
    /// Taken, and it wants more.
    Partly,
    Refused,
}

impl Login<'_> {
    async fn run(mut self, mut identities: VecDeque<Identity>) -> Result<String, Setback> {
        let mut won = Vec::new();
        let mut password_done = false;
        let mut keyboard_done = false;
        if identities.is_empty() && self.hop.password.is_none() {
            // Nothing to offer unasked: learn what the host takes.
            if self.none().await? == Answer::In {
                return Ok("none".to_owned());
            }
        }
        loop {
            let has_password = self.hop.password.is_some();
            let (answer, by) = if self.takes(MethodKind::PublicKey) && !identities.is_empty() {
                let Some(identity) = identities.pop_front() else { continue };
                (self.offer(&identity).await?, format!("publickey ({identity})"))
            } else if self.takes(MethodKind::Password) && has_password && !password_done {
                password_done = true;
                (self.given_password().await?, "password".to_owned())
            } else if self.takes(MethodKind::KeyboardInteractive) && !keyboard_done {
                keyboard_done = true;
                (self.keyboard().await?, "keyboard-interactive".to_owned())
            } else if self.takes(MethodKind::Password) && !password_done {
                password_done = true;
                (self.asked_password().await?, "password".to_owned())
            } else {
                return Err(Setback::last(self.refused("")));
            };
            match answer {
                Answer::In => {
                    won.push(by);
                    return Ok(won.join(", "));
                }
                Answer::Partly => won.push(by),
                Answer::Refused => {}
            }
        }
    }

    /// Whether the method is worth trying, as far as is known.
    fn takes(&self, method: MethodKind) -> bool {
        let methods = self.hop.methods;
        let is_allowed = match method {
            MethodKind::PublicKey => methods.public_key,
            MethodKind::Password => methods.password,
            MethodKind::KeyboardInteractive => methods.keyboard_interactive,
            _ => false,
        };
        is_allowed && self.takes.as_ref().is_none_or(|takes| takes.contains(&method))
    }

    async fn none(&mut self) -> Result<Answer, Setback> {
        let offered = self.handle.authenticate_none(self.hop.user.as_str());
        let result = wait(self.patience, self.hop, self.limit, offered).await?;
        self.answer(result)
    }

    async fn offer(&mut self, identity: &Identity) -> Result<Answer, Setback> {
        let user = self.hop.user.as_str();
        let unseen;
        let mut what = &identity.what;
        if let (Offer::Unseen, Holder::File(path)) = (&identity.what, &identity.by) {
            match self.keyring.private(path).await {
                Ok(key) => {
                    unseen = Offer::Key(key.public_key().clone());
                    what = &unseen;
                }
                Err(reason) => {
                    self.left_out.push(format!("{identity} ({reason})"));
                    return Ok(Answer::Refused);
                }
            }
        }
        let hash =
            if identity.is_rsa() || matches!(identity.what, Offer::Unseen) { self.rsa_hash().await? } else { None };
        let (patience, hop, limit) = (self.patience, self.hop, self.limit);
        let signed = match (&identity.by, what, self.agent.as_mut()) {
            (Holder::File(path), Offer::Key(key), _) => {
                let mut signer = FileSigner { keyring: self.keyring, path };
                let offered = self.handle.authenticate_publickey_with(user, key.clone(), hash, &mut signer);
                wait(patience, hop, limit, offered).await?
            }
            (Holder::File(path), Offer::Certificate(certificate), _) => {
                let mut signer = FileSigner { keyring: self.keyring, path };
                let offered =
                    self.handle.authenticate_certificate_with(user, (**certificate).clone(), hash, &mut signer);
                wait(patience, hop, limit, offered).await?
            }
            (Holder::Agent { .. }, Offer::Key(key), Some(agent)) => {
                let mut signer = PlainAgent(agent);
                let offered = self.handle.authenticate_publickey_with(user, key.clone(), hash, &mut signer);
                wait(patience, hop, limit, offered).await?
            }
            (Holder::Agent { holds_certificate: true, .. }, Offer::Certificate(certificate), Some(agent)) => {
                let mut signer = WholeAgent(agent);
                let offered =
                    self.handle.authenticate_certificate_with(user, (**certificate).clone(), hash, &mut signer);
                wait(patience, hop, limit, offered).await?
            }
            (Holder::Agent { .. }, Offer::Certificate(certificate), Some(agent)) => {
                let mut signer = PlainAgent(agent);
                let offered =
                    self.handle.authenticate_certificate_with(user, (**certificate).clone(), hash, &mut signer);
                wait(patience, hop, limit, offered).await?
            }
            (Holder::Agent { .. }, _, None) | (_, Offer::Unseen, _) => return Ok(Answer::Refused),
        };
        match signed {
            Ok(result) => {
                self.tried.push(identity.to_string());
                self.answer(Ok(result))
            }
            Err(SignError::Lost) => Err(self.lost()),
            Err(SignError::Unable(reason)) => {
                self.left_out.push(format!("{identity} ({reason})"));
                Ok(Answer::Refused)
            }
        }
    }

    /// The hash to sign with: servers of today refuse RSA with SHA-1.
    async fn rsa_hash(&mut self) -> Result<Option<HashAlg>, Setback> {
        if let Some(hash) = self.rsa_hash.get() {
            return Ok(*hash);
        }
        let hash = match self.handle.best_supported_rsa_hash().await {
            Ok(hash) => hash.flatten(),
            Err(_) => return Err(self.lost()),
        };
        let _ = self.rsa_hash.set(hash);
        Ok(hash)
    }

    /// Offers the password the inventory tells where to find.
    async fn given_password(&mut self) -> Result<Answer, Setback> {
        let Some(password) = self.source().await else { return Ok(Answer::Refused) };
        self.password(&password).await
    }

    async fn source(&mut self) -> Option<Secret> {
        let source = self.hop.password.as_ref()?;
        match self.keyring.secret(source).await {
            Ok(password) => Some(password),
            Err(reason) => {
                self.leave_out(format!("password ({reason})"));
                None
            }
        }
    }

    async fn asked_password(&mut self) -> Result<Answer, Setback> {
        let mut refused = None;
        for _ in 0..PASSWORDS {
            let asked = self.keyring.password(&self.hop.user, &self.hop.address(), refused).await;
            let Some((password, number)) = asked else {
                if refused.is_none() {
                    self.leave_out("password (there is nobody to ask)".to_owned());
                }
                return Ok(Answer::Refused);
            };
            match self.password(&password).await? {
                Answer::Refused => refused = Some(number),
                answer => return Ok(answer),
            }
            if !self.takes(MethodKind::Password) {
                break;
            }
        }
        Ok(Answer::Refused)
    }

    async fn password(&mut self, password: &Secret) -> Result<Answer, Setback> {
        let offered = self.handle.authenticate_password(self.hop.user.as_str(), password.reveal());
        let result = wait(self.patience, self.hop, self.limit, offered).await?;
        if self.tried.last().is_none_or(|last| last != "password") {
            self.tried.push("password".to_owned());
        }
        self.answer(result)
    }

    /// Lets the host ask. One hidden question is answered with the inventory's password, if there is one.
    async fn keyboard(&mut self) -> Result<Answer, Setback> {
        let given = self.source().await;
        let asked_for_password = self.tried.iter().any(|tried| tried == "password");
        for attempt in 0..PASSWORDS {
            let started = self.handle.authenticate_keyboard_interactive_start(self.hop.user.as_str(), None);
            let mut reply = wait(self.patience, self.hop, self.limit, started).await?;
            let mut given = given.clone();
            let mut was_asked = false;
            for _ in 0..ROUNDS {
                let (name, instructions, prompts) = match reply {
                    Ok(KeyboardInteractiveAuthResponse::InfoRequest { name, instructions, prompts }) => {
                        (name, instructions, prompts)
                    }
                    Ok(KeyboardInteractiveAuthResponse::Success) => return Ok(Answer::In),
                    Ok(KeyboardInteractiveAuthResponse::Failure { remaining_methods, partial_success }) => {
                        if was_asked || attempt > 0 {
                            self.note_once("keyboard-interactive");
                        }
                        let answer = self.answer(Ok(AuthResult::Failure { remaining_methods, partial_success }))?;
                        // Ask a person again; the inventory's answer would be the same.
                        let again =
                            was_asked && self.hop.password.is_none() && self.takes(MethodKind::KeyboardInteractive);
                        if answer == Answer::Refused && again {
                            break;
                        }
                        return Ok(answer);
                    }
                    Err(_) => return Err(self.lost()),
                };
                let questions = Questions {
                    user: self.hop.user.clone(),
                    address: self.hop.address(),
                    name,
                    instructions,
                    prompts: prompts.into_iter().map(|p| Question { prompt: p.prompt, echo: p.echo }).collect(),
                };
                let answers = match questions.prompts.as_slice() {
                    [] => Vec::new(),
                    [only] if !only.echo && given.is_some() => {
                        was_asked = true;
                        // Once: the same answer to a second question would be a guess.
                        given.take().into_iter().collect()
                    }
                    _ => {
                        let Some(answers) = self.keyring.answers(&questions, attempt > 0).await else {
                            if !asked_for_password && attempt == 0 {
                                self.leave_out("keyboard-interactive (there is nobody to ask)".to_owned());
                            }
                            return Ok(Answer::Refused);
                        };
                        was_asked = true;
                        answers
                    }
                };
                let answers = answers.iter().map(|answer| answer.reveal().to_owned()).collect();
                let responded = self.handle.authenticate_keyboard_interactive_respond(answers);
                reply = wait(self.patience, self.hop, self.limit, responded).await?;
            }
        }
        Ok(Answer::Refused)
    }

    fn note_once(&mut self, what: &str) {
        if !self.tried.iter().any(|tried| tried == what) {
            self.tried.push(what.to_owned());
        }
    }

    fn leave_out(&mut self, what: String) {
        if !self.left_out.contains(&what) {
            self.left_out.push(what);
        }
    }

    fn answer(&mut self, result: Result<AuthResult, russh::Error>) -> Result<Answer, Setback> {
        match result {
            Ok(AuthResult::Success) => Ok(Answer::In),
            Ok(AuthResult::Failure { remaining_methods, partial_success }) => {
                // russh says the same of a connection that went away.
                if remaining_methods.is_empty() && self.handle.is_closed() {
                    return Err(self.lost());
                }
                self.takes = Some(remaining_methods);
                Ok(if partial_success { Answer::Partly } else { Answer::Refused })
            }
            Err(_) => Err(self.lost()),
        }
    }

    /// The connection went away: the server's limit on attempts if it said goodbye, else the network.
    fn lost(&self) -> Setback {
        let address = self.hop.address();
        match self.fate.ending() {
            Some(Ending::Farewell(words)) if !self.tried.is_empty() => {
                Setback::last(self.refused(&format!("; then it closed the connection: {words}")))
            }
            ending => {
                let why = ending.map_or_else(|| "the connection broke".to_owned(), |ending| ending.to_string());
                let why = format!("while logging in: {why}");
                Setback::many(TransportError::Connect {
                    address,
                    source: io::Error::new(io::ErrorKind::ConnectionReset, why),
                })
            }
        }
    }

    fn refused(&self, end: &str) -> TransportError {
        let mut tried = if self.tried.is_empty() { "nothing".to_owned() } else { self.tried.join(", ") };
        if !self.left_out.is_empty() {
            tried.push_str("; left out: ");
            tried.push_str(&self.left_out.join(", "));
        }
        if let Some(takes) = self.takes.as_ref().filter(|takes| !takes.is_empty()) {
            let names: Vec<&str> = takes.iter().map(Into::into).collect();
            tried.push_str("; it takes: ");
            tried.push_str(&names.join(", "));
        }
        tried.push_str(end);
        TransportError::Authentication { address: self.hop.address(), user: self.hop.user.clone(), tried }
    }
}

async fn wait<T>(patience: &Patience, hop: &Hop, limit: Duration, work: impl Future<Output = T>) -> Result<T, Setback> {
    let what = || format!("logging in to {}", hop.address());
    patience.wait(what, limit, work).await.map_err(Setback::few)
}

//! Connections to jump hosts: one for each, shared by every host behind it.
//!
//! A second connection would cost another login and count against the server's limits; two hundred
//! tunnels on one are fine.

use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{
    FutureExt,
    future::{BoxFuture, Shared},
};

use super::{
    connect::{Again, Link, Setback, Switchboard},
    patience::Patience,
    route::Route,
};
use crate::transport::TransportError;

/// Longest time for one opening of a jump host, whoever waits for it.
const OPENING: Duration = Duration::from_mins(2);

type Opening = Shared<BoxFuture<'static, Result<Arc<Link>, Arc<Setback>>>>;

/// The jump connections of a process, by the way there.
#[derive(Default)]
pub(super) struct Jumps {
    links: Mutex<HashMap<String, Opening>>,
}

impl Jumps {
    /// Returns the connection to the server at `index` of `route`; opens it if there is none that lives.
    ///
    /// Whoever comes while it is being opened waits for that one opening, and shares its failure: else
    /// the hosts behind a dead jump host would find that out one after the other.
    pub(super) async fn link(
        &self,
        switchboard: &Arc<Switchboard>,
        route: &Arc<Route>,
        index: usize,
        patience: &Patience,
    ) -> Result<Arc<Link>, Setback> {
        let opening = self.opening(switchboard, route, index);
        let what = || format!("connecting to the jump host {}", route.hops[index].address());
        let opened = patience.wait(what, OPENING, opening).await.map_err(Setback::last)?;
        opened.map_err(|setback| Setback { error: twin(&setback.error), again: setback.again })
    }

    fn opening(&self, switchboard: &Arc<Switchboard>, route: &Arc<Route>, index: usize) -> Opening {
        let key = route.key(index);
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(opening) = links.get(&key) {
            match opening.peek() {
                Some(Ok(link)) if !link.is_closed() => return opening.clone(),
                // Lost since, or failed for those who waited then: the next one tries anew.
                Some(_) => {}
                None => return opening.clone(),
            }
        }
        let (switchboard, route) = (Arc::clone(switchboard), Arc::clone(route));
        // A task of its own: it goes on when the one who asked first gives up.
        let task = tokio::spawn(async move {
            let patience = Patience::new(switchboard.pauses(), OPENING);
            switchboard.log_in(&route, index, &patience).await.map(Arc::new).map_err(Arc::new)
        });
        let opening = async move {
            task.await.unwrap_or_else(|_| {
                Err(Arc::new(Setback {
                    error: TransportError::Configuration("opening the jump connection was broken off".to_owned()),
                    again: Again::No,
                }))
            })
        }
        .boxed()
        .shared();
        links.insert(key, opening.clone());
        opening
    }

    pub(super) async fn close(&self) {
        let links: Vec<_> = {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.drain().filter_map(|(_, opening)| opening.peek().cloned()).collect()
        };
        for link in links.into_iter().flatten() {
            link.close().await;
        }
    }
}

/// Makes the same error again, for another who waited.
fn twin(error: &TransportError) -> TransportError {
    use TransportError as Error;
    let chain =
        |source: &dyn std::error::Error| -> Box<dyn std::error::Error + Send + Sync> { source.to_string().into() };
    let io = |source: &io::Error| io::Error::new(source.kind(), source.to_string());
    match error {
        Error::Connect { address, source } => Error::Connect { address: address.clone(), source: io(source) },
        Error::ConnectTimeout { what, limit } => Error::ConnectTimeout { what: what.clone(), limit: *limit },
        Error::Handshake { address, source } => {
            Error::Handshake { address: address.clone(), source: chain(source.as_ref()) }
        }
        Error::HostKeyUnknown { address, algorithm, fingerprint } => Error::HostKeyUnknown {
            address: address.clone(),
            algorithm: algorithm.clone(),
            fingerprint: fingerprint.clone(),
        },
        Error::HostKeyChanged { address, known, seen, place } => Error::HostKeyChanged {
            address: address.clone(),
            known: known.clone(),
            seen: seen.clone(),
            place: place.clone(),
        },
        Error::HostKeyRevoked { address, fingerprint, place } => {
            Error::HostKeyRevoked { address: address.clone(), fingerprint: fingerprint.clone(), place: place.clone() }
        }
        Error::Authentication { address, user, tried } => {
            Error::Authentication { address: address.clone(), user: user.clone(), tried: tried.clone() }
        }
        Error::Spawn { program, source } => Error::Spawn { program: program.clone(), source: io(source) },
        // The rest concern programs, and come from no opening.
        other => Error::Configuration(other.to_string()),
    }
}

//! The hosts' half of the protocol, answered in memory: leases, segments, attempts that start once and go on alone.
//!
//! What the real half does to files and processes is proven with real shells elsewhere. Here it is only believed:
//! the scripts are read for what they ask, and the answers are those that the shell would print.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;

use longshore::transport::{
    ByteStream, Capture, Ended, Exec, Output, Peer, Program, Session, Status, Stream, Target, Transport, TransportError,
};

use super::world::{Attempt, Step, World};

/// Reaches the hosts of a world.
#[derive(Clone)]
pub(crate) struct Simulated(pub(crate) Arc<World>);

/// Time until an address that nobody answers at is given up.
const NOBODY: Duration = Duration::from_secs(3);

#[async_trait]
impl Transport for Simulated {
    async fn connect(&self, target: &Target, _: Duration) -> Result<Arc<dyn Session>, TransportError> {
        let name = target.host.to_string();
        tokio::time::sleep(Duration::from_millis(100)).await;
        if !self.0.is_reachable(&name) {
            tokio::time::sleep(NOBODY).await;
            return Err(TransportError::Connect { address: name, source: io::ErrorKind::ConnectionRefused.into() });
        }
        let peer = Peer {
            user: "deploy".to_owned(),
            address: name.clone(),
            host_key: None,
            authenticated_by: "nothing".to_owned(),
        };
        Ok(Arc::new(Line { world: Arc::clone(&self.0), name, peer, is_lost: AtomicBool::new(false) }))
    }
}

struct Line {
    world: Arc<World>,
    name: String,
    peer: Peer,
    is_lost: AtomicBool,
}

impl Line {
    fn lose(&self) -> TransportError {
        self.is_lost.store(true, Ordering::SeqCst);
        TransportError::LinkLost { source: None }
    }

    fn check(&self) -> Result<(), TransportError> {
        if self.is_closed() || !self.world.is_reachable(&self.name) { Err(self.lose()) } else { Ok(()) }
    }

    async fn answer(&self, text: &str, said: &mut Said<'_, '_>) -> Result<u32, TransportError> {
        let Some(nonce) = value(text, "N") else {
            let (status, out) = self.world.look(&self.name, &simulated(text));
            said.raw(out.as_bytes());
            return Ok(status);
        };
        said.nonce = nonce;
        let run = value(text, "RUN").unwrap_or_default();
        if let Some(at) = text.find("\nprepare ") {
            let calls = words(&text[at..]);
            let segment = value(text, "SEG").expect("a segment has a name");
            let mut wrappers = calls.iter().filter(|call| call[0] == "put_wrapper");
            let steps_of = |wrapper: Option<&Vec<String>>| steps(&calls, wrapper.expect("a segment has a wrapper"));
            let own = steps_of(wrappers.next());
            if value(text, "WATCH").is_some_and(|watch| !watch.is_empty()) {
                let undo = steps_of(wrappers.next());
                let within = within(&calls).expect("what is watched has a time");
                self.world.launch_watched(&self.name, &segment, &own[0], &undo[0], within);
            } else {
                self.world.launch(&self.name, &segment, &own);
            }
            return self.follow(&value(text, "ATTEMPTS").unwrap_or_default(), said).await.map(|()| 0);
        }
        if text.contains("\nfollow_one() {") {
            return self.follow(&value(text, "ATTEMPTS").unwrap_or_default(), said).await.map(|()| 0);
        }
        let asks = |call: &str| text.ends_with(&format!("\n{call}\nsay end\n"));
        if text.contains("\nprobe\n") {
            said.line("durable yes none ext4 9000000");
        }
        if text.ends_with("acquire\nsay end\n") {
            if self.world.is_taken(&self.name) {
                said.line("held 01other bob@elsewhere 60 60 no");
            } else {
                let token = self.world.take(&self.name, &run);
                said.line(&format!("lease {token} id-of-{}", self.name));
            }
        } else if asks("renew") {
            said.line("renewed");
        } else if asks("release") {
            self.world.with(&self.name, |host| host.lease = None);
            said.line("released");
        } else if text.contains("say \"host $host known\"") {
            let (known, states) = self.world.with(&self.name, |host| {
                let names = value(text, "ATTEMPTS").unwrap_or_default();
                let states: Vec<String> =
                    names.split_whitespace().map(|name| state(name, host.attempts.get(name))).collect();
                (host.known, states)
            });
            said.line(&format!("host id-of-{} {}", self.name, if known { "known" } else { "unknown" }));
            for state in &states {
                said.line(state);
            }
        } else if let Some(asked) = last_call(text, &["void", "cancel", "close"]) {
            let attempt = &asked[1];
            let line = self.world.with(&self.name, |host| match host.attempts.get_mut(attempt) {
                Some(known) => {
                    if asked[0] == "close" {
                        known.result = format!("done closed.{}", asked[2]);
                    }
                    state(attempt, Some(known))
                }
                None => format!("state {attempt} void - - -"),
            });
            said.line(&line);
        } else if let Some(asked) = last_call(text, &["confirm"]) {
            said.line(&self.world.decide(&self.name, &asked[1], asked[2] == "confirmed"));
        } else if let Some(asked) = last_call(text, &["request_stop"]) {
            self.world.with(&self.name, |host| host.stop(&asked[1]));
        } else {
            let ends = last_call(text, &["finish", "note_end"]).is_some();
            let known = ends || asks("shelve") || asks("forget") || text.contains("\nprobe\n");
            assert!(known, "the simulated host does not understand:\n{text}");
        }
        said.line("end");
        Ok(0)
    }

    /// Tells how attempts go on, in the order in which they were asked for.
    async fn follow(&self, attempts: &str, said: &mut Said<'_, '_>) -> Result<(), TransportError> {
        for one in attempts.split_whitespace() {
            let name = one.split(':').next().unwrap_or_default();
            let known = || self.world.with(&self.name, |host| host.attempts.get(name).cloned());
            if let Some(begins) = known().and_then(|attempt| attempt.begins) {
                tokio::time::sleep_until(begins).await;
            }
            self.check()?;
            // Asked again: meanwhile somebody may have stopped the segment.
            let attempt = known();
            let Some((attempt, begins)) = attempt.clone().and_then(|one| one.begins.map(|begins| (one, begins))) else {
                let why = attempt.map_or("none gone".to_owned(), |attempt| attempt.result);
                said.line(&format!("ended {name} {why} - -"));
                continue;
            };
            said.line(&format!("started {name}"));
            if attempt.loses_link && Instant::now() < attempt.ends {
                self.world.with(&self.name, |host| {
                    host.attempts.get_mut(name).expect("it is there").loses_link = false;
                });
                tokio::time::sleep_until(begins + (attempt.ends - begins) / 2).await;
                return Err(self.lose());
            }
            tokio::time::sleep_until(attempt.ends).await;
            self.check()?;
            for (stream, bytes) in [("out", &attempt.out), ("err", &attempt.err)] {
                if !bytes.is_empty() {
                    said.line(&format!("< {name} {stream} 0"));
                    said.raw(bytes.as_bytes());
                    said.raw(format!("\n{} > {}\n", said.nonce, bytes.len()).as_bytes());
                }
            }
            let took = (attempt.ends - begins).as_secs_f64();
            said.line(&format!("ended {name} {} 0.00 {took:.2}", attempt.result));
        }
        said.line("end");
        Ok(())
    }
}

fn state(name: &str, attempt: Option<&Attempt>) -> String {
    let now = Instant::now();
    match attempt {
        Some(attempt) if attempt.begins.is_none_or(|begins| begins > now) => format!("state {name} none - - -"),
        Some(attempt) if attempt.ends > now => format!("state {name} running - - -"),
        Some(attempt) => format!("state {name} {} 0 1", attempt.result),
        None => format!("state {name} none - - -"),
    }
}

#[async_trait]
impl Session for Line {
    async fn run(&self, exec: Exec, output: &mut (dyn Output + '_)) -> Result<Ended, TransportError> {
        let text = match &exec.program {
            Program::Script(text) => text.clone(),
            Program::Command(command) => command.to_shell(),
        };
        self.check()?;
        tokio::time::sleep(Duration::from_millis(10)).await;
        let mut said = Said { nonce: String::new(), capture: Capture::new(exec.keep), output };
        let answered = self.answer(&text, &mut said);
        let status = match exec.timeout {
            Some(limit) => {
                tokio::time::timeout(limit, answered).await.unwrap_or(Err(TransportError::TimedOut { limit }))
            }
            None => answered.await,
        }?;
        let out = said.capture.finish();
        Ok(Ended { status: Status::Exited(status), out, err: Capture::new(0).finish() })
    }

    async fn open_tcp(&self, address: &str, port: u16) -> Result<Box<dyn ByteStream>, TransportError> {
        Err(TransportError::Connect {
            address: format!("{address}:{port}"),
            source: io::ErrorKind::ConnectionRefused.into(),
        })
    }

    fn is_closed(&self) -> bool {
        self.is_lost.load(Ordering::SeqCst)
    }

    fn peer(&self) -> &Peer {
        &self.peer
    }

    async fn close(&self) {}
}

/// What is printed on standard output.
struct Said<'a, 'o> {
    nonce: String,
    capture: Capture,
    output: &'a mut (dyn Output + 'o),
}

impl Said<'_, '_> {
    fn line(&mut self, line: &str) {
        self.raw(format!("{} {line}\n", self.nonce).as_bytes());
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.capture.push(bytes);
        self.output.absorb(Stream::Out, bytes);
    }
}

/// Returns the words of the command `sim ...` in a program.
fn simulated(text: &str) -> Vec<String> {
    let at = text.find("sim ").unwrap_or_else(|| panic!("no command of the simulated product in:\n{text}"));
    let rest = &text[at + 4..];
    let end = rest.find(|c: char| "\n'\");".contains(c)).unwrap_or(rest.len());
    rest[..end].split_whitespace().map(str::to_owned).collect()
}

/// Returns what a variable is set to at the head of a script.
fn value(text: &str, name: &str) -> Option<String> {
    let set = format!("{name}=");
    let line = text.lines().find(|line| line.starts_with(&set))?;
    words(&line[set.len()..]).into_iter().flatten().next().or(Some(String::new()))
}

/// Reads shell commands into words: plain ones and those in single quotes.
fn words(text: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut command: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                word.extend(chars.by_ref().take_while(|c| *c != '\''));
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            ' ' => command.extend(word.take()),
            '\n' => {
                command.extend(word.take());
                if !command.is_empty() {
                    commands.push(std::mem::take(&mut command));
                }
            }
            c => word.get_or_insert_default().push(c),
        }
    }
    command.extend(word);
    if !command.is_empty() {
        commands.push(command);
    }
    commands
}

/// Returns the attempts of a launch in their order: name, command, limit, and what it looks for.
fn steps(calls: &[Vec<String>], wrapper: &[String]) -> Vec<Step> {
    let put = |file: &str| calls.iter().find(|call| call[0] == "put" && call[1] == file).map(|call| call[2].clone());
    let step = |word: &str| {
        let mut parts = word.split(':');
        let name = parts.next().expect("a name").to_owned();
        let limit = parts.next().and_then(|limit| limit.parse().ok()).expect("a limit");
        let act = put(&format!("{name}/act")).expect("each step has a program");
        let look = put(&format!("{name}/look")).map(|look| simulated(&look));
        (name, simulated(&act), Duration::from_secs(limit), look)
    };
    value(&wrapper[3], "STEPS").expect("it names its steps").split_whitespace().map(step).collect()
}

/// Returns how long a step that must be confirmed is waited for.
fn within(calls: &[Vec<String>]) -> Option<Duration> {
    let wrapper = calls.iter().find(|call| call[0] == "put_wrapper")?;
    let within = value(&wrapper[3], "STEPS")?.split(':').nth(5)?.parse().ok()?;
    Some(Duration::from_secs(within))
}

/// Returns the last call of one of these functions.
fn last_call(text: &str, functions: &[&str]) -> Option<Vec<String>> {
    let line = text.lines().rev().find(|line| {
        functions.iter().any(|function| line.strip_prefix(function).is_some_and(|rest| rest.starts_with(' ')))
    })?;
    words(line).into_iter().next()
}

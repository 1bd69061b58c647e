//! A fleet in memory: what each host runs, what goes wrong there and when. It goes on whether anybody watches or not.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use serde::Deserialize;
use tokio::time::Instant;

use longshore::model::Span;

use super::command::is_named;

/// Something that goes wrong on some hosts.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a word of its own in a scenario")]
pub(crate) struct Fault {
    /// Names, with `*` for any text at the end.
    pub(crate) hosts: Vec<String>,
    /// When it begins and ends, counted from the beginning of the scenario. Always, when left out.
    pub(crate) from: Option<Span>,
    pub(crate) until: Option<Span>,
    /// Cannot be connected to; open connections are lost.
    pub(crate) unreachable: bool,
    /// A run of somebody else has the lease.
    pub(crate) taken: bool,
    /// The health check is red.
    pub(crate) red: bool,
    /// The health check is red where this version runs.
    pub(crate) red_on: Option<String>,
    /// What a red health check says.
    pub(crate) says: Option<String>,
    /// The health check is red every other time, this long.
    pub(crate) flaps: Option<Span>,
    /// The product is restarted by itself this often where the version of `red_on` runs.
    pub(crate) restarts: Option<Span>,
    /// What was fetched is removed, once, when the fault begins.
    pub(crate) forgets: bool,
    /// The step at which the rest happens: `fetch`, `backup`, `migrate`, `switch`, and the others of the roles.
    pub(crate) at: Option<String>,
    /// The step ends with status 1 and this error. `HOST`, `NUMBER` and `TIME` are those of the host.
    pub(crate) fails: Option<String>,
    /// The step never ends by itself.
    pub(crate) hangs: bool,
    /// The supervisor of the step is killed: nobody knows the result.
    pub(crate) dies: bool,
    /// The link is lost in the middle of the step, once. The host goes on.
    pub(crate) loses_link: bool,
    /// The step says that all went well and changes nothing.
    pub(crate) lies: bool,
    /// The step takes so many times as long.
    pub(crate) slow: Option<u32>,
    /// The backup is made, and nothing proves it.
    pub(crate) unproven: bool,
    /// The host does not tell its version.
    pub(crate) silent: bool,
    /// Shutting the door keeps the controller out.
    pub(crate) cuts: bool,
}

impl Fault {
    fn is_on(&self, host: &str) -> bool {
        is_named(&self.hosts, host)
    }

    fn is_now(&self, now: Duration) -> bool {
        self.from.is_none_or(|from| from.0 <= now) && self.until.is_none_or(|until| now < until.0)
    }
}

/// A step to start: its attempt, command, limit, and what it looks for first.
pub(crate) type Step = (String, Vec<String>, Duration, Option<Vec<String>>);

/// One step that was started on a host.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    segment: String,
    /// `None`: it does not start in this segment, for the reason in `result`.
    pub(crate) begins: Option<Instant>,
    pub(crate) ends: Instant,
    /// As the protocol names results: `done rc.0`, `lost lost`, `none failed`.
    pub(crate) result: String,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) loses_link: bool,
    /// It waits on the host to take this attempt back, in this segment.
    pub(crate) watches: Option<(String, String)>,
    effect: Vec<String>,
    applied: bool,
}

/// One install.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is told of by itself")]
pub(crate) struct Host {
    pub(crate) version: String,
    /// What a code undo goes back to.
    previous: Option<String>,
    /// The release that migrated the data.
    pub(crate) schema: Option<String>,
    fetched: Option<String>,
    /// What the last backup has: the release that migrated the data, where one did.
    saved: Vec<Option<String>>,
    /// The product is stopped.
    pub(crate) stopped: bool,
    /// Users were sent to another release.
    pub(crate) traffic_is_away: bool,
    /// The controller is kept out.
    shut: bool,
    /// The run whose attempts these are.
    of: String,
    pub(crate) lease: Option<String>,
    pub(crate) token: u64,
    pub(crate) known: bool,
    pub(crate) attempts: BTreeMap<String, Attempt>,
    pub(crate) commands: Vec<String>,
}

/// All hosts, and the faults.
pub(crate) struct World {
    begun: Instant,
    faults: Vec<Fault>,
    hosts: Mutex<BTreeMap<String, Host>>,
}

impl World {
    pub(crate) fn new(versions: BTreeMap<String, String>, faults: Vec<Fault>) -> Self {
        let host = |version: String| Host {
            schema: None,
            version,
            previous: None,
            fetched: None,
            saved: Vec::new(),
            stopped: false,
            traffic_is_away: false,
            shut: false,
            of: String::new(),
            lease: None,
            token: 0,
            known: false,
            attempts: BTreeMap::new(),
            commands: Vec::new(),
        };
        let hosts = versions.into_iter().map(|(name, version)| (name, host(version))).collect();
        Self { begun: Instant::now(), faults, hosts: Mutex::new(hosts) }
    }

    pub(crate) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn faults(&self, host: &str) -> impl Iterator<Item = &Fault> {
        let now = self.now();
        self.faults.iter().filter(move |fault| fault.is_now(now) && fault.is_on(host))
    }

    pub(crate) fn is_reachable(&self, host: &str) -> bool {
        let shut = self.with(host, |host| host.shut);
        let mut faults = self.faults.iter().filter(|fault| fault.is_on(host));
        !(shut && faults.any(|fault| fault.cuts) || self.faults(host).any(|fault| fault.unreachable))
    }

    pub(crate) fn is_taken(&self, host: &str) -> bool {
        self.faults(host).any(|fault| fault.taken)
    }

    /// Lets the host come up to now, and works on it.
    pub(crate) fn with<T>(&self, name: &str, work: impl FnOnce(&mut Host) -> T) -> T {
        let mut hosts = self.lock();
        let host = hosts.get_mut(name).expect("a host of the scenario");
        host.settle(Instant::now());
        work(host)
    }

    /// Gives a host to a run. Each run has a folder of its own there.
    pub(crate) fn take(&self, name: &str, run: &str) -> u64 {
        self.with(name, |host| {
            if host.of != run {
                host.attempts.clear();
                run.clone_into(&mut host.of);
            }
            host.lease = Some(run.to_owned());
            host.known = true;
            host.token += 1;
            host.token
        })
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Host>> {
        self.hosts.lock().expect("not poisoned")
    }

    /// Answers a program that only looks.
    pub(crate) fn look(&self, name: &str, command: &[String]) -> (u32, String) {
        let (version, schema, fetched) =
            self.with(name, |host| (host.version.clone(), host.schema.clone(), host.fetched.clone()));
        match command.first().map(String::as_str) {
            Some("version") if self.faults(name).any(|fault| fault.silent) => (1, String::new()),
            Some("version") => (0, format!("{version}\n")),
            Some("head") => (0, format!("{}\n", schema.as_deref().unwrap_or("of the beginning"))),
            Some("has") => (u32::from(!self.has(name, fetched.as_ref(), command.get(1))), String::new()),
            Some("restarts") => {
                let looping = |fault: &&Fault| fault.red_on.as_ref().is_none_or(|on| *on == version);
                let pace = self.faults(name).filter(looping).find_map(|fault| fault.restarts);
                let count = pace.map_or(0, |pace| self.now().as_secs() / pace.0.as_secs().max(1));
                (0, format!("{count}\n"))
            }
            Some("health") => {
                let red = self.faults(name).find(|fault| {
                    let on_version = fault.red_on.as_ref().is_some_and(|on| *on == version);
                    let flapping = fault
                        .flaps
                        .filter(|_| fault.red_on.is_none() || on_version)
                        .is_some_and(|pace| (self.now().as_secs() / pace.0.as_secs().max(1)) % 2 == 1);
                    fault.red || (on_version && fault.restarts.is_none() && fault.flaps.is_none()) || flapping
                });
                match red {
                    Some(fault) => (1, fault.says.as_deref().unwrap_or("status 503").replace("HOST", name)),
                    None => (0, "ok\n".to_owned()),
                }
            }
            other => panic!("nothing looks at {other:?}"),
        }
    }

    fn has(&self, name: &str, fetched: Option<&String>, wanted: Option<&String>) -> bool {
        let forgot = self.faults.iter().filter(|fault| fault.forgets && fault.is_on(name) && fault.is_now(self.now()));
        fetched.is_some() && fetched == wanted && forgot.count() == 0
    }

    /// Decides on an attempt that is taken back unless it is confirmed. Whoever comes first decides.
    pub(crate) fn decide(&self, name: &str, attempt: &str, stands: bool) -> String {
        self.with(name, |host| {
            let now = Instant::now();
            let watcher = host.attempts.values_mut().find(|one| one.watches.as_ref().is_some_and(|of| of.0 == attempt));
            let Some(undo) = watcher else { return "verdict confirmed -".to_owned() };
            let segment = undo.watches.as_ref().map(|of| of.1.clone()).unwrap_or_default();
            match undo.begins {
                Some(at) if at > now && stands => {
                    undo.begins = None;
                    "none confirmed".clone_into(&mut undo.result);
                    format!("verdict confirmed {segment}")
                }
                Some(at) => {
                    if at > now {
                        undo.ends = now + (undo.ends - at);
                        undo.begins = Some(now);
                    }
                    format!("verdict fired {segment}")
                }
                None => format!("verdict confirmed {segment}"),
            }
        })
    }

    /// Starts an attempt that takes itself back after so long, unless it is confirmed.
    pub(crate) fn launch_watched(&self, name: &str, segment: &str, step: &Step, undo: &Step, within: Duration) {
        let begun = |of: &str| self.with(name, |host| host.attempts.get(of).is_some_and(|one| one.begins.is_some()));
        if begun(&step.0) {
            return;
        }
        self.launch(name, segment, std::slice::from_ref(step));
        let mut planned = self.plan(name, &undo.1, undo.2, Instant::now() + within, false);
        planned.segment = format!("{segment}-w");
        planned.watches = Some((step.0.clone(), planned.segment.clone()));
        self.with(name, |host| host.attempts.insert(undo.0.clone(), planned));
    }

    /// Starts attempts that are not there yet, each after the one before; what was started never starts again.
    pub(crate) fn launch(&self, name: &str, segment: &str, steps: &[Step]) {
        let mut at = Instant::now();
        let mut failed = false;
        for (attempt, command, limit, look) in steps {
            let begun = self.with(name, |host| host.attempts.get(attempt).cloned());
            let planned = match begun {
                Some(begun) if begun.begins.is_some() => begun,
                _ => {
                    let mut planned = self.plan(name, command, *limit, at, failed);
                    // What the step looks for is asked now: of the steps that look none waits for another.
                    if planned.begins.is_some() && look.as_ref().is_some_and(|look| self.look(name, look).0 == 0) {
                        planned.ends = at;
                        "done unchanged".clone_into(&mut planned.result);
                        planned.effect.clear();
                    }
                    segment.clone_into(&mut planned.segment);
                    self.with(name, |host| host.attempts.insert(attempt.clone(), planned.clone()));
                    planned
                }
            };
            failed |= planned.begins.is_none() || !matches!(planned.result.as_str(), "done rc.0" | "done unchanged");
            at = at.max(planned.ends);
        }
    }

    fn plan(&self, name: &str, command: &[String], limit: Duration, at: Instant, failed: bool) -> Attempt {
        let verb = command.first().map(String::as_str).unwrap_or_default();
        // What goes wrong is what goes wrong when the step is reached, which may be later than now.
        let when = at.duration_since(self.begun);
        let faults: Vec<&Fault> = self
            .faults
            .iter()
            .filter(|fault| fault.is_on(name) && fault.is_now(when) && fault.at.as_deref() == Some(verb))
            .collect();
        let usual = Duration::from_secs(match verb {
            "fetch" => 60,
            "backup" => 30,
            "migrate" => 20,
            _ => 5,
        });
        let slow = faults.iter().find_map(|fault| fault.slow).unwrap_or(1);
        let mut planned = Attempt {
            segment: String::new(),
            begins: (!failed).then_some(at),
            ends: at + usual * slow,
            result: "done rc.0".to_owned(),
            out: match verb {
                "backup" if faults.iter().any(|fault| fault.unproven) => "longshore-receipt file /backup\n".to_owned(),
                "backup" => "longshore-receipt file /backup\nlongshore-receipt verified read to its end\n".to_owned(),
                "copy" => "longshore-receipt file /copy\n".to_owned(),
                _ => String::new(),
            },
            err: String::new(),
            loses_link: faults.iter().any(|fault| fault.loses_link),
            watches: None,
            effect: command.to_vec(),
            applied: false,
        };
        if failed {
            planned.ends = at;
            "none failed".clone_into(&mut planned.result);
            return planned;
        }
        if faults.iter().any(|fault| fault.hangs) || usual * slow > limit {
            planned.ends = at + limit;
            "done killed.limit".clone_into(&mut planned.result);
            planned.effect.clear();
        }
        if faults.iter().any(|fault| fault.dies) {
            "lost lost".clone_into(&mut planned.result);
            planned.effect.clear();
        }
        if faults.iter().any(|fault| fault.lies) {
            planned.effect.clear();
        }
        if let Some(says) = faults.iter().find_map(|fault| fault.fails.as_ref()) {
            "done rc.1".clone_into(&mut planned.result);
            let number = name.bytes().map(u64::from).sum::<u64>();
            let time = format!("10:{:02}:{:02}", when.as_secs() / 60 % 60, when.as_secs() % 60);
            let says = says.replace("HOST", name).replace("NUMBER", &number.to_string()).replace("TIME", &time);
            planned.err = format!("{says}\n");
            planned.effect.clear();
        }
        planned
    }
}

impl Host {
    /// Ends a segment after the step it is at.
    pub(crate) fn stop(&mut self, segment: &str) {
        let now = Instant::now();
        let waiting = |attempt: &&mut Attempt| attempt.segment == segment && attempt.begins.is_some_and(|at| at > now);
        for attempt in self.attempts.values_mut().filter(waiting) {
            attempt.begins = None;
            "none stopped".clone_into(&mut attempt.result);
        }
    }

    /// Does what the steps that have ended by now did.
    fn settle(&mut self, now: Instant) {
        let mut due: Vec<&mut Attempt> =
            self.attempts.values_mut().filter(|one| one.begins.is_some() && !one.applied && one.ends <= now).collect();
        due.sort_by_key(|attempt| attempt.ends);
        let mut effects = Vec::new();
        for attempt in due {
            attempt.applied = true;
            effects.push(std::mem::take(&mut attempt.effect));
        }
        for effect in effects {
            self.apply(&effect);
        }
    }

    fn apply(&mut self, command: &[String]) {
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["fetch", version] => self.fetched = Some((*version).to_owned()),
            ["unfetch"] => self.fetched = None,
            ["switch", version] => {
                self.previous.get_or_insert_with(|| self.version.clone());
                (*version).clone_into(&mut self.version);
            }
            ["unswitch"] => {
                if let Some(previous) = self.previous.take() {
                    self.version = previous;
                }
            }
            ["migrate", version] => self.schema = Some((*version).to_owned()),
            ["backup"] => self.saved.push(self.schema.clone()),
            ["restore"] => self.schema = self.saved.last().cloned().expect("a backup to restore"),
            ["unmigrate"] => self.schema = None,
            ["stop"] => self.stopped = true,
            ["start"] => self.stopped = false,
            ["shut"] => self.shut = true,
            ["open"] => self.shut = false,
            ["send-away"] => {
                assert_ne!(self.previous, None, "traffic is sent away before the code is taken back");
                self.traffic_is_away = true;
            }
            ["copy" | "drop"] | [] => {}
            other => panic!("nothing does {other:?}"),
        }
        if let Some(verb) = words.first() {
            self.commands.push((*verb).to_owned());
        }
    }
}

//! What every command that reaches hosts shares: transport, ledger, live progress, the end.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;

use super::{
    Global, OutputFormat, controls, descriptors, error::CliError, prompt::TerminalPrompter, screen::Screen,
    secrets::SecretStore, voice::Voice,
};
use crate::{
    engine::{self, EngineError, Means, Secrets as _},
    event::{Event, Happening, RecordError, Recorder, RunState},
    ledger::{Ledger, RunHandle, RunMeta},
    model::{ExitCode, Failure, FailureClass, HostName, RunId, RunNumber},
    report::{self, Feed, Live},
    steps::Progress,
    transport::{
        Session, Target, Transport, TransportError,
        local::LocalTransport,
        ssh::{SshOptions, SshTransport, config},
    },
};

/// Everything that one process shares between its runs.
pub(crate) struct Workshop {
    pub(crate) ssh: Arc<SshTransport>,
    secrets: Arc<SecretStore>,
    ledger: Ledger,
    global: Global,
    screen: Screen,
    voice: Voice,
}

impl Workshop {
    /// Reads the SSH configuration and opens the project's ledger.
    pub(crate) fn open(root: &Path, global: &Global, screen: &Screen) -> Result<Self, CliError> {
        let ledger = Ledger::open(root, Arc::new(Timestamp::now))?;
        Ok(Self::with(ledger, root, global, screen))
    }

    /// As [`Workshop::open`], on a ledger that is open already.
    pub(crate) fn with(ledger: Ledger, root: &Path, global: &Global, screen: &Screen) -> Self {
        let secrets = Arc::new(SecretStore::new(global.secret_timeout.0));
        let voice = Voice::new(screen.clone());
        let ssh = Arc::new(ssh_transport(root, global, &voice, &secrets));
        Self { ssh, secrets, ledger, global: global.clone(), screen: screen.clone(), voice }
    }

    /// Records a new run, follows it on the screen, and hands its means to `work`.
    pub(crate) async fn run<F>(&self, plan: &str, about: About, work: impl FnOnce(Means) -> F) -> Result<Ran, CliError>
    where
        F: Future<Output = Result<ExitCode, EngineError>>,
    {
        let id = RunId::generate();
        let owner = owner();
        let meta = RunMeta {
            id: id.clone(),
            title: about.title.clone(),
            purpose: about.purpose.to_owned(),
            plan_digest: about.digest,
            hosts: about.hosts,
            controller: controller(),
        };
        let handle = Arc::new(self.ledger.begin_run(plan, meta)?);
        self.follow(&handle, about.show, work, id, owner).await
    }

    /// Takes up a run again that no process works on, and hands its means to `work`.
    pub(crate) async fn reopen<F>(&self, number: RunNumber, work: impl FnOnce(Means) -> F) -> Result<Ran, CliError>
    where
        F: Future<Output = Result<ExitCode, EngineError>>,
    {
        let handle = Arc::new(self.ledger.reopen_run(number, &controller())?);
        let id = handle.id().clone();
        self.follow(&handle, Show::Everything, work, id, owner()).await
    }

    /// Says so where fewer than these can be worked on at once, for want of file descriptors.
    pub(crate) fn mind_descriptors(&self, at_once: usize) {
        let hosts = descriptors::hosts();
        if at_once > hosts {
            self.screen.tell(&format!(
                "note: {hosts} hosts at once instead of {at_once}: this process may open {} files (`ulimit -n`)",
                descriptors::limit()
            ));
        }
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    async fn follow<F>(
        &self,
        handle: &Arc<RunHandle>,
        show: Show,
        work: impl FnOnce(Means) -> F,
        id: RunId,
        owner: String,
    ) -> Result<Ran, CliError>
    where
        F: Future<Output = Result<ExitCode, EngineError>>,
    {
        let (feeder, feed) = report::feed();
        let live = self.live(show);
        // Drawing blocks on a slow terminal; on a thread of its own it holds up no host.
        let drawing = std::thread::spawn(move || report::follow(live, &feed, Timestamp::now));
        self.voice.through(Some(feeder.clone()));
        feeder.tell(Feed::Past(self.ledger.events(handle.number(), None)?));
        let (json, screen) = (self.screen.format == OutputFormat::Json, self.screen.clone());
        let events = feeder.clone();
        handle.listen(move |event: &Event| {
            if json {
                // A reader that went away is no reason to stop.
                let _ = screen.print_event(event);
            }
            events.event(event.clone());
        });
        let progress = feeder.clone();
        let means = Means {
            transport: self.transport(),
            recorder: breaking(handle),
            secrets: Arc::clone(&self.secrets) as Arc<dyn crate::engine::Secrets>,
            control: controls::of_run(&self.voice, handle),
            progress: Arc::new(move |host, what| {
                let what = match what {
                    Progress::Line(text) => report::Progress::Line(text),
                    Progress::Bytes { done, of } => report::Progress::Bytes { done, of },
                    Progress::Waiting(text) => report::Progress::Waiting(text),
                };
                progress.progress(host.clone(), what);
            }),
            run: id,
            owner,
            local: handle.folder().to_path_buf(),
            connect_within: self.global.connect_timeout.0,
            now: Arc::new(Timestamp::now),
            windows: engine::Windows::AsPlanned,
            answers: Arc::new(|_, _| None),
            at_most: descriptors::hosts(),
            lease_term: crate::durable::TERM,
        };
        let ended = work(means).await;
        self.voice.through(None);
        drop(feeder);
        handle.silence();
        // A display that broke is no reason to keep the results back.
        if let Ok(mut live) = drawing.join() {
            live.close();
        }
        let exit = ended?;
        let state = RunState::fold(&self.ledger.events(handle.number(), None)?)
            .map_err(|error| CliError::Failed(Failure::from_error(FailureClass::Controller, &error)))?;
        Ok(Ran { exit, state, number: handle.number() })
    }

    /// The live display that suits the terminal.
    fn live(&self, show: Show) -> Live {
        let page = self.screen.page_for_errors();
        if self.screen.quiet || self.screen.format == OutputFormat::Json || show == Show::Nothing {
            Live::quiet(page)
        } else if self.screen.live {
            Live::terminal(indicatif::ProgressDrawTarget::stderr(), self.screen.height, page)
        } else {
            Live::lines(Box::new(std::io::stderr()), page)
        }
    }

    fn transport(&self) -> Arc<dyn Transport> {
        Arc::new(Ways { ssh: Arc::clone(&self.ssh), local: LocalTransport::new() })
    }

    /// Means for looking only, with nothing recorded.
    pub(crate) fn means_without_run(&self) -> Means {
        Means {
            transport: self.transport(),
            recorder: Arc::new(Unrecorded),
            secrets: Arc::clone(&self.secrets) as Arc<dyn crate::engine::Secrets>,
            control: controls::of_process(&self.voice),
            progress: Arc::new(|_, _| {}),
            run: RunId::generate(),
            owner: owner(),
            local: self.ledger.folder().to_path_buf(),
            connect_within: self.global.connect_timeout.0,
            now: Arc::new(Timestamp::now),
            windows: engine::Windows::AsPlanned,
            answers: Arc::new(|_, _| None),
            at_most: descriptors::hosts(),
            lease_term: crate::durable::TERM,
        }
    }
}

/// The recorder of a run. In builds for development it breaks at the event that `LONGSHORE_PANIC_AT` numbers, so that
/// tests see what a fault of our own leaves behind.
fn breaking(handle: &Arc<RunHandle>) -> Arc<dyn Recorder> {
    let at = std::env::var("LONGSHORE_PANIC_AT").ok().filter(|_| cfg!(debug_assertions));
    match at.and_then(|at| at.parse().ok()) {
        Some(left) => Arc::new(Breaking { inner: Arc::clone(handle), left: AtomicU64::new(left) }),
        None => Arc::clone(handle) as Arc<dyn Recorder>,
    }
}

struct Breaking {
    inner: Arc<RunHandle>,
    /// Events until it breaks.
    left: AtomicU64,
}

#[async_trait::async_trait]
impl Recorder for Breaking {
    async fn record(&self, host: Option<&HostName>, what: Happening) -> Result<(), RecordError> {
        assert!(self.left.fetch_sub(1, Ordering::SeqCst) > 1, "told to break by `LONGSHORE_PANIC_AT`");
        self.inner.record(host, what).await
    }
}

/// How a recorded run ended.
pub(crate) struct Ran {
    pub(crate) exit: ExitCode,
    pub(crate) state: RunState,
    pub(crate) number: RunNumber,
}

/// Forgets what it is told: for reading facts before a plan, which changes nothing.
struct Unrecorded;

#[async_trait::async_trait]
impl Recorder for Unrecorded {
    async fn record(&self, _: Option<&HostName>, _: Happening) -> Result<(), RecordError> {
        Ok(())
    }
}

/// What a run is for, for the ledger and the screen.
pub(crate) struct About {
    pub(crate) title: String,
    pub(crate) purpose: &'static str,
    pub(crate) digest: String,
    pub(crate) hosts: usize,
    pub(crate) show: Show,
}

/// How much of a run is shown while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    Everything,
    /// Only its end.
    Nothing,
}

/// Connects each host the way its target says.
struct Ways {
    ssh: Arc<SshTransport>,
    local: LocalTransport,
}

#[async_trait::async_trait]
impl Transport for Ways {
    async fn connect(&self, target: &Target, within: std::time::Duration) -> Result<Arc<dyn Session>, TransportError> {
        match target.way {
            crate::transport::Way::Controller => self.local.connect(target, within).await,
            crate::transport::Way::Ssh(_) => self.ssh.connect(target, within).await,
        }
    }
}

/// Puts together how hosts are reached: `~/.ssh/config`, known hosts, the agent, whom to ask.
fn ssh_transport(root: &Path, global: &Global, voice: &Voice, secrets: &Arc<SecretStore>) -> SshTransport {
    let home = etcetera::home_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let user = user();
    let resolver = if global.no_ssh_config {
        config::Resolver::empty(home, user)
    } else {
        let options = config::ResolverOptions {
            files: vec![home.join(".ssh/config"), PathBuf::from("/etc/ssh/ssh_config")],
            home,
            local_user: user,
            local_host: hostname(),
            allow_exec: false,
        };
        config::Resolver::load_with(options, |name| std::env::var(name).ok())
    };
    for problem in resolver.problems() {
        tracing::warn!("{problem}");
    }
    let secrets = Arc::clone(secrets);
    let mut options = SshOptions::new(resolver);
    options.known_hosts = Some(root.join("known_hosts"));
    options.prompter = Arc::new(TerminalPrompter::new(voice.clone()));
    options.secrets = Arc::new(move |source| secrets.resolve(source));
    options.agent = std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from);
    SshTransport::new(options)
}

/// Who runs longshore and where, for leases and the history.
pub(crate) fn owner() -> String {
    format!("{}@{}", user(), hostname())
}

/// As [`owner`], with the process: who works on a run.
fn controller() -> String {
    format!("{}, process {}", owner(), std::process::id())
}

fn user() -> String {
    let by_id = || nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
    by_id().or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "unknown".to_owned())
}

fn hostname() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "localhost".to_owned())
}

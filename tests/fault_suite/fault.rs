//! What may be done to one host in a round, what that may lead to, and how a kill is aimed.

use std::time::{Duration, Instant};

use longshore::lab;
use nix::sys::signal::Signal;
use rand::{RngExt as _, rngs::StdRng};

use crate::{
    controller::Controller,
    field::{Field, Host, Project},
    judge::Allowed,
    proxy::Mode,
    victims::{self, Role},
};

/// A fault on one host, by its name in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// One of the lab's own, until it is lifted.
    Lab(lab::Fault),
    /// The proxy's; cuts happen once, the others until they are lifted.
    Link(Mode),
    /// `kill -9` of one kind of process whenever the time has come; it may find none.
    Kill(Role),
    /// `kill -9` of one process while a step is surely in the middle: the step waits for it.
    Aimed(Aim),
    /// Everything of the host is killed: a session ended by the system.
    KillAll,
    /// Everything of the host stands still for a while.
    Freeze,
    /// Another controller comes to work on the host with a project of its own.
    Rival,
}

/// One process of one step, a while after the step began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aim {
    pub role: Role,
    pub step: usize,
    pub after: Duration,
    /// Which one, where there are several.
    pub pick: usize,
}

/// The kinds of process that can be aimed at on every ground.
const KILLED: [Role; 6] = [Role::Wrapper, Role::Supervisor, Role::Step, Role::Drainer, Role::Watch, Role::Follower];

impl Fault {
    pub fn name(self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Lab(fault) => format!("lab {}", fault.name()),
            Self::Link(Mode::Late(_)) => "link late".to_owned(),
            Self::Link(mode) => format!("link {mode:?}").to_lowercase(),
            Self::Kill(role) => format!("kill {role:?} at any time").to_lowercase(),
            Self::Aimed(aim) => format!("kill {:?} in mid-step", aim.role).to_lowercase(),
            Self::KillAll => "kill all of the host".to_owned(),
            Self::Freeze => "freeze".to_owned(),
            Self::Rival => "another controller".to_owned(),
        }
    }

    /// What the fault may lead to, where the promise is not "as if nothing had happened".
    pub fn allows(self) -> Allowed {
        match self {
            // What was the step's own may end it; what nobody saw end nobody knows.
            // Killed again and again while it gives the lease back, it leaves that to run out.
            Self::KillAll => Allowed { failed: true, unknown: true, lease: true },
            Self::Kill(Role::Step | Role::Drainer) => Allowed { failed: true, ..Allowed::default() },
            Self::Kill(Role::Supervisor | Role::Wrapper) => Allowed { unknown: true, ..Allowed::default() },
            Self::Aimed(aim) => match aim.role {
                // It was in the middle: its shell ends with 137.
                Role::Step => Allowed { failed: true, ..Allowed::default() },
                Role::Supervisor => Allowed { unknown: true, ..Allowed::default() },
                // The step's result does not depend on any of these.
                Role::Wrapper | Role::Drainer | Role::Watch | Role::Follower | Role::Session | Role::Other => {
                    Allowed::default()
                }
            },
            // Refused before anything ran; or the step itself cannot write its line. A refusal is two events, and a
            // controller that dies between them leaves a start that the host does not know: held, and said so.
            Self::Lab(lab::Fault::FullDisk) => Allowed { failed: true, unknown: true, lease: true },
            Self::None | Self::Lab(_) | Self::Link(_) | Self::Freeze | Self::Kill(_) | Self::Rival => {
                Allowed::default()
            }
        }
    }

    /// Draws one for a host whose steps are `steps`.
    pub fn draw(random: &mut StdRng, is_real: bool, steps: usize) -> Self {
        let kill = [Role::Wrapper, Role::Supervisor, Role::Step, Role::Drainer];
        match random.random_range(0..13) {
            0 => Self::None,
            1 => Self::Freeze,
            2 => Self::KillAll,
            3 => Self::Kill(kill[random.random_range(0..kill.len())]),
            4 => Self::Rival,
            5..=7 => {
                // The embedded server has no process for a session.
                let drawn = random.random_range(0..=KILLED.len());
                let role = KILLED.get(drawn).copied().unwrap_or(if is_real { Role::Session } else { Role::Wrapper });
                Self::Aimed(Aim {
                    role,
                    step: random.random_range(1..=steps),
                    after: Duration::from_millis(random.random_range(0..250)),
                    pick: random.random_range(0..2),
                })
            }
            _ if is_real => Self::Link(match random.random_range(0..5) {
                0 | 1 => Mode::Fin,
                2 => Mode::Rst,
                3 => Mode::Swallow,
                _ => Mode::Late(Duration::from_millis(random.random_range(10..150))),
            }),
            _ => Self::Lab(match random.random_range(0..9) {
                0 => lab::Fault::DropAfter(Duration::ZERO),
                1 => lab::Fault::DropAfter(Duration::from_millis(random.random_range(20..600))),
                2 => lab::Fault::DropBytes(random.random_range(1..6000)),
                3 => lab::Fault::DropCommand(random.random_range(1..6)),
                4 => lab::Fault::Hang,
                5 => lab::Fault::Slow(Duration::from_millis(random.random_range(5..150))),
                6 => lab::Fault::RefuseConnect,
                7 => lab::Fault::NoStatus,
                _ => lab::Fault::FullDisk,
            }),
        }
    }

    /// Does it; says how many processes were hit, where it is about processes.
    fn begin(self, field: &Field, host: &Host) -> Option<usize> {
        match self {
            Self::None | Self::Aimed(_) | Self::Rival => None,
            Self::Lab(fault) => {
                field.fault(host, fault);
                None
            }
            Self::Link(mode) => {
                let proxy = host.proxy.as_ref()?;
                if !matches!(mode, Mode::Fin | Mode::Rst) {
                    proxy.next(mode);
                }
                proxy.now(mode);
                None
            }
            Self::Kill(role) => Some(victims::kill_role(&host.mark, role)),
            Self::KillAll => Some(victims::kill_all(&host.mark)),
            Self::Freeze => Some(victims::signal_all(&host.mark, Signal::SIGSTOP)),
        }
    }

    fn end(self, field: &Field, host: &Host) {
        if self == Self::Freeze {
            victims::signal_all(&host.mark, Signal::SIGCONT);
        }
        field.calm(host);
    }
}

/// How faults are spread over the hosts of a round and its time.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Of a hundred hosts, how many get one.
    pub faulty: u32,
    /// The clock of a host's fault starts with its own turn, which may come late. The lab's own faults are there
    /// from the beginning, for as long as this.
    pub by_turn: Option<Duration>,
    /// Longest time for the last controller of the round.
    pub within: Duration,
}

/// One fault's time on its host.
pub struct Planned {
    /// The host's place in the field.
    pub host: usize,
    pub fault: Fault,
    pub begins: Duration,
    pub ends: Duration,
    by_turn: bool,
    /// When its host's turn was seen to have come.
    turn: Option<Instant>,
    state: State,
    /// How many processes were hit.
    pub hit: usize,
    /// The other controller, once it came.
    rival: Option<(Project, Controller)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waits,
    /// The step to be hit was seen to have begun.
    Sighted(Instant),
    HasBegun,
    Over,
}

/// How far a round is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Now {
    /// A controller is at work.
    Runs,
    /// The last one ended: no step will begin that could be aimed at.
    HasEnded,
    /// Nothing is to disturb any more.
    Over,
}

/// How long a step waits to be hit, in seconds; its time limit is longer.
const HELD: u32 = 60;

impl Planned {
    pub fn draw(random: &mut StdRng, field: &Field, host: usize, steps: usize, shape: Shape) -> Self {
        let mut begins = Duration::from_millis(random.random_range(60..900));
        let mut ends = begins + Duration::from_millis(random.random_range(100..1200));
        let mut fault = Fault::draw(random, field.is_real(), steps);
        if random.random_range(0..100) >= shape.faulty {
            fault = Fault::None;
        }
        let mut by_turn = shape.by_turn.is_some();
        if let (Some(longest), Fault::Lab(_)) = (shape.by_turn, fault) {
            by_turn = false;
            (begins, ends) = (Duration::ZERO, longest.mul_f64(random.random_range(0.1..1.0)));
        }
        Self { host, fault, begins, ends, by_turn, turn: None, state: State::Waits, hit: 0, rival: None }
    }

    /// What a step does between its lines, so that an aimed kill finds it in the middle.
    pub fn wait_to_be_hit(step: usize) -> String {
        format!(
            "n=0; while [ -e {{{{trace}}}}.hold-{step} ] && [ $n -lt {} ]; do sleep 0.05; n=$((n + 1)); done",
            HELD * 20
        )
    }

    fn hold(&self, field: &Field, project: &Project, step: usize) -> std::path::PathBuf {
        field.hosts[self.host].dir.join(format!("{}.hold-{step}", project.tag))
    }

    /// Before the controller starts.
    pub fn prepare(&self, field: &Field, project: &Project) {
        if let Fault::Aimed(aim) = self.fault {
            std::fs::write(self.hold(field, project, aim.step), "").expect("written");
        }
    }

    /// Does what the time has come for. Returns the words of a fault that has just begun.
    pub fn tick(&mut self, field: &Field, project: &Project, since: Duration, now: Now) -> Option<String> {
        let host = &field.hosts[self.host];
        if self.state == State::Over {
            return None;
        }
        let since = match (self.by_turn, self.turn) {
            (false, _) => since,
            (true, Some(turn)) => turn.elapsed(),
            (true, None) => {
                self.turn = host.state.exists().then(Instant::now);
                Duration::ZERO
            }
        };
        let mut words = None;
        match (self.fault, self.state) {
            (Fault::Aimed(aim), State::Waits | State::Sighted(_)) => {
                let is_inside = project.traced(host, aim.step) == (1, 0);
                match self.state {
                    State::Sighted(at)
                        if is_inside
                            && at.elapsed() >= aim.after
                            && victims::kill_one(&host.mark, aim.role, aim.pick) =>
                    {
                        (self.hit, self.state) = (1, State::HasBegun);
                        words = Some(self.fault.name());
                    }
                    State::Waits if is_inside => self.state = State::Sighted(Instant::now()),
                    _ => {}
                }
                if now != Now::Runs && self.state != State::HasBegun {
                    self.state = State::HasBegun;
                    words = Some(format!("{} (nothing there)", self.fault.name()));
                }
                if self.state == State::HasBegun {
                    let _ = std::fs::remove_file(self.hold(field, project, aim.step));
                    self.state = State::Over;
                }
            }
            (fault, State::Waits) if now == Now::Over || since >= self.begins => {
                if fault == Fault::Rival {
                    let project = field.project(1, &|_| "sleep 0.2".to_owned());
                    let words = ["apply", "work", "--yes", "--limit", host.name.as_str()];
                    let rival = Controller::start(&project.path, &words);
                    self.rival = Some((project, rival));
                }
                let count = fault.begin(field, host);
                (self.hit, self.state) = (count.unwrap_or(0), State::HasBegun);
                let missed = if count == Some(0) { " (nothing there)" } else { "" };
                words = Some(format!("{}{missed}", fault.name()));
            }
            _ => {}
        }
        if self.state == State::HasBegun && (now == Now::Over || since >= self.ends) {
            self.state = State::Over;
            self.fault.end(field, host);
        }
        words
    }

    /// Waits for the other controller, and says what is wrong with what it did: it did all or nothing, and said which.
    pub fn rival_is_wrong(&mut self, field: &Field) -> Option<String> {
        let (project, mut rival) = self.rival.take()?;
        let host = &field.hosts[self.host];
        let code = rival.wait(Duration::from_secs(60));
        let traced = project.traced(host, 1);
        let is_right = matches!((&code, traced), (Ok(0), (1, 1)) | (Ok(6), (0, 0)));
        (!is_right).then(|| format!("{}: another controller: {code:?} {traced:?}: {}", host.name, rival.said()))
    }

    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether one process other than the supervisor was killed in the middle of a step.
    pub fn is_single_hit(&self) -> bool {
        matches!(self.fault, Fault::Aimed(aim) if aim.role != Role::Supervisor) && self.hit > 0
    }
}

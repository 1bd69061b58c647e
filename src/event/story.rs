//! Runs told in a few words, for the tests of all that folds events.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::{Event, Happening, HostLine, Phase, RunState, WaveLine};
use crate::model::{
    Effect, ExitCode, Failure, FailureClass, HostName, HostOutcome, Receipt, RunId, Span, StepId, StepOutcome,
    StepPart, Verdict, Version,
};

/// A run as it is told: each sentence appends events, a second apart.
pub(crate) struct Story {
    pub events: Vec<Event>,
    now: Timestamp,
}

pub(crate) fn host(name: &str) -> HostName {
    HostName::new(name).expect("a name in a test")
}

impl Story {
    pub const STEPS: [(&str, Effect); 4] = [
        ("Fetch images", Effect::Read),
        ("Back up Postgres", Effect::Read),
        ("Pin the version", Effect::Code),
        ("Switch", Effect::Code),
    ];

    pub fn new(purpose: &str, title: &str, waves: &[(&str, &[&str])]) -> Self {
        let mut story = Self { events: Vec::new(), now: "2026-03-01T09:00:00Z".parse().expect("a time") };
        let line = HostLine {
            profile: "compose".to_owned(),
            steps: if purpose == "apply" { Self::STEPS.len() } else { 0 },
            version: Some(Version::new("0.3.2")),
            downtime: BTreeMap::new(),
            proven_by: BTreeMap::new(),
            proven_at_end: false,
            wanted: (purpose == "apply").then(|| Version::new("0.4.0")),
        };
        let hosts: BTreeMap<_, _> =
            waves.iter().flat_map(|(_, hosts)| *hosts).map(|name| (host(name), line.clone())).collect();
        let waves = waves
            .iter()
            .map(|(name, hosts)| WaveLine {
                name: (*name).to_owned(),
                hosts: hosts.iter().map(|name| host(name)).collect(),
            })
            .collect();
        story.say(
            "",
            Happening::RunStarted {
                title: title.to_owned(),
                plan_digest: "sha256:0f0f".to_owned(),
                acknowledged: Vec::new(),
                purpose: purpose.to_owned(),
                waves,
                hosts,
                rolls_back: None,
                looks_at: None,
            },
        );
        story
    }

    /// An upgrade with two waves in which most of what can happen does.
    pub fn upgrade() -> Self {
        let mut story = Self::new(
            "apply",
            "Upgrade fovea to 0.4.0",
            &[("canary", &["web-1", "web-2"]), ("wave 1", &["web-3", "web-4", "web-5", "db-1", "eu-1", "eu-2"])],
        );
        story.say("", Happening::WaveStarted { wave: 0, name: "canary".to_owned() });
        story.good("web-1", 0).good("web-2", 0);
        story.say("", Happening::SoakStarted { wave: 0, length: Span::seconds(600) });
        story.check("web-1", Phase::Soak, "API answers", Verdict::Pass, "status 200 in 9 ms");
        story.check("web-2", Phase::Soak, "API answers", Verdict::Pass, "status 200 in 12 ms");
        story.say("", Happening::SoakFinished { wave: 0, verdict: Verdict::Pass });
        story.say("", Happening::WaveFinished { wave: 0 });
        story.say("", Happening::WaveStarted { wave: 1, name: "wave 1".to_owned() });
        story.good("web-3", 1).good("web-4", 1);
        story.undone("web-5", 1);
        story.stuck("db-1", 1);
        for name in ["eu-1", "eu-2"] {
            story.say(name, Happening::HostStarted { wave: 1 });
            let failure = Failure::new(FailureClass::Unreachable, "no connection to eu.example.org:22")
                .because("connection refused")
                .hint(format!("check `address` and `port` of `{name}`"));
            story.finish(name, HostOutcome::Unreachable, Some(failure), None, None);
        }
        story.say(
            "",
            Happening::Halted {
                reason: "2 hosts failed, 0 were allowed".to_owned(),
                class: super::HaltClass::Budget,
                nothing_left: false,
            },
        );
        story.say("", Happening::WaveFinished { wave: 1 });
        story.say("", Happening::RunFinished { exit: ExitCode::PersonNeeded });
        story
    }

    /// A sweep of five hosts: one red, one unreachable, one behind.
    pub fn sweep() -> Self {
        let mut story = Self::new("check", "Health of all", &[("all", &["web-1", "web-2", "web-3", "db-1", "eu-1"])]);
        story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() });
        for name in ["web-1", "web-2", "web-3", "db-1"] {
            story.begin(name, 0);
            let version = if name == "web-3" { "0.3.1" } else { "0.3.2" };
            story.say(name, Happening::FactRead { fact: "version".to_owned(), value: version.to_owned() });
            let (verdict, seen) = if name == "db-1" {
                (Verdict::Fail, "expected 200, got 503")
            } else {
                (Verdict::Pass, "status 200 in 9 ms")
            };
            story.check(name, Phase::Sweep, "API answers", verdict, seen);
            story.check(name, Phase::Sweep, "Disk has room", Verdict::Pass, "41 GiB free");
            let outcome = if name == "db-1" { HostOutcome::Failed } else { HostOutcome::Done };
            story.finish(name, outcome, None, None, Some(version));
        }
        story.say("eu-1", Happening::HostStarted { wave: 0 });
        let failure = Failure::new(FailureClass::HostKeyUnknown, "the host key of eu-1 is not known")
            .hint("`longshore trust eu-1` shows the key; compare it with the host's own, then confirm");
        story.finish("eu-1", HostOutcome::Failed, Some(failure), None, None);
        story.say("", Happening::RunFinished { exit: ExitCode::HostFailed });
        story
    }

    /// An ad-hoc command: two say the same, one ends badly, one is killed, one cannot be reached.
    pub fn exec() -> Self {
        let mut story = Self::new("exec", "uname -r", &[("all", &["web-1", "web-2", "web-3", "db-1", "eu-1"])]);
        story.say("", Happening::WaveStarted { wave: 0, name: "all".to_owned() });
        let told = [
            ("web-1", Some(0), None::<&str>, "6.1.0-18\n", ""),
            ("web-2", Some(0), None, "6.1.0-18\n", ""),
            ("web-3", Some(127), None, "", "sh: 1: uname: not found\n"),
            ("db-1", None, Some("KILL"), "6.\x1b[31m1", ""),
        ];
        for (name, status, signal, out, err) in told {
            story.begin(name, 0);
            let total = (out.len() + err.len()) as u64;
            story.say(
                name,
                Happening::CommandFinished {
                    status,
                    signal: signal.map(str::to_owned),
                    out: out.to_owned(),
                    err: err.to_owned(),
                    total,
                    left_out: 0,
                    took: Span::seconds(1),
                },
            );
            let outcome = if status == Some(0) { HostOutcome::Done } else { HostOutcome::Failed };
            story.finish(name, outcome, None, None, None);
        }
        story.say("eu-1", Happening::HostStarted { wave: 0 });
        let failure = Failure::new(FailureClass::Unreachable, "no connection to 198.51.100.7:22").because("timed out");
        story.finish("eu-1", HostOutcome::Unreachable, Some(failure), None, None);
        story.say("", Happening::RunFinished { exit: ExitCode::HostFailed });
        story
    }

    /// Appends one event; an empty name means the run as a whole.
    pub fn say(&mut self, name: &str, what: Happening) -> &mut Self {
        self.events.push(Event {
            run: RunId::from_text("01hqrun0000000000000000000").expect("an id"),
            sequence: self.events.len() as u64 + 1,
            at: self.now,
            host: (!name.is_empty()).then(|| host(name)),
            what,
        });
        self.now += SignedDuration::from_secs(1);
        self
    }

    pub fn begin(&mut self, name: &str, wave: usize) -> &mut Self {
        self.say(name, Happening::HostStarted { wave });
        let address = format!("{name}.example.org:22");
        self.say(name, Happening::Connected { address, user: "deploy".to_owned(), host_key: None })
    }

    pub fn check(&mut self, name: &str, phase: Phase, check: &str, verdict: Verdict, seen: &str) -> &mut Self {
        let (check, seen) = (check.to_owned(), seen.to_owned());
        self.say(name, Happening::CheckFinished { phase, check, verdict, seen, took: Span::seconds(0) })
    }

    pub fn start(&mut self, name: &str, step: usize) -> &mut Self {
        let (title, effect) = Self::STEPS[step];
        let what = Happening::StepStarted {
            step: Self::id(step),
            name: title.to_owned(),
            effect,
            attempt: 1,
            part: StepPart::Main,
        };
        self.say(name, what)
    }

    pub fn end(&mut self, name: &str, step: usize, outcome: StepOutcome) -> &mut Self {
        let receipt = match (&outcome, step) {
            (StepOutcome::Changed, 1) => {
                Receipt::default().with("path", "/var/backups/fovea.sql.gz").with("size", "1536")
            }
            _ => Receipt::default(),
        };
        let output = if outcome.failure().is_some() { vec!["port is already allocated".to_owned()] } else { vec![] };
        self.say(
            name,
            Happening::StepFinished {
                step: Self::id(step),
                attempt: 1,
                outcome,
                took: Span::seconds(1),
                receipt,
                difference: None,
                output,
            },
        )
    }

    pub fn id(step: usize) -> StepId {
        StepId::new(step, Self::STEPS[step].0)
    }

    pub fn finish(
        &mut self,
        name: &str,
        outcome: HostOutcome,
        failure: Option<Failure>,
        before: Option<&str>,
        after: Option<&str>,
    ) -> &mut Self {
        self.say(
            name,
            Happening::HostFinished {
                outcome,
                failure,
                before: before.map(Version::new),
                after: after.map(Version::new),
                took: Span::seconds(12),
            },
        )
    }

    /// A host that passes from end to end.
    pub fn good(&mut self, name: &str, wave: usize) -> &mut Self {
        self.begin(name, wave).baseline(name);
        for step in 0..Self::STEPS.len() {
            let outcome = if step == 0 { StepOutcome::Unchanged } else { StepOutcome::Changed };
            self.start(name, step).end(name, step, outcome);
        }
        self.check(name, Phase::After, "API answers", Verdict::Pass, "status 200 in 9 ms");
        self.check(name, Phase::After, "Disk has room", Verdict::Pass, "40 GiB free");
        self.finish(name, HostOutcome::Done, None, Some("0.3.2"), Some("0.4.0"))
    }

    fn baseline(&mut self, name: &str) -> &mut Self {
        self.say(name, Happening::FactRead { fact: "version".to_owned(), value: "0.3.2".to_owned() });
        self.check(name, Phase::Baseline, "API answers", Verdict::Pass, "status 200 in 9 ms");
        self.check(name, Phase::Baseline, "Disk has room", Verdict::Pass, "41 GiB free")
    }

    /// A host that fails at its last step and is taken back.
    pub fn undone(&mut self, name: &str, wave: usize) -> &mut Self {
        let failure = self.fails_at_the_switch(name, wave);
        self.undo(name, 3, None).undo(name, 2, None);
        self.check(name, Phase::Unwound, "API answers", Verdict::Pass, "status 200 in 9 ms");
        self.check(name, Phase::Unwound, "Disk has room", Verdict::Pass, "40 GiB free");
        self.finish(name, HostOutcome::Undone, Some(failure), Some("0.3.2"), Some("0.3.2"))
    }

    /// A host whose undo fails.
    pub fn stuck(&mut self, name: &str, wave: usize) -> &mut Self {
        self.fails_at_the_switch(name, wave);
        let failure = Failure::new(FailureClass::Undo, "the undo of step `Switch` failed")
            .because("`docker compose up -d` ended with status 1")
            .output(vec!["Cannot connect to the Docker daemon".to_owned()]);
        self.undo(name, 3, Some(failure.clone()));
        self.finish(name, HostOutcome::Stuck, Some(failure), Some("0.3.2"), None)
    }

    fn fails_at_the_switch(&mut self, name: &str, wave: usize) -> Failure {
        let failure = Failure::new(FailureClass::Step, "step `Switch` failed")
            .because("`docker compose up -d` ended with status 1")
            .output(vec!["Error response from daemon: port is already allocated".to_owned()]);
        self.begin(name, wave).baseline(name);
        for step in 0..3 {
            self.start(name, step).end(name, step, StepOutcome::Changed);
        }
        self.start(name, 3).end(name, 3, StepOutcome::Failed { failure: failure.clone() });
        self.say(name, Happening::UnwindStarted { failure: failure.clone() });
        failure
    }

    fn undo(&mut self, name: &str, step: usize, failure: Option<Failure>) -> &mut Self {
        let title = Self::STEPS[step].0.to_owned();
        self.say(name, Happening::UndoStarted { step: Self::id(step), name: title });
        self.say(name, Happening::UndoFinished { step: Self::id(step), part: 0, failure, took: Span::seconds(1) })
    }

    pub fn fold(&self) -> RunState {
        RunState::fold(&self.events).expect("a story that can be folded")
    }

    pub fn lines(&self) -> String {
        self.events.iter().map(|event| serde_json::to_string(event).expect("an event") + "\n").collect()
    }
}

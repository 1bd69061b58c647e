//! How a lab host can misbehave, and how that is written: `hang`, `slow=200ms`, `drop-after=3s`.

use std::{fmt, str::FromStr, time::Duration};

use crate::model::Span;

/// One way in which a host misbehaves, until it is cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Refuses every login.
    Refuse,
    /// Nobody listens on the port: the connection is refused. Live connections are cut.
    RefuseConnect,
    /// Cuts each connection when it is so old; one that is older already, at once.
    DropAfter(Duration),
    /// Cuts each connection after the server has sent so many bytes on it.
    DropBytes(u64),
    /// Cuts the connection on which the n-th command from now on was started. The command goes on.
    DropCommand(u32),
    /// Accepts connections and never speaks; live connections freeze, too.
    Hang,
    /// Logins and channels work, commands are never answered.
    HangExec,
    /// Whatever the client sends arrives so much later.
    Slow(Duration),
    /// Programs cannot write to files. See [`super::program`] for how that is done without root.
    FullDisk,
    /// Shows another host key than the one in `known_hosts`.
    WrongKey,
    /// Allows so many sessions at once on one connection.
    MaxSessions(usize),
    /// Programs end and nobody says how.
    NoStatus,
    /// Programs are killed (SIGKILL) when they have run for so long.
    ExitSignal(Duration),
}

impl Fault {
    /// The word that names the fault in texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::RefuseConnect => "refuse-connect",
            Self::DropAfter(_) => "drop-after",
            Self::DropBytes(_) => "drop-bytes",
            Self::DropCommand(_) => "drop-command",
            Self::Hang => "hang",
            Self::HangExec => "hang-exec",
            Self::Slow(_) => "slow",
            Self::FullDisk => "full-disk",
            Self::WrongKey => "wrong-key",
            Self::MaxSessions(_) => "max-sessions",
            Self::NoStatus => "no-status",
            Self::ExitSignal(_) => "exit-signal",
        }
    }

    /// Lists every fault as it is written, with what it does: for help texts.
    pub fn reference() -> &'static [(&'static str, &'static str)] {
        &[
            ("refuse", "refuses every login"),
            ("refuse-connect", "nobody listens on the port"),
            ("drop", "cuts connections at once; the same as `drop-after=0s`"),
            ("drop-after=3s", "cuts each connection when it is so old"),
            ("drop-bytes=4096", "cuts each connection after the server has sent so many bytes"),
            ("drop-command=2", "cuts the connection when the second command from now on has started"),
            ("hang", "accepts connections and never speaks; live connections freeze"),
            ("hang-exec", "logins work, commands are never answered"),
            ("slow=200ms", "whatever the client sends arrives so much later"),
            ("full-disk", "programs cannot write to files"),
            ("wrong-key", "shows another host key than the known one"),
            ("max-sessions=1", "allows so many sessions at once on one connection"),
            ("no-status", "programs end and nobody says how"),
            ("exit-signal", "programs are killed at once; `exit-signal=2s`: after so long"),
        ]
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::DropAfter(length) | Self::Slow(length) | Self::ExitSignal(length) => {
                write!(f, "{name}={}", Span(*length))
            }
            Self::DropBytes(bytes) => write!(f, "{name}={bytes}"),
            Self::DropCommand(count) => write!(f, "{name}={count}"),
            Self::MaxSessions(count) => write!(f, "{name}={count}"),
            Self::Refuse
            | Self::RefuseConnect
            | Self::Hang
            | Self::HangExec
            | Self::FullDisk
            | Self::WrongKey
            | Self::NoStatus => f.write_str(name),
        }
    }
}

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FaultError {
    #[error("`{name}` is no fault")]
    Name { name: String, nearest: Option<&'static str> },
    #[error("`{name}` needs a value, as in `{example}`")]
    ValueMissing { name: String, example: &'static str },
    #[error("`{name}` takes no value")]
    ValueTooMuch { name: String },
    #[error("`{value}` is no value for `{name}`, which is written as in `{example}`")]
    Value { name: String, value: String, example: &'static str },
}

impl FaultError {
    /// What to type instead.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Name { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::Name { nearest: None, .. } => {
                let all: Vec<_> = Fault::reference().iter().map(|(text, _)| *text).collect();
                Some(format!("the faults are: {}", all.join(", ")))
            }
            Self::ValueMissing { .. } | Self::ValueTooMuch { .. } | Self::Value { .. } => None,
        }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let (name, value) = match text.trim().split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (text.trim(), None),
        };
        let plain = |fault| match value {
            None => Ok(fault),
            Some(_) => Err(FaultError::ValueTooMuch { name: name.to_owned() }),
        };
        match name {
            "refuse" => plain(Self::Refuse),
            "refuse-connect" => plain(Self::RefuseConnect),
            "drop" => plain(Self::DropAfter(Duration::ZERO)),
            "hang" => plain(Self::Hang),
            "hang-exec" => plain(Self::HangExec),
            "full-disk" => plain(Self::FullDisk),
            "wrong-key" => plain(Self::WrongKey),
            "no-status" => plain(Self::NoStatus),
            "drop-after" => length(name, value, "drop-after=3s").map(Self::DropAfter),
            "slow" => length(name, value, "slow=200ms").map(Self::Slow),
            "exit-signal" if value.is_none() => Ok(Self::ExitSignal(Duration::ZERO)),
            "exit-signal" => length(name, value, "exit-signal=2s").map(Self::ExitSignal),
            "drop-bytes" => number(name, value, "drop-bytes=4096").map(Self::DropBytes),
            "drop-command" => positive(name, value, "drop-command=2").map(Self::DropCommand),
            "max-sessions" => positive(name, value, "max-sessions=1").map(Self::MaxSessions),
            _ => Err(FaultError::Name { name: name.to_owned(), nearest: nearest(name) }),
        }
    }
}

fn number<T: FromStr>(name: &str, value: Option<&str>, example: &'static str) -> Result<T, FaultError> {
    let value = value.ok_or_else(|| FaultError::ValueMissing { name: name.to_owned(), example })?;
    value.parse().map_err(|_| FaultError::Value { name: name.to_owned(), value: value.to_owned(), example })
}

fn positive<T: FromStr + Default + PartialEq>(
    name: &str,
    value: Option<&str>,
    example: &'static str,
) -> Result<T, FaultError> {
    let count: T = number(name, value, example)?;
    if count == T::default() {
        return Err(FaultError::Value { name: name.to_owned(), value: "0".to_owned(), example });
    }
    Ok(count)
}

fn length(name: &str, value: Option<&str>, example: &'static str) -> Result<Duration, FaultError> {
    number::<Span>(name, value, example).map(Duration::from)
}

fn nearest(name: &str) -> Option<&'static str> {
    Fault::reference()
        .iter()
        .map(|(text, _)| *text)
        .map(|text| (strsim::jaro_winkler(name, text.split('=').next().unwrap_or(text)), text))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, text)| text)
}

/// What is wrong with one host now: at most one fault of each name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Adds a fault; one of the same name gives way.
    pub fn set(&mut self, fault: Fault) {
        self.0.retain(|other| other.name() != fault.name());
        self.0.push(fault);
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Fault> + '_ {
        self.0.iter().copied()
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.0.contains(&fault)
    }

    pub(super) fn drop_after(&self) -> Option<Duration> {
        self.find(|fault| if let Fault::DropAfter(age) = fault { Some(age) } else { None })
    }

    pub(super) fn drop_bytes(&self) -> Option<u64> {
        self.find(|fault| if let Fault::DropBytes(bytes) = fault { Some(bytes) } else { None })
    }

    pub(super) fn drop_command(&self) -> Option<u32> {
        self.find(|fault| if let Fault::DropCommand(count) = fault { Some(count) } else { None })
    }

    pub(super) fn slow(&self) -> Option<Duration> {
        self.find(|fault| if let Fault::Slow(delay) = fault { Some(delay) } else { None })
    }

    pub(super) fn max_sessions(&self) -> Option<usize> {
        self.find(|fault| if let Fault::MaxSessions(count) = fault { Some(count) } else { None })
    }

    pub(super) fn exit_signal(&self) -> Option<Duration> {
        self.find(|fault| if let Fault::ExitSignal(after) = fault { Some(after) } else { None })
    }

    fn find<T>(&self, pick: impl Fn(Fault) -> Option<T>) -> Option<T> {
        self.iter().find_map(pick)
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        let mut set = Self::default();
        faults.into_iter().for_each(|fault| set.set(fault));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_of_the_reference_reads_and_writes_back_as_itself() {
        for (text, _) in Fault::reference() {
            let fault: Fault = text.parse().expect(text);
            assert_eq!(fault.to_string().parse(), Ok(fault), "{text}");
        }
        assert_eq!("drop-after=3s".parse(), Ok(Fault::DropAfter(Duration::from_secs(3))));
        assert_eq!(Fault::Slow(Duration::from_millis(200)).to_string(), "slow=200ms");
        assert_eq!(Fault::MaxSessions(1).to_string(), "max-sessions=1");
    }

    #[test]
    fn a_wrong_fault_is_refused_with_what_to_type() {
        let error = |text: &str| text.parse::<Fault>().expect_err(text);
        assert_eq!(error("hangg").hint().as_deref(), Some("did you mean `hang`?"));
        assert!(error("zzz").hint().is_some_and(|hint| hint.contains("slow=200ms")));
        assert_eq!(error("slow").to_string(), "`slow` needs a value, as in `slow=200ms`");
        assert_eq!(error("hang=3s").to_string(), "`hang` takes no value");
        for bad in ["slow=fast", "drop-command=0", "max-sessions=0", "drop-bytes=-1"] {
            assert!(matches!(error(bad), FaultError::Value { .. }), "{bad}");
        }
    }

    #[test]
    fn a_later_fault_of_the_same_name_replaces_the_earlier() {
        let faults: Faults = [Fault::Hang, Fault::Slow(Duration::from_secs(1)), Fault::Slow(Duration::from_secs(2))]
            .into_iter()
            .collect();
        assert_eq!(faults.iter().collect::<Vec<_>>(), [Fault::Hang, Fault::Slow(Duration::from_secs(2))]);
    }
}

//! What longshore tells the program that called it.

use serde::{Deserialize, Serialize};

/// The exit codes of longshore. The numbers are a promise to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum ExitCode {
    /// Everything asked for was done.
    Good = 0,
    /// A host failed; the table says whether it was taken back.
    HostFailed = 1,
    /// The command line or the documents are wrong; nothing was touched.
    BadInput = 2,
    /// A person is needed: a host is held, stuck or unknown.
    PersonNeeded = 3,
    /// Some hosts could not be reached, the rest is good.
    SomeUnreachable = 4,
    /// A failure budget halted the run.
    Halted = 5,
    /// Refused: a lease is held by another, or a host moved since the plan.
    Refused = 6,
    /// Stopped by the person at the terminal.
    Interrupted = 130,
}

impl ExitCode {
    /// Returns the code to use when several hold: 3, then 130, 5, 1, 6, 4.
    pub fn most_telling(codes: impl IntoIterator<Item = Self>) -> Self {
        codes.into_iter().min_by_key(|code| code.rank()).unwrap_or(Self::Good)
    }

    fn rank(self) -> u8 {
        match self {
            Self::BadInput => 0,
            Self::PersonNeeded => 1,
            Self::Interrupted => 2,
            Self::Halted => 3,
            Self::HostFailed => 4,
            Self::Refused => 5,
            Self::SomeUnreachable => 6,
            Self::Good => 7,
        }
    }

    pub fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_several_hold_the_most_urgent_is_told() {
        use ExitCode::{Good, Halted, HostFailed, Interrupted, PersonNeeded, Refused, SomeUnreachable};
        let order = [PersonNeeded, Halted, HostFailed, Refused, SomeUnreachable, Good];
        for (i, first) in order.iter().enumerate() {
            for second in &order[i..] {
                assert_eq!(ExitCode::most_telling([*second, *first]), *first);
            }
        }
        assert_eq!(ExitCode::most_telling([]), Good);
        assert_eq!(ExitCode::most_telling([Interrupted, HostFailed]), Interrupted);
    }
}

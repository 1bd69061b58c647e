//! How many files this process may have open, and how many hosts it can work on with them.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What a process needs beside its hosts: the ledger, the terminal, the runtime, keys while they are read, commands that
/// secrets come from.
const OWN: u64 = 28;

/// A host has its connection, another for its lease while the first is lost, and one that is being closed.
const OF_A_HOST: u64 = 3;

/// Takes all that the system allows this process. Left as it is where that is refused: [`hosts`] goes by what holds.
pub(super) fn raise() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Returns how many files this process may have open.
pub(super) fn limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

/// Returns how many hosts can be worked on at once; at least one.
pub(super) fn hosts() -> usize {
    usize::try_from(limit().saturating_sub(OWN) / OF_A_HOST).unwrap_or(usize::MAX).max(1)
}

//! The state of a run, folded from its events: the only fold. Reports, resume and the exit code read it.

/// To be written.
pub struct RunState;
pub struct HostState;
pub struct StepState;
pub struct WaveState;
pub struct IllegalEvent;

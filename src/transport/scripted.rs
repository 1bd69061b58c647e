//! Answers from a table, for tests: no network, no processes.

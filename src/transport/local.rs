//! Runs commands on the controller itself, for hosts without an SSH server of their own.

//! The command line: one file for each command; wiring; exit codes.
//!
//! Only this layer reads the environment and the clock, starts threads of execution and decides
//! where output goes.

#![allow(clippy::disallowed_methods, reason = "this is the layer that reads the world and prints")]

mod apply;
mod approve;
mod backups;
mod check;
mod close;
mod completions;
mod control;
mod controls;
mod course;
mod demo;
mod descriptors;
mod drill;
mod error;
mod exec;
mod history;
mod hosts;
mod init;
mod lab;
mod lint;
mod open;
mod others;
mod plan;
mod prefetch;
mod profile;
mod prompt;
mod recorded;
mod recover;
mod resume;
mod rollback;
mod run;
mod schema;
mod screen;
mod secrets;
mod trust;
mod voice;
mod windows;

use std::{path::PathBuf, process};

use clap::{Parser, Subcommand, ValueEnum};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::model::ExitCode;
use error::CliError;
use screen::Screen;

/// Upgrade fleets of self-hosted installs over plain SSH
///
/// Longshore reads an inventory of hosts and profiles, pushes ordered upgrade steps to many hosts in
/// parallel, lets each host pass its gates, takes a failed host back by itself, and collects health
/// and results into tables. Nothing is installed on the hosts.
#[derive(Debug, Parser)]
#[command(name = "longshore", version, disable_help_subcommand = true)]
#[command(after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    global: Global,

    #[command(subcommand)]
    command: Command,
}

/// Lines of their own, so that nothing is wrapped in the middle of a code.
const EXIT_CODES: &str = "\
Exit codes:
  0  all good                   4    some hosts unreachable
  1  a host failed              5    halted by a budget
  2  bad usage or documents     6    refused
  3  a person is needed         130  interrupted";

/// Options that every command understands.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Folder of the project, if not the nearest above that has an `inventory` folder
    #[arg(short = 'C', long, global = true, value_name = "DIR", env = "LONGSHORE_PROJECT", hide_env_values = true)]
    project: Option<PathBuf>,

    /// How results are printed
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: OutputFormat,

    /// Whether output is coloured
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: ColourWhen,

    /// Print results only, no progress
    #[arg(short, long, global = true)]
    quiet: bool,

    /// Write a log to standard error; again for more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,

    /// Do not read `~/.ssh/config` and `/etc/ssh/ssh_config`
    #[arg(long, global = true)]
    no_ssh_config: bool,

    /// Longest time for connecting to a host, all tries together
    #[arg(long, global = true, value_name = "TIME", default_value = "30s")]
    connect_timeout: crate::model::Span,

    /// Longest time for a command that a secret comes from
    #[arg(long, global = true, value_name = "TIME", default_value = "60s")]
    secret_timeout: crate::model::Span,
}

/// How results are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// Tables for people
    #[default]
    Human,
    /// One JSON object a line: the events, as they happen
    Json,
}

/// Whether output is coloured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColourWhen {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::Args),
    Lint(lint::Args),
    Hosts(hosts::Args),
    Trust(trust::Args),
    Check(check::Args),
    Plan(plan::Args),
    Prefetch(prefetch::Args),
    Apply(apply::Args),
    Resume(resume::Args),
    Retry(resume::RetryArgs),
    Recover(recover::Args),
    Backups(backups::Args),
    Drill(drill::Args),
    Rollback(rollback::Args),
    Status(control::StatusArgs),
    Pause(control::PauseArgs),
    Promote(control::PromoteArgs),
    Abort(control::AbortArgs),
    Unlock(control::UnlockArgs),
    Close(close::Args),
    Exec(exec::Args),
    History(history::Args),
    Profile(profile::Args),
    Schema(schema::Args),
    Demo(demo::Args),
    Lab(lab::Args),
    Completions(completions::Args),
    Man(completions::ManArgs),
}

/// Returns the whole command line as data: what the reference in `docs/` is made from.
pub fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

/// Runs the command line and returns the process's exit code.
pub fn main() -> process::ExitCode {
    let cli = Cli::parse();
    // An image of a crash would hold every secret of the run. Where it cannot be forbidden, the system's own rules hold.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_CORE) {
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, hard);
    }
    descriptors::raise();
    tell_of_panics();
    let screen = Screen::new(&cli.global);
    start_log(cli.global.verbose);
    let global = cli.global;
    let ended = match cli.command {
        Command::Init(args) => init::run(&args, &screen),
        Command::Lint(args) => lint::run(&args, &global, &screen),
        Command::Hosts(args) => on_runtime(hosts::run(&args, &global, &screen)),
        Command::Trust(args) => on_runtime(trust::run(&args, &global, &screen)),
        Command::Check(args) => on_runtime(check::run(&args, &global, &screen)),
        Command::Plan(args) => on_runtime(plan::run(&args, &global, &screen)),
        Command::Prefetch(args) => on_runtime(prefetch::run(&args, &global, &screen)),
        Command::Apply(args) => on_runtime(apply::run(&args, &global, &screen)),
        Command::Resume(args) => on_runtime(resume::run(&args, &global, &screen)),
        Command::Retry(args) => on_runtime(resume::retry(&args, &global, &screen)),
        Command::Recover(args) => on_runtime(recover::run(&args, &global, &screen)),
        Command::Backups(args) => on_runtime(backups::run(&args, &global, &screen)),
        Command::Drill(args) => on_runtime(drill::run(&args, &global, &screen)),
        Command::Rollback(args) => on_runtime(rollback::run(&args, &global, &screen)),
        Command::Status(args) => on_runtime(control::status(&args, &global, &screen)),
        Command::Pause(args) => control::pause(&args, &global, &screen),
        Command::Promote(args) => control::promote(&args, &global, &screen),
        Command::Abort(args) => control::abort(&args, &global, &screen),
        Command::Unlock(args) => on_runtime(control::unlock(&args, &global, &screen)),
        Command::Close(args) => on_runtime(close::run(&args, &global, &screen)),
        Command::Exec(args) => on_runtime(exec::run(&args, &global, &screen)),
        Command::History(args) => history::run(&args, &global, &screen),
        Command::Profile(args) => profile::run(&args, &screen),
        Command::Schema(args) => schema::run(&args, &screen),
        Command::Demo(args) => on_runtime(demo::run(&args, &global, &screen)),
        Command::Lab(args) => on_runtime(lab::run(&args, &global, &screen)),
        Command::Completions(args) => completions::run(&args, &screen),
        Command::Man(args) => completions::man(&args, &screen),
    };
    let code = ended.unwrap_or_else(|error| {
        screen.error(&error);
        error.exit_code()
    });
    process::ExitCode::from(code.number())
}

/// Says, after a panic of our own, what that means for the hosts: the ledger is written before each thing is done,
/// so there is nothing to save.
fn tell_of_panics() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        told(panic);
        let mut err = std::io::stderr().lock();
        let _ = std::io::Write::write_all(
            &mut err,
            b"error: longshore broke; that is a fault of its own, and nothing that was recorded is lost\n\n\
              hint: steps that run on hosts go on there; `longshore resume` takes the run up again\n",
        );
    }));
}

/// Runs a command that waits for hosts.
///
/// One worker is enough: the work is waiting. What blocks (ledger, secrets, key files) has threads of its own.
fn on_runtime(work: impl Future<Output = Result<ExitCode, CliError>>) -> Result<ExitCode, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CliError::Runtime)?;
    let ended = runtime.block_on(work);
    // Threads that wait for a terminal or a file must not hold up the end.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    ended
}

/// Starts the log on standard error. russh logs payloads at debug level, so it never logs below warnings.
fn start_log(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::new(format!("warn,longshore={level},russh=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time();
    // A second start within one process, as in tests, changes nothing.
    let _ = log.try_init();
}

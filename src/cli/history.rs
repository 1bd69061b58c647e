//! `history`: what was done, from the ledger.

use std::sync::Arc;

use super::{Global, OutputFormat, error::CliError, open, screen::Screen};
use crate::{
    event::RunState,
    ledger::Ledger,
    model::{ExitCode, HostName},
    report::{self, words},
};

/// Show earlier runs
///
/// Without a run, the latest ones. `show` prints the tables of one, and with `--host` everything that host said.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: Option<What>,

    /// How many runs
    #[arg(short = 'n', long, default_value_t = 20, value_name = "N")]
    limit: usize,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Show one run
    Show {
        /// Its number or id, or `last`
        #[arg(default_value = "last")]
        run: String,
        /// Everything that this host did and said
        #[arg(long)]
        host: Option<String>,
        /// As a checklist in Markdown: what was looked at, done, taken back
        #[arg(long, conflicts_with = "host")]
        checklist: bool,
    },
}

pub(super) fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let root = open::project_root(global)?;
    let ledger = Ledger::open(&root, Arc::new(jiff::Timestamp::now))?;
    let page = screen.page();
    let json = screen.format == OutputFormat::Json;
    match &args.what {
        None => {
            let runs = ledger.runs(args.limit)?;
            if json {
                for run in &runs {
                    screen.print(&to_json(run).to_string())?;
                }
            } else {
                let rows = runs.iter().map(row).collect::<Vec<_>>();
                screen.print(&report::history(&rows, &page))?;
            }
        }
        Some(What::Show { run, host, checklist }) => {
            let record = ledger.find(run)?;
            let host =
                host.as_deref().map(HostName::new).transpose().map_err(|error| CliError::usage(error.to_string()))?;
            let events = ledger.events(record.number, None)?;
            if json {
                for event in events.iter().filter(|event| host.is_none() || event.host == host) {
                    screen.print_event(event)?;
                }
                return Ok(ExitCode::Good);
            }
            let state = RunState::fold(&events).map_err(|error| CliError::usage(error.to_string()))?;
            if *checklist {
                screen.print(&report::done_checklist(&state, record.number, &page))?;
                return Ok(ExitCode::Good);
            }
            if let Some(host) = &host {
                if !state.hosts.contains_key(host) {
                    let names = words::ranges(state.hosts.keys().map(HostName::as_str)).join(", ");
                    return Err(CliError::with_hint(
                        format!("run {} did not concern `{host}`", record.number),
                        format!("its hosts were {names}"),
                    ));
                }
                screen.print(&report::show(&state, record.number, &events, Some(host), &page))?;
                return Ok(ExitCode::Good);
            }
            screen.print(&report::heading(&state, record.number, &page))?;
            screen.print(&report::people(&events, &page))?;
            match state.purpose.as_str() {
                "exec" => screen.print(&report::exec(&state, &page))?,
                "check" => screen.print(&report::sweep(&state, Some(record.number), &page))?,
                _ => screen.print(&report::standing_of(&state, Some(record.number), record.running, &page))?,
            }
        }
    }
    Ok(ExitCode::Good)
}

fn row(record: &crate::ledger::RunRecord) -> report::RunRow {
    report::RunRow {
        number: record.number,
        title: record.title.clone(),
        purpose: record.purpose.clone(),
        looks_at: record.looks_at.clone(),
        begun: record.begun,
        ended: record.ended,
        exit: record.exit,
        hosts: record.hosts,
        outcomes: record.outcomes.clone(),
        running: record.running,
    }
}

fn to_json(record: &crate::ledger::RunRecord) -> serde_json::Value {
    serde_json::json!({
        "run": record.number, "id": record.id, "title": record.title, "purpose": record.purpose,
        "controller": record.controller, "begun": record.begun, "ended": record.ended,
        "exit": record.exit.map(ExitCode::number), "hosts": record.hosts, "outcomes": record.outcomes,
        "running": record.running,
    })
}

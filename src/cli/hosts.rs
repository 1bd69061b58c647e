//! `hosts`: who is in the inventory, and how each would be reached.

use serde_json::json;

use super::{Global, OutputFormat, error::CliError, open, screen::Screen};
use crate::{
    config::{Project, documents::Playbook},
    model::ExitCode,
    plan::{self, Installed, Purpose, Reading},
    report,
};

/// List hosts of the inventory
///
/// With `--output json`, everything the inventory says about each, the values of secrets excepted.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which hosts: `all`, `web-*`, `prod:&eu:!canary`, `tag=gpu`
    #[arg(default_value = "all")]
    selector: String,

    /// Ask the hosts for their versions and facts, and mark what differs from most
    #[arg(long)]
    facts: bool,

    /// With `--facts`: ask as this role says
    #[arg(long, value_name = "ROLE", requires = "facts")]
    role: Option<String>,
}

pub(super) async fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let project = open::project(global, screen)?;
    let names = open::select(&project, &args.selector)?;
    if args.facts {
        return tell_facts(args, &project, global, screen).await;
    }
    let hosts: Vec<_> = names.iter().map(|name| project.resolve_host(name)).collect();
    if screen.format == OutputFormat::Json {
        for host in &hosts {
            let mut line = host.to_json();
            line["jump"] = json!(host.jump);
            line["via"] = json!(host.via);
            line["become"] = json!(host.run_as.as_ref().map(|run_as| &run_as.user));
            line["vars"] = json!(host.vars);
            screen.print(&line.to_string())?;
        }
        return Ok(ExitCode::Good);
    }
    let rows: Vec<_> = hosts
        .iter()
        .map(|host| report::HostRow {
            name: host.name.to_string(),
            reached: reached(host),
            jump: host.jump.clone(),
            profile: host.profile.to_string(),
            groups: host.groups.iter().map(ToString::to_string).collect(),
            tags: host.tags.iter().map(ToString::to_string).collect(),
        })
        .collect();
    screen.print(&report::hosts(&rows, &screen.page()))?;
    Ok(ExitCode::Good)
}

/// Asks the hosts what is installed and what they are.
async fn tell_facts(args: &Args, project: &Project, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let role = super::check::role_of(project, args.role.as_ref())?;
    let playbook = Playbook::sweep(&args.selector, role);
    let now = jiff::Timestamp::now();
    let order = plan::Order::new(args.selector.clone(), Purpose::Check, project.root.clone(), now);
    let questions = plan::questions(project, &playbook, &order).map_err(CliError::Documents)?;
    let read = super::plan::ask(project, questions, global, screen).await?;
    if screen.format == OutputFormat::Json {
        for (host, reading) in &read {
            let known = reading.installed.version();
            let line = json!({
                "name": host, "version": known, "said": reading.installed.shown(), "facts": reading.facts,
            });
            screen.print(&line.to_string())?;
        }
    } else {
        screen.print(&report::facts(&read, &screen.page()))?;
    }
    let is_away = |reading: &Reading| matches!(reading.installed, Installed::Unreached(_));
    Ok(if read.values().any(is_away) { ExitCode::SomeUnreachable } else { ExitCode::Good })
}

/// `user@address:port`, or the host that runs its commands.
fn reached(host: &crate::config::ResolvedHost) -> String {
    if let Some(via) = &host.via {
        return via.clone();
    }
    let user = host.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let port = host.port.filter(|port| *port != 22).map(|port| format!(":{port}")).unwrap_or_default();
    format!("{user}{}{port}", host.address)
}

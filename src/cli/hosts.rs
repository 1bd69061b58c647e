//! `hosts`: who is in the inventory, and how each would be reached.

use serde_json::json;

use super::{Global, OutputFormat, error::CliError, open, screen::Screen};
use crate::{model::ExitCode, report};

/// List hosts of the inventory
///
/// With `--output json`, everything the inventory says about each, the values of secrets excepted.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which hosts: `all`, `web-*`, `prod:&eu:!canary`, `tag=gpu`
    #[arg(default_value = "all")]
    selector: String,
}

pub(super) fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let project = open::project(global, screen)?;
    let names = open::select(&project, &args.selector)?;
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

/// `user@address:port`, or the host that runs its commands.
fn reached(host: &crate::config::ResolvedHost) -> String {
    if let Some(via) = &host.via {
        return via.clone();
    }
    let user = host.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
    let port = host.port.filter(|port| *port != 22).map(|port| format!(":{port}")).unwrap_or_default();
    format!("{user}{}{port}", host.address)
}

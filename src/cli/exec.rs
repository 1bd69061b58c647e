//! `exec`: one command on many hosts, ad hoc, identical output folded.

use std::{io::Read as _, sync::Arc};

use super::{
    Global, OutputFormat,
    error::CliError,
    open,
    run::{About, Show, Workshop},
    screen::Screen,
};
use crate::{
    engine::{self, AdHoc},
    model::{ExitCode, RemoteCommand, Span},
    report,
};

/// Run one command on many hosts
///
/// The words after `--` are passed on as they are, each as one argument. With `--shell` they are one
/// text for `sh`. Identical output is folded.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Which hosts: `all`, `web-*`, `prod:&eu:!canary`, `tag=gpu`
    selector: String,

    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    command: Vec<String>,

    /// Hosts worked on together
    #[arg(long, default_value_t = 50, value_name = "N")]
    at_once: usize,

    /// Longest time for the command on each host
    #[arg(long, default_value = "5m", value_name = "TIME")]
    timeout: Span,

    /// Run the words as one text for `sh`
    #[arg(long)]
    shell: bool,

    /// Pass standard input on to the command on every host
    #[arg(long)]
    stdin: bool,

    /// Become this user by sudo, instead of what the inventory says; `login` for the login user
    #[arg(long = "become", value_name = "USER")]
    run_as: Option<String>,
}

/// Most that is passed on as standard input: it is kept in memory for all hosts.
const MAX_STDIN: u64 = 16 * 1024 * 1024;

pub(super) async fn run(args: &Args, global: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    let project = open::project(global, screen)?;
    let names = open::select(&project, &args.selector)?;
    let mut hosts = indexmap::IndexMap::new();
    for name in names {
        let host = project.resolve_host(&name);
        let mut target = crate::plan::target(&project, &host);
        match args.run_as.as_deref() {
            Some("login") => target.run_as = None,
            Some(user) => {
                let password = target.run_as.and_then(|run_as| run_as.password);
                target.run_as = Some(crate::transport::Become { user: user.to_owned(), password });
            }
            None => {}
        }
        hosts.insert(name, crate::plan::HostPlan::bare(target, host.profile.to_string()));
    }
    let mut stdin = Vec::new();
    if args.stdin {
        let read = std::io::stdin().lock().take(MAX_STDIN + 1).read_to_end(&mut stdin);
        read.map_err(|source| CliError::Read { path: "standard input".into(), source })?;
        if stdin.len() as u64 > MAX_STDIN {
            return Err(CliError::with_hint(
                "standard input is longer than 16 MiB",
                "a `file` step carries large files",
            ));
        }
    }
    let ad_hoc = Arc::new(AdHoc {
        command: RemoteCommand::new(args.command.clone()),
        shell: args.shell,
        hosts,
        at_once: args.at_once,
        timeout: Some(args.timeout.0),
        stdin,
    });
    let workshop = Workshop::open(&project.root, global, screen)?;
    workshop.mind_descriptors(ad_hoc.at_once);
    let about = About {
        title: ad_hoc.command.to_string(),
        purpose: "exec",
        digest: String::new(),
        hosts: ad_hoc.hosts.len(),
        show: if ad_hoc.hosts.len() > 1 { Show::Everything } else { Show::Nothing },
    };
    let ran = workshop.run("null", about, |means| engine::exec(Arc::clone(&ad_hoc), means)).await?;
    if screen.format == OutputFormat::Human {
        screen.print(&report::exec(&ran.state, &screen.page()))?;
    }
    Ok(ran.exit)
}

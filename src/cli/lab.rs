//! `lab`: an embedded fleet that keeps running, to try playbooks against, and that can misbehave.

use std::path::PathBuf;

use super::{Global, error::CliError, screen::Screen};
use crate::{
    lab::{Fault, Fleet, LabHost, LabOptions, app, control},
    model::{ExitCode, HostName},
    report::words,
};

/// Keep an embedded fleet running, to try playbooks against
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Start a fleet and keep it until Ctrl-C
    ///
    /// Writes its inventory, keys and a small product into the project folder. Every host is an SSH
    /// server in this process with a folder of its own. Nothing is left behind but the project.
    // It has a `--version` of its own, which the propagated one would clash with.
    #[command(disable_version_flag = true)]
    Up {
        /// Hosts to start
        #[arg(long, default_value_t = 4, value_name = "N")]
        hosts: usize,

        /// Project folder to write into
        #[arg(long, default_value = "lab", value_name = "DIR")]
        dir: PathBuf,

        /// Let a host misbehave: `web-3=hang`; again for more. `longshore lab faults` lists them
        #[arg(long, value_name = "HOST=FAULT")]
        fault: Vec<String>,

        /// Version that is installed on every host
        #[arg(long, default_value = "1.4.2", value_name = "VERSION")]
        installed: String,
    },
    /// Let a host of a running lab misbehave
    ///
    /// Faults add up until `none` takes them all away.
    Fault {
        /// Host of the lab
        host: String,
        /// The fault, or `none`; `longshore lab faults` lists them
        fault: String,
        /// Project folder of the lab; this one, or else `lab`, when left out
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// List the faults a lab host can have
    Faults,
}

/// Where the lab keeps its hosts, within the project folder.
const STATE: &str = ".lab";

pub(super) async fn run(args: &Args, _: &Global, screen: &Screen) -> Result<ExitCode, CliError> {
    match &args.what {
        What::Up { hosts, dir, fault, installed } => up(*hosts, dir, fault, installed, screen).await,
        What::Fault { host, fault, dir } => {
            let host = HostName::new(host.as_str()).map_err(|error| CliError::usage(error.to_string()))?;
            let lab = lab_folder(dir.as_deref());
            if fault == "none" {
                control::clear(&lab, &host).map_err(crate::lab::LabError::from)?;
            } else {
                control::set(&lab, &host, parse(fault)?).map_err(crate::lab::LabError::from)?;
            }
            let table = control::read(&lab).map_err(crate::lab::LabError::from)?;
            let set: Vec<String> = table
                .get(&host)
                .into_iter()
                .flat_map(crate::lab::Faults::iter)
                .map(|fault| fault.to_string())
                .collect();
            screen.say(&format!("{host}: {}", if set.is_empty() { "no faults".to_owned() } else { words::and(&set) }));
            Ok(ExitCode::Good)
        }
        What::Faults => {
            for (form, meaning) in Fault::reference() {
                screen.print(&format!("{form:<24} {meaning}"))?;
            }
            Ok(ExitCode::Good)
        }
    }
}

/// Where the lab is that is meant: who stands in a lab's project means that one.
fn lab_folder(dir: Option<&std::path::Path>) -> PathBuf {
    match dir {
        Some(dir) => dir.join(STATE),
        None if std::path::Path::new(STATE).is_dir() => PathBuf::from(STATE),
        None => std::path::Path::new("lab").join(STATE),
    }
}

async fn up(
    count: usize,
    dir: &std::path::Path,
    faults: &[String],
    installed: &str,
    screen: &Screen,
) -> Result<ExitCode, CliError> {
    let mut hosts: Vec<LabHost> = LabOptions::numbered(count).hosts;
    for text in faults {
        let Some((name, fault)) = text.split_once('=') else {
            return Err(CliError::with_hint(format!("`{text}` is not `HOST=FAULT`"), "for example `web-3=hang`"));
        };
        let fault = parse(fault)?;
        let Some(host) = hosts.iter_mut().find(|host| host.name.as_str() == name) else {
            return Err(CliError::usage(format!("the lab has no host `{name}`; its hosts are web-1 to web-{count}")));
        };
        host.faults.set(fault);
    }
    let installed = installed.to_owned();
    let hosts = hosts.into_iter().map(|host| {
        let installed = installed.clone();
        host.seed(move |home| app::seed(home, &app::Build::good(installed.clone()), &[app::Build::good("1.5.0")]))
    });
    std::fs::create_dir_all(dir).map_err(|source| CliError::Write { path: dir.to_path_buf(), source })?;
    let root = dir.canonicalize().map_err(|source| CliError::Read { path: dir.to_path_buf(), source })?.join(STATE);
    let options = LabOptions { hosts: hosts.collect(), root: Some(root), password: None, is_controllable: true };
    let fleet = Fleet::start(options).await?;
    let written = fleet.write_project(dir);
    if let Err(source) = written {
        fleet.stop().await?;
        return Err(CliError::Write { path: dir.to_path_buf(), source });
    }
    screen.say(&format!(
        "{} running; Ctrl-C ends them. In another terminal:\n  cd {}\n  longshore check all\n  longshore apply upgrade\n  longshore lab fault web-1 hang",
        words::count(count, "host"),
        dir.display()
    ));
    let (_sender, mut stop) = super::controls::listen(|_| {});
    // The sender lives as long as the process.
    let _ = stop.wait_for(|stop| *stop > crate::engine::Stop::No).await;
    fleet.stop().await?;
    let inventory = dir.join("inventory/lab.toml");
    // Hosts that are gone must not stay in an inventory.
    let _ = std::fs::remove_file(&inventory);
    Ok(ExitCode::Good)
}

fn parse(text: &str) -> Result<Fault, CliError> {
    text.parse().map_err(|error: crate::lab::FaultError| match error.hint() {
        Some(hint) => CliError::with_hint(error.to_string(), hint),
        None => CliError::usage(error.to_string()),
    })
}

//! A lab in this process with a project beside it, against which the binary runs.

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use longshore::{
    lab::{Fault, Fleet, LabOptions},
    model::HostName,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::program::{Ran, longshore, run};

/// Longest time that a test waits for something to happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Lab {
    runtime: Runtime,
    fleet: Option<Fleet>,
    folder: TempDir,
}

pub fn host(name: &str) -> HostName {
    HostName::new(name).unwrap()
}

impl Lab {
    /// Hosts `web-1`, `web-2`, ... with the shop; the new build does not become healthy on those in `broken`.
    pub fn new(hosts: usize, broken: &[&str]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let broken: Vec<_> = broken.iter().map(|name| host(name)).collect();
        let options = LabOptions::numbered(hosts).with_shop(&broken);
        let fleet = runtime.block_on(Fleet::start(options)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fleet.write_project(folder.path()).unwrap();
        Self { runtime, fleet: Some(fleet), folder }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The lab host's own directory.
    pub fn home(&self, name: &str) -> &Path {
        let hosts = self.fleet.as_ref().unwrap().hosts();
        &hosts.iter().find(|known| known.name.as_str() == name).unwrap().home
    }

    pub fn fault(&self, name: &str, fault: Fault) {
        assert!(self.fleet.as_ref().unwrap().set_fault(&host(name), fault));
    }

    pub fn mend(&self, name: &str) {
        assert!(self.fleet.as_ref().unwrap().clear_faults(&host(name)));
    }

    /// Writes a playbook `NAME.toml` and returns its name.
    pub fn playbook<'a>(&self, name: &'a str, text: &str) -> &'a str {
        fs::write(self.path().join(format!("playbooks/{name}.toml")), text).unwrap();
        name
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        run(self.path(), args)
    }

    /// Starts the binary and leaves it running.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut command = longshore(self.path(), args);
        Running(Some(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }

    /// Waits until a file is there on a lab host.
    pub fn wait_for(&self, name: &str, file: &str) {
        let path = self.home(name).join(file);
        let begun = Instant::now();
        while !path.exists() {
            assert!(begun.elapsed() < PATIENCE, "`{}` did not come", path.display());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let Some(fleet) = self.fleet.take() else { return };
        let stopped = self.runtime.block_on(fleet.stop());
        if !std::thread::panicking() {
            stopped.unwrap();
        }
    }
}

/// A running binary; killed when its test has failed.
pub struct Running(Option<Child>);

impl Running {
    pub fn interrupt(&self) {
        let child = self.0.as_ref().unwrap();
        let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
        nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).unwrap();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ran {
        Ran::from(&self.0.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

//! The lab as a project: inventory, host keys, and the shop's role and playbook, ready to be run.

use std::{fmt::Write as _, fs, io, net::SocketAddr, path::Path};

use russh::keys::PublicKey;

use super::{Fleet, LabError, bracketed};

/// Files of the demo project, by their path in it. They are also what the tests of the examples load.
pub const FILES: [(&str, &str); 4] = [
    ("roles/shop/role.toml", include_str!("demo/role.toml")),
    ("roles/shop/releases.toml", include_str!("demo/releases.toml")),
    ("roles/shop/CHANGELOG.md", include_str!("demo/CHANGELOG.md")),
    ("playbooks/upgrade.toml", include_str!("demo/playbook.toml")),
];

/// Stands behind each line that the lab writes into a project's `known_hosts`.
const COMMENT: &str = "longshore-lab";

/// A line of `known_hosts`, its line break included.
pub(super) fn known_host(address: SocketAddr, key: &PublicKey) -> Result<String, LabError> {
    let mut key = key.clone();
    key.set_comment(COMMENT);
    Ok(format!("{} {}\n", bracketed(address), key.to_openssh().map_err(LabError::Key)?))
}

impl Fleet {
    /// Returns the inventory of the lab, as a file of `inventory/`.
    pub fn inventory_toml(&self) -> String {
        let mut text = String::from("# The hosts of a lab. Written by `longshore`; gone with the lab.\n\n[defaults]\n");
        let text_of = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let key = text_of(&self.client_key.to_string_lossy());
        write!(text, "user = {}\nidentity-files = [{key}]\n", text_of(self.user()))
            .expect("writing to a text succeeds");
        for host in &self.addresses {
            write!(
                text,
                "\n[hosts.{}]\naddress = {}\nport = {}\nstate-dir = {}\n",
                text_of(host.name.as_str()),
                text_of(&host.address.to_string()),
                host.port,
                text_of(&host.home.join(".local/state/longshore").to_string_lossy())
            )
            .expect("writing to a text succeeds");
        }
        text
    }

    /// Writes the lab into a project: its inventory, its host keys, and the shop where it is not there yet.
    ///
    /// Host keys of others stay; those of earlier labs go.
    pub fn write_project(&self, project: &Path) -> io::Result<()> {
        fs::create_dir_all(project.join("inventory"))?;
        fs::write(project.join("inventory/lab.toml"), self.inventory_toml())?;
        let known_hosts = project.join("known_hosts");
        let old = match fs::read_to_string(&known_hosts) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let mut lines = String::new();
        for line in old.lines().filter(|line| !line.trim_end().ends_with(COMMENT)) {
            lines.push_str(line);
            lines.push('\n');
        }
        lines.push_str(&self.known_lines.concat());
        fs::write(known_hosts, lines)?;
        for (name, text) in FILES {
            let path = project.join(name);
            if !path.exists() {
                fs::create_dir_all(path.parent().unwrap_or(project))?;
                fs::write(path, text)?;
            }
        }
        Ok(())
    }
}

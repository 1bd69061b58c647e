//! Makes hosts of a running lab misbehave from another terminal, through one small file.
//!
//! `faults.toml` in the lab's directory always holds the whole truth: host by host, the faults set.
//! The lab looks at it twice a second. It can be read and edited by hand:
//!
//! ```toml
//! web-3 = ["hang"]
//! web-5 = ["slow=200ms", "full-disk"]
//! ```

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use super::{Fault, FaultError, Faults};
use crate::model::HostName;

/// The file's name in the lab's directory.
pub(super) const FILE: &str = "faults.toml";

/// Why the faults of a lab could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("no lab runs in `{path}`")]
    NoLab { path: PathBuf },
    #[error("cannot read `{path}`")]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot write `{path}`")]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`{path}` is not written as faults are")]
    Syntax {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("`{path}` names a wrong fault for `{host}`")]
    Fault {
        path: PathBuf,
        host: HostName,
        #[source]
        source: FaultError,
    },
    #[error("the lab has no host `{host}`")]
    Host { host: HostName },
}

/// The faults of a lab, host by host. Hosts without any are there, too.
pub type FaultTable = BTreeMap<HostName, Faults>;

/// Reads the faults of the lab that runs in `lab`.
pub fn read(lab: &Path) -> Result<FaultTable, ControlError> {
    let path = lab.join(FILE);
    let text = fs::read_to_string(&path).map_err(|source| {
        if source.kind() == io::ErrorKind::NotFound {
            ControlError::NoLab { path: lab.to_owned() }
        } else {
            ControlError::Read { path: path.clone(), source }
        }
    })?;
    parse(&path, &text)
}

/// Adds a fault to a host of the lab that runs in `lab`.
pub fn set(lab: &Path, host: &HostName, fault: Fault) -> Result<(), ControlError> {
    change(lab, host, |faults| faults.set(fault))
}

/// Makes a host of the lab that runs in `lab` behave again.
pub fn clear(lab: &Path, host: &HostName) -> Result<(), ControlError> {
    change(lab, host, Faults::clear)
}

fn change(lab: &Path, host: &HostName, how: impl FnOnce(&mut Faults)) -> Result<(), ControlError> {
    let mut table = read(lab)?;
    how(table.get_mut(host).ok_or_else(|| ControlError::Host { host: host.clone() })?);
    write(lab, &table)
}

/// Writes the whole table at once: a reader sees the old or the new one.
pub(super) fn write(lab: &Path, table: &FaultTable) -> Result<(), ControlError> {
    let texts: BTreeMap<&HostName, Vec<String>> =
        table.iter().map(|(host, faults)| (host, faults.iter().map(|fault| fault.to_string()).collect())).collect();
    let path = lab.join(FILE);
    let text = toml::to_string(&texts).expect("a table of lists of texts is TOML");
    let new = lab.join(format!("{FILE}.{}", std::process::id()));
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, &path))
        .map_err(|source| ControlError::Write { path: path.clone(), source })
}

pub(super) fn parse(path: &Path, text: &str) -> Result<FaultTable, ControlError> {
    let texts: BTreeMap<HostName, Vec<String>> = toml::from_str(text)
        .map_err(|source| ControlError::Syntax { path: path.to_owned(), source: Box::new(source) })?;
    texts
        .into_iter()
        .map(|(host, texts)| {
            let faults = texts
                .iter()
                .map(|text| text.parse())
                .collect::<Result<Faults, FaultError>>()
                .map_err(|source| ControlError::Fault { path: path.to_owned(), host: host.clone(), source })?;
            Ok((host, faults))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HostName {
        HostName::new(name).unwrap()
    }

    #[test]
    fn a_fault_set_from_outside_is_in_the_table_until_it_is_cleared() {
        let lab = tempfile::tempdir().unwrap();
        assert!(matches!(read(lab.path()), Err(ControlError::NoLab { .. })));
        write(lab.path(), &FaultTable::from([(host("web-1"), Faults::default()), (host("web-2"), Faults::default())]))
            .unwrap();
        set(lab.path(), &host("web-2"), Fault::Hang).unwrap();
        set(lab.path(), &host("web-2"), Fault::MaxSessions(1)).unwrap();
        assert_eq!(
            fs::read_to_string(lab.path().join(FILE)).unwrap(),
            "web-1 = []\nweb-2 = [\"hang\", \"max-sessions=1\"]\n"
        );
        clear(lab.path(), &host("web-2")).unwrap();
        assert!(read(lab.path()).unwrap().values().all(Faults::is_empty));
        assert!(matches!(set(lab.path(), &host("web-9"), Fault::Hang), Err(ControlError::Host { .. })));
    }

    #[test]
    fn a_wrong_fault_in_the_file_is_named_with_its_host() {
        let error = parse(Path::new("faults.toml"), "web-1 = ['hnag']").unwrap_err();
        assert_eq!(error.to_string(), "`faults.toml` names a wrong fault for `web-1`");
    }
}

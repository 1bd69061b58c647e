//! Brings a copy that `collect` brought from one host to another host.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ControllerWork, Done, LargeFile, Problem, Progress, Reach, Size, StepError, StepKind, Template, Undoing, Work,
    backup::TOOLS, copies::name_problem, local_file, shell, upload::large_file,
};
use crate::{
    model::{Effect, HostName, Receipt, Redactor, clean, quote},
    transport::Exec,
};

/// Brings the newest copy that `collect` brought from another host to this one, as if it had been made here.
///
/// A `restore` with `latest` finds it then. What is there already is not sent again, and half of it is gone on with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Deliver {
    /// The host whose copy it is.
    pub host: String,
    /// The copies' name.
    pub name: String,
    /// Folder on the controller, as `to` of `collect`: absolute, below `~/`, or relative to the document's.
    pub from: String,
    /// Folder on the host to put it in: absolute, or below `~/`. Made where it is missing.
    pub folder: String,
}

/// Longest time for the short programs around the upload; the host digests a large file in one of them.
const QUESTION: Duration = Duration::from_mins(10);

impl StepKind for Deliver {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "host", &mut self.host);
        visit(Template::Text, "name", &mut self.name);
        visit(Template::Text, "folder", &mut self.folder);
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = shell::path_problem("folder", Some(&self.folder)).into_iter().collect();
        problems.extend(name_problem(&self.name));
        problems.extend(local_file::problem("from", &self.from));
        if !self.host.contains("{{")
            && let Err(error) = HostName::new(&self.host)
        {
            problems.push(Problem::new("host", error.to_string()));
        }
        problems
    }

    fn load(&mut self, base: &Path) -> Result<(), StepError> {
        let from = local_file::locate(base, &local_file::at_home(&self.from).to_string_lossy());
        self.from = std::path::absolute(&from).unwrap_or(from).to_string_lossy().into_owned();
        Ok(())
    }

    fn summary(&self) -> String {
        let name = Redactor::mask(&self.name);
        shell::one_line(&format!("bring {}'s newest {name}-* to {}", self.host, Redactor::mask(&self.folder)))
    }

    fn effect(&self) -> Effect {
        // It adds files beside what runs.
        Effect::Code
    }

    fn timeout(&self) -> Duration {
        Duration::from_hours(2)
    }

    fn is_repeat_safe(&self) -> bool {
        true
    }

    fn undo(&self) -> Undoing {
        Undoing::Nothing
    }

    fn work(&self) -> Work<'_> {
        Work::Controller(self)
    }
}

#[async_trait]
impl ControllerWork for Deliver {
    async fn look(&self, reach: &Reach<'_>) -> Result<Option<String>, StepError> {
        let copy = self.newest().await?;
        if self.is_there(reach, &copy).await? {
            return Ok(None);
        }
        Ok(Some(format!("would bring {} ({})", copy.name, Size(copy.upload.size))))
    }

    async fn act(&self, reach: &Reach<'_>) -> Result<Done, StepError> {
        let copy = self.newest().await?;
        let changed = !self.is_there(reach, &copy).await?;
        if changed {
            self.send(reach, &copy.name, &copy.upload, reach.progress).await?;
            // A copy counts only with its receipt, which comes last.
            self.send(reach, &format!("{}.receipt", copy.name), &copy.receipt, &|_| {}).await?;
        }
        let receipt = Receipt::default()
            .with("file", format!("{}/{}", self.folder.trim_end_matches('/'), copy.name))
            .with("size", copy.upload.size.to_string())
            .with("sha256", copy.upload.sha256);
        Ok(Done { changed, receipt, probe: None })
    }
}

/// A copy on the controller.
struct Collected {
    name: String,
    upload: LargeFile,
    receipt: LargeFile,
}

impl Deliver {
    /// The newest copy here that is what its receipt says.
    async fn newest(&self) -> Result<Collected, StepError> {
        let (folder, name) = (PathBuf::from(&self.from).join(&self.host), self.name.clone());
        let found = tokio::task::spawn_blocking(move || newest_in(&folder, &name)).await;
        found.map_err(|error| StepError::Refused(error.to_string()))?
    }

    fn exec(&self, reach: &Reach<'_>, text: &str) -> Exec {
        let text = format!("{TOOLS}to={}\n{text}", shell::path_word(&self.folder));
        let mut exec = Exec::script(text).timeout(QUESTION);
        exec.run_as.clone_from(&reach.run_as);
        exec.secrets = shell::secrets_in(&exec.program, reach.redactor);
        exec
    }

    async fn run(&self, reach: &Reach<'_>, text: &str) -> Result<String, StepError> {
        let ended = reach.session.run(self.exec(reach, text), &mut ()).await?;
        if ended.is_success() {
            return Ok(ended.out.text());
        }
        let output = clean(&ended.err.bytes()).lines().map(str::to_owned).collect();
        Err(StepError::Ended { program: "bringing a copy".to_owned(), status: ended.status, output })
    }

    async fn is_there(&self, reach: &Reach<'_>, copy: &Collected) -> Result<bool, StepError> {
        let text = format!(
            "f=$to/{name}\n[ -f \"$f.receipt\" ] && [ -f \"$f\" ] && [ \"$(bytes_of \"$f\")\" = {size} ] &&\n\
             [ \"$(sum_of \"$f\")\" = {sum} ] && echo there || echo away\n",
            name = quote(&copy.name),
            size = copy.upload.size,
            sum = quote(&copy.upload.sha256),
        );
        Ok(self.run(reach, &text).await?.trim() == "there")
    }

    /// Sends one file under a name of its own, and renames it.
    async fn send(
        &self,
        reach: &Reach<'_>,
        name: &str,
        file: &LargeFile,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<(), StepError> {
        let folder = shell::path_word(&self.folder);
        let part = format!("{folder}/{}", quote(&format!(".{name}.part")));
        large_file(reach.session, reach.run_as.clone(), file, &part, progress).await?;
        let name = quote(name);
        self.run(
            reach,
            &format!("mv -f -- \"$to\"/.{name}.part \"$to\"/{name} || die 'cannot rename the copy'\nsync\n"),
        )
        .await?;
        Ok(())
    }
}

/// The newest copy of a name in a folder of the controller's that is what its receipt says.
fn newest_in(folder: &Path, name: &str) -> Result<Collected, StepError> {
    let wrap = |source| StepError::LocalFile { path: folder.display().to_string(), source };
    let none = || {
        StepError::Refused(format!(
            "no copy named {name}-* with a receipt lies in {} on the controller",
            folder.display()
        ))
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(none()),
        entries => entries.map_err(wrap)?,
    };
    let mut receipts: Vec<(String, PathBuf)> = Vec::new();
    for entry in entries {
        let path = entry.map_err(wrap)?.path();
        let Some(file) = path.file_name().and_then(|file| file.to_str()) else { continue };
        let stamp = file.strip_prefix(name).and_then(|rest| rest.strip_prefix('-')?.strip_suffix(".receipt"));
        // The names of other copies may begin alike: what follows is a time.
        if let Some(stamp) = stamp.filter(|stamp| stamp.as_bytes().get(8) == Some(&b'T')) {
            receipts.push((stamp.to_owned(), path));
        }
    }
    receipts.sort();
    let (_, receipt) = receipts.pop().ok_or_else(none)?;
    let copy = receipt.with_extension("");
    let text = fs::read_to_string(&receipt).map_err(wrap)?;
    let fact = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).unwrap_or_default();
    let (size, sha256) = local_file::digest(&copy)?;
    if size.to_string() != fact("size") || sha256 != fact("sha256") {
        return Err(StepError::Refused(format!("{} is not what its receipt says", copy.display())));
    }
    let (length, digest) = local_file::digest(&receipt)?;
    let name = copy.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Collected {
        name,
        upload: LargeFile { from: copy, size, sha256 },
        receipt: LargeFile { from: receipt, size: length, sha256: digest },
    })
}

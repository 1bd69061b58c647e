//! Brings the newest copy that a `backup` step left to the controller, with its receipt.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ControllerWork, Done, Fetch, Problem, Reach, Size, StepError, StepKind, Template, Undoing, Work,
    backup::{Keep, TOOLS},
    copies::{self, SavedCopy, name_problem},
    local_file, shell,
};
use crate::{
    model::{Effect, Receipt, Redactor, clean, quote},
    transport::{Exec, local::LocalTransport},
};

/// Brings the newest proven copy to the controller, with its receipt: a copy that outlives the host.
///
/// It is compared with the receipt by length and sha256. What must not lie readable on the controller is encrypted where
/// it is made, by `encrypt` of `backup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Collect {
    /// Folder of the copies on the host: absolute, or below `~/`.
    pub folder: String,
    /// The copies' name.
    pub name: String,
    /// Folder on the controller: absolute, below `~/`, or relative to the document's. The copy comes into a folder of the
    /// host's name in it, readable by its owner only.
    pub to: String,
    /// Largest copy accepted. `64GiB` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// Which of the collected copies stay on the controller. All when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
}

/// Largest copy brought unless the step says otherwise.
const MAX: Size = Size(64 << 30);

/// Free space that must remain on the controller.
const RESERVE: u64 = 256 << 20;

/// Longest time to list the copies.
const LIST_WITHIN: Duration = Duration::from_mins(1);

impl StepKind for Collect {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "folder", &mut self.folder);
        visit(Template::Text, "name", &mut self.name);
        if let Some(max) = &mut self.max {
            visit(Template::Text, "max", max);
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = shell::path_problem("folder", Some(&self.folder)).into_iter().collect();
        problems.extend(name_problem(&self.name));
        problems.extend(local_file::problem("to", &self.to));
        if let Some(max) = self.max.as_deref().filter(|max| !max.contains("{{"))
            && let Err(message) = max.parse::<Size>()
        {
            problems.push(Problem::new("max", message));
        }
        problems.extend(self.keep.as_ref().and_then(|keep| keep.problem("keep")));
        problems
    }

    fn load(&mut self, base: &Path) -> Result<(), StepError> {
        let to = local_file::locate(base, &local_file::at_home(&self.to).to_string_lossy());
        self.to = std::path::absolute(&to).unwrap_or(to).to_string_lossy().into_owned();
        Ok(())
    }

    fn summary(&self) -> String {
        let what = format!("bring the newest {}/{}-* here", Redactor::mask(&self.folder), Redactor::mask(&self.name));
        shell::one_line(&what)
    }

    fn effect(&self) -> Effect {
        Effect::Read
    }

    fn timeout(&self) -> Duration {
        Duration::from_hours(2)
    }

    fn is_repeat_safe(&self) -> bool {
        true
    }

    fn undo(&self) -> Undoing {
        // A copy is not thrown away because something else failed.
        Undoing::Nothing
    }

    fn work(&self) -> Work<'_> {
        Work::Controller(self)
    }
}

#[async_trait]
impl ControllerWork for Collect {
    async fn look(&self, reach: &Reach<'_>) -> Result<Option<String>, StepError> {
        let copy = self.newest(reach).await?;
        let place = self.folder(reach)?.join(copy.name());
        if is_here(&place, &copy).await? {
            return Ok(None);
        }
        let size = copy.size().map(|size| format!(" ({})", Size(size))).unwrap_or_default();
        Ok(Some(format!("would bring {}{size}", copy.name())))
    }

    async fn act(&self, reach: &Reach<'_>) -> Result<Done, StepError> {
        let copy = self.newest(reach).await?;
        let folder = self.folder(reach)?;
        let place = folder.join(copy.name());
        let changed = !is_here(&place, &copy).await?;
        if changed {
            self.bring(reach, &copy, &folder).await?;
        }
        let removed = match &self.keep {
            Some(keep) => self.prune(keep, &folder).await?,
            None => 0,
        };
        let mut receipt = Receipt::default().with("path", place.display().to_string());
        for fact in ["size", "sha256", "made", "rows", "head"] {
            if let Some(value) = copy.fact(fact) {
                receipt = receipt.with(fact, value.to_owned());
            }
        }
        Ok(Done { changed, receipt: receipt.with("removed", removed.to_string()), probe: None })
    }
}

impl Collect {
    async fn newest(&self, reach: &Reach<'_>) -> Result<SavedCopy, StepError> {
        let copies = copies::ask(reach, &self.folder, &self.name, LIST_WITHIN).await?;
        let copy = copies.into_iter().rev().find(|copy| copy.flaw.is_none()).ok_or_else(|| {
            let (folder, name) = (Redactor::mask(&self.folder), Redactor::mask(&self.name));
            StepError::Refused(format!("no proven copy named {name}-* lies in {folder}"))
        })?;
        if copy.fact("id").is_some() {
            let why = format!("{} is kept elsewhere: there is no file to bring", copy.name());
            return Err(StepError::Refused(why));
        }
        let name = copy.name();
        // It becomes part of a path of ours.
        if name.starts_with('.') || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(StepError::Refused(format!("the copy `{name}` has a name that no backup gives")));
        }
        Ok(copy)
    }

    /// The folder of the host on the controller.
    fn folder(&self, reach: &Reach<'_>) -> Result<PathBuf, StepError> {
        let host = reach.words.get("host").filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| StepError::Refused("the step does not know its host's name".to_owned()))?;
        Ok(PathBuf::from(&self.to).join(host))
    }

    async fn bring(&self, reach: &Reach<'_>, copy: &SavedCopy, folder: &Path) -> Result<(), StepError> {
        let wrap = |source| StepError::LocalWrite { path: folder.display().to_string(), source };
        let size = copy.size().unwrap_or_default();
        let max = self.max.as_deref().map_or(Ok(MAX), str::parse::<Size>).map_err(StepError::Refused)?;
        if size > max.0 {
            return Err(StepError::Refused(format!("{} has {}, more than {max}", copy.file, Size(size))));
        }
        private_folder(folder).map_err(wrap)?;
        let free = nix::sys::statvfs::statvfs(folder)
            .map(|disk| disk.blocks_available() * disk.fragment_size())
            .map_err(|error| wrap(error.into()))?;
        if free < size.saturating_add(RESERVE) {
            return Err(StepError::Refused(format!(
                "not enough room below {}: {} free, {} to bring and {} to keep free",
                folder.display(),
                Size(free),
                Size(size),
                Size(RESERVE)
            )));
        }
        let fetch = |from: String| Fetch { from, to: None, max: Some(format!("{}B", max.0)), optional: false };
        let place = folder.join(copy.name());
        let came = fetch(copy.file.clone()).bring(reach, size, &place).await?;
        let wanted = copy.fact("sha256").unwrap_or_default();
        if came.size != size || came.sha256 != wanted {
            fs::remove_file(&place).map_err(wrap)?;
            return Err(StepError::Refused(format!(
                "{} is not the copy that was proven: its {} differs from its receipt's",
                copy.file,
                if came.size == size { "sha256" } else { "length" }
            )));
        }
        // A copy counts only with its receipt, which comes last.
        let receipt = format!("{}.receipt", copy.file);
        fetch(receipt).bring(reach, 0, &folder.join(format!("{}.receipt", copy.name()))).await?;
        Ok(())
    }

    /// Removes what no rule keeps, by the same rule as on the hosts; returns how many.
    async fn prune(&self, keep: &Keep, folder: &Path) -> Result<u64, StepError> {
        let text = format!(
            "{TOOLS}LONGSHORE_STEP_DIR=$(mktemp -d) || die 'there is no room for temporary files'\n\
             trap 'rm -rf -- \"$LONGSHORE_STEP_DIR\"' EXIT\nto={}\nname={}\n{}",
            quote(&folder.to_string_lossy()),
            quote(&self.name),
            keep.prune()
        );
        let ended = LocalTransport::new().session().run(Exec::script(text).timeout(LIST_WITHIN), &mut ()).await?;
        if !ended.is_success() {
            let output = clean(&ended.err.bytes()).lines().map(str::to_owned).collect();
            let program = "removing copies that no rule keeps".to_owned();
            return Err(StepError::Ended { program, status: ended.status, output });
        }
        let said = ended.out.text();
        let removed = said.lines().find_map(|line| line.strip_prefix("longshore-receipt removed "));
        Ok(removed.and_then(|count| count.parse().ok()).unwrap_or_default())
    }
}

/// Makes a folder, and those above it, for their owner only.
fn private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Whether the very copy is here already, with its receipt.
async fn is_here(place: &Path, copy: &SavedCopy) -> Result<bool, StepError> {
    let mut receipt = place.as_os_str().to_owned();
    receipt.push(".receipt");
    let is_long_enough = fs::metadata(place).is_ok_and(|there| Some(there.len()) == copy.size());
    if !is_long_enough || !Path::new(&receipt).is_file() {
        return Ok(false);
    }
    let path = place.to_owned();
    let digested = tokio::task::spawn_blocking(move || local_file::digest(&path)).await;
    let (_, digest) = digested.map_err(|error| StepError::Refused(error.to_string()))??;
    Ok(copy.fact("sha256") == Some(digest.as_str()))
}

#[cfg(test)]
mod tests;

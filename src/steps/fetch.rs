//! Brings a file from the host to the controller.

use std::{
    io,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{
    ControllerWork, Done, Problem, Progress, Reach, Size, StepError, StepKind, Template, Undoing, Work, local_file,
    shell,
};
use crate::{
    model::{Effect, Receipt, Redactor, clean},
    transport::{Exec, Status},
};

/// Brings a file from the host to the run's folder on the controller, readable by its owner only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Fetch {
    /// Path on the host: absolute, or below `~/`.
    pub from: String,
    /// Where to put it, below the host's folder of the run. The file's own name when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Largest file accepted: `64MiB` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<String>,
    /// Whether it is no error that the file is not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub optional: bool,
}

impl StepKind for Fetch {
    fn templates(&mut self, visit: &mut dyn FnMut(Template, &str, &mut String)) {
        visit(Template::Text, "from", &mut self.from);
        if let Some(to) = &mut self.to {
            visit(Template::Text, "to", to);
        }
        if let Some(max) = &mut self.max {
            visit(Template::Text, "max", max);
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<_> = shell::path_problem("from", Some(&self.from)).into_iter().collect();
        if self.from.ends_with('/') {
            problems.push(Problem::new("from", "the path names a folder; only a file can be fetched"));
        }
        if let Some(max) = self.max.as_deref().filter(|max| !max.contains("{{"))
            && let Err(message) = max.parse::<Size>()
        {
            problems.push(Problem::new("max", message));
        }
        if let Some(to) = self.to.as_deref().filter(|to| !to.contains("{{"))
            && let Err(message) = local_place(to)
        {
            problems.push(Problem::new("to", message).hint("name a path inside the run's folder: `logs/app.log`"));
        }
        problems
    }

    fn summary(&self) -> String {
        shell::one_line(&format!("fetch {}", Redactor::mask(&self.from)))
    }

    fn effect(&self) -> Effect {
        Effect::Read
    }

    fn timeout(&self) -> Duration {
        Duration::from_mins(10)
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

/// Largest file fetched unless the step says otherwise.
const MAX: Size = Size(64 << 20);

#[async_trait]
impl ControllerWork for Fetch {
    async fn look(&self, reach: &Reach<'_>) -> Result<Option<String>, StepError> {
        Ok(self.size(reach).await?.map(|size| format!("would fetch {} ({})", Redactor::mask(&self.from), Size(size))))
    }

    async fn act(&self, reach: &Reach<'_>) -> Result<Done, StepError> {
        let Some(size) = self.size(reach).await? else {
            return Ok(Done { receipt: Receipt::default().with("found", "no"), ..Done::default() });
        };
        let to = reach.local.join(self.place()?);
        let written = self.bring(reach, size, &to).await?;
        let receipt = Receipt::default()
            .with("path", to.display().to_string())
            .with("size", written.size.to_string())
            .with("sha256", written.sha256);
        Ok(Done { changed: true, receipt, probe: None })
    }
}

impl Fetch {
    fn limit(&self) -> Result<u64, StepError> {
        self.max.as_deref().map_or(Ok(MAX), str::parse).map(|Size(max)| max).map_err(StepError::Refused)
    }

    /// The local path below the run's folder.
    fn place(&self) -> Result<PathBuf, StepError> {
        let name = self.from.rsplit('/').next().unwrap_or_default();
        local_place(self.to.as_deref().unwrap_or(name)).map_err(StepError::Refused)
    }

    fn exec(reach: &Reach<'_>, text: String) -> Exec {
        let mut exec = Exec::script(text);
        exec.run_as.clone_from(&reach.run_as);
        exec.secrets = shell::secrets_in(&exec.program, reach.redactor);
        exec
    }

    /// The size of the file on the host; `None` where it may be missing, and is.
    async fn size(&self, reach: &Reach<'_>) -> Result<Option<u64>, StepError> {
        let word = shell::path_word(&self.from);
        let text = format!(
            "f={word}\n[ -e \"$f\" ] || exit 44\n[ -f \"$f\" ] || exit 45\n[ -r \"$f\" ] || exit 46\nwc -c <\"$f\"\n"
        );
        let ended = reach.session.run(Self::exec(reach, text).timeout(Duration::from_mins(1)), &mut ()).await?;
        let path = Redactor::mask(&self.from);
        let size = match ended.status {
            Status::Exited(0) => ended.out.text().trim().parse::<u64>().ok(),
            Status::Exited(44) if self.optional => return Ok(None),
            Status::Exited(44) => return Err(StepError::Refused(format!("there is no file `{path}` on the host"))),
            Status::Exited(45) => return Err(StepError::Refused(format!("`{path}` on the host is not a file"))),
            Status::Exited(46) => return Err(StepError::Refused(format!("`{path}` on the host cannot be read"))),
            _ => None,
        };
        let Some(size) = size else {
            let output = clean(&ended.err.bytes()).lines().map(str::to_owned).collect();
            return Err(StepError::Ended { program: format!("wc -c <{path}"), status: ended.status, output });
        };
        let limit = self.limit()?;
        if size > limit {
            return Err(StepError::Refused(format!("`{path}` has {}, more than {}", Size(size), Size(limit))));
        }
        Ok(Some(size))
    }

    /// Streams the file into a temporary one beside `to`, and renames it.
    pub(super) async fn bring(&self, reach: &Reach<'_>, size: u64, to: &Path) -> Result<Written, StepError> {
        let wrap = |source| StepError::LocalWrite { path: to.display().to_string(), source };
        let folder = to.parent().unwrap_or(&reach.local).to_owned();
        let mut builder = tokio::fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&folder).await.map_err(wrap)?;
        let part = Part::new(to);
        let file =
            tokio::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part.0).await.map_err(wrap)?;
        let mut bounded = Bounded::new(file, self.limit()?, size, reach.progress);
        let exec = Self::exec(reach, format!("exec cat {}\n", shell::path_word(&self.from)));
        let ended = match reach.session.pull(exec, &mut bounded).await {
            Ok(ended) => ended,
            // The limit is ours and says more than the error of the stream.
            Err(_) if bounded.is_over => {
                let limit = Size(self.limit()?);
                return Err(StepError::Refused(format!("`{}` grew beyond {limit}", Redactor::mask(&self.from))));
            }
            Err(error) => return Err(error.into()),
        };
        if !ended.is_success() {
            let output = clean(&ended.err.bytes()).lines().map(str::to_owned).collect();
            return Err(StepError::Ended { program: "cat".to_owned(), status: ended.status, output });
        }
        let (file, written) = bounded.finish().await.map_err(wrap)?;
        file.sync_all().await.map_err(wrap)?;
        tokio::fs::rename(&part.0, to).await.map_err(wrap)?;
        Ok(written)
    }
}

/// What came.
pub(super) struct Written {
    pub size: u64,
    pub sha256: String,
}

/// A temporary file, removed unless it was renamed.
struct Part(PathBuf);

impl Part {
    fn new(to: &Path) -> Self {
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        Self(to.with_file_name(format!(".{name}.{:08x}", rand::random::<u32>())))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Gone already where all went well.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A file that takes no more than its limit, and counts and digests what it takes.
struct Bounded<'a> {
    file: tokio::fs::File,
    limit: u64,
    expected: u64,
    size: u64,
    digest: Sha256,
    is_over: bool,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl<'a> Bounded<'a> {
    fn new(file: tokio::fs::File, limit: u64, expected: u64, progress: &'a (dyn Fn(Progress) + Send + Sync)) -> Self {
        Self { file, limit, expected, size: 0, digest: Sha256::new(), is_over: false, progress }
    }

    async fn finish(mut self) -> io::Result<(tokio::fs::File, Written)> {
        self.file.flush().await?;
        Ok((self.file, Written { size: self.size, sha256: local_file::hex(&self.digest.finalize()) }))
    }
}

impl AsyncWrite for Bounded<'_> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.size + bytes.len() as u64 > self.limit {
            self.is_over = true;
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::FileTooLarge, "the limit is reached")));
        }
        let written = ready!(Pin::new(&mut self.file).poll_write(cx, bytes))?;
        self.digest.update(&bytes[..written]);
        self.size += written as u64;
        (self.progress)(Progress::Bytes { done: self.size, of: self.expected.max(self.size) });
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_shutdown(cx)
    }
}

/// Returns a local path as it lies below the run's folder, which it must not leave.
fn local_place(to: &str) -> Result<std::path::PathBuf, String> {
    use std::path::{Component, Path, PathBuf};
    let mut place = PathBuf::new();
    for component in Path::new(to).components() {
        match component {
            Component::Normal(part) => place.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(format!("`{to}` leaves the run's folder"));
            }
        }
    }
    if place.as_os_str().is_empty() || to.ends_with('/') {
        return Err(format!("`{to}` does not name a file"));
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::steps::stand::Stand;

    fn fetch(stand: &Stand, from: &str) -> Fetch {
        Fetch { from: stand.at(from), to: None, max: None, optional: false }
    }

    async fn act(stand: &Stand, step: &Fetch) -> Result<Done, StepError> {
        stand.with(async |reach| step.act(reach).await).await
    }

    #[tokio::test]
    async fn a_file_comes_as_it_is_and_for_its_owner_only() {
        let stand = Stand::new();
        let content: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        fs::write(stand.path("it's $(here)"), &content).expect("writable");
        let step = Fetch { to: Some("logs/app.log".to_owned()), ..fetch(&stand, "it's $(here)") };
        let looked = stand.with(async |reach| step.look(reach).await).await.expect("looked");
        assert!(looked.is_some_and(|seen| seen.ends_with("(292.9KiB)")));
        let done = act(&stand, &step).await.expect("fetched");
        let to = stand.path("local/logs/app.log");
        assert!(fs::read(&to).expect("there") == content);
        assert_eq!(fs::metadata(&to).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(stand.path("local")).expect("there").permissions().mode() & 0o777, 0o700);
        assert_eq!((done.receipt.get("size"), done.receipt.get("path")), (Some("300000"), to.to_str()));
        assert_eq!(done.receipt.get("sha256").map(str::len), Some(64));
        act(&stand, &step).await.expect("fetched again");
        assert_eq!(fs::read_dir(stand.path("local/logs")).expect("there").count(), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_fetched_is_said_and_leaves_nothing() {
        let stand = Stand::new();
        fs::write(stand.path("large"), vec![0; 5000]).expect("writable");
        fs::create_dir(stand.path("folder")).expect("writable");
        let large = Fetch { max: Some("4KiB".to_owned()), ..fetch(&stand, "large") };
        for (step, said) in [
            (fetch(&stand, "away"), "there is no file"),
            (fetch(&stand, "folder"), "is not a file"),
            (large, "has 4.8KiB, more than 4KiB"),
        ] {
            let error = act(&stand, &step).await.expect_err(said);
            assert!(error.to_string().contains(said), "{error}");
        }
        let optional = Fetch { optional: true, ..fetch(&stand, "away") };
        assert_eq!(act(&stand, &optional).await.expect("optional").receipt.get("found"), Some("no"));
        assert!(!stand.path("local").exists());
    }

    #[tokio::test]
    async fn a_file_that_grows_beyond_the_limit_is_cut_off() {
        let stand = Stand::new();
        fs::write(stand.path("log"), vec![0; 200_000]).expect("writable");
        let step = Fetch { max: Some("100KiB".to_owned()), ..fetch(&stand, "log") };
        let error = stand
            .with(async |reach| step.bring(reach, 10, &stand.path("local/log")).await.map(|_| ()))
            .await
            .expect_err("too large");
        assert!(error.to_string().contains("grew beyond 100KiB"), "{error}");
        assert_eq!(fs::read_dir(stand.path("local")).expect("there").count(), 0);
    }

    #[test]
    fn a_local_path_stays_below_the_runs_folder() {
        for bad in ["/etc/passwd", "../x", "a/../../x", "", ".", "a/"] {
            assert!(local_place(bad).is_err(), "{bad:?}");
        }
        assert_eq!(local_place("./a/b").expect("inside"), PathBuf::from("a/b"));
    }
}

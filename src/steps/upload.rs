//! Brings what a step needs to the host: a large local file goes on where an earlier attempt stopped.

use std::{
    io::{self, SeekFrom},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, ReadBuf},
};

use super::{LargeFile, Progress, StepError, Upload, local_file::hex, replace::SHA256, shape::Size, tree};
use crate::{
    model::{Secret, clean},
    transport::{Exec, Session, Status, TransportError},
};

/// Longest time in which not a byte goes out. Far less would cut off slow disks and slow links.
const STALL: Duration = Duration::from_mins(2);

/// Longest time for the questions before and after: the host digests a large file.
const QUESTION: Duration = Duration::from_mins(10);

type RunAs = Option<(String, Option<Secret>)>;

/// Brings what a step needs to `path` on the host, which is a shell expression (one word, quoted).
pub async fn upload(
    session: &Arc<dyn Session>,
    run_as: RunAs,
    upload: &Upload,
    path: &str,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(), StepError> {
    match upload {
        Upload::File(file) => large_file(session, run_as, file, path, progress).await,
        Upload::Tree(of) => tree::send(session, run_as, of, path, progress).await,
    }
}

/// Brings a file to `path` on the host, which is a shell expression (one word, quoted); its folder is made where missing.
///
/// What is there already is kept if it is the beginning of the file. The file is whole when this
/// returns `Ok`: its size, and its digest where the host can make one, are those of the plan.
pub(super) async fn large_file(
    session: &Arc<dyn Session>,
    run_as: RunAs,
    upload: &LargeFile,
    path: &str,
    progress: &(dyn Fn(Progress) + Send + Sync),
) -> Result<(), StepError> {
    let local = upload.from.display().to_string();
    let wrap = |source| StepError::LocalFile { path: local.clone(), source };
    let mut file = File::open(&upload.from).await.map_err(wrap)?;
    let size = file.metadata().await.map_err(wrap)?.len();
    if size != upload.size {
        return Err(StepError::Refused(format!(
            "`{local}` has changed since the plan was made: it has {}, not {}",
            Size(size),
            Size(upload.size)
        )));
    }
    let host = Host { session, run_as: &run_as, path };
    let mut have = host.beginning(&mut file, upload).await.map_err(|error| error.or_local(&local))?;
    if have < upload.size {
        have = host.send(file, have, upload, progress).await.map_err(|error| error.or_local(&local))?;
    }
    let (there, digest) = host.state().await?;
    if there != upload.size || digest.as_ref().is_some_and(|digest| *digest != upload.sha256) {
        host.run("rm -f \"$f\"\n", QUESTION).await?;
        let why = if there == upload.size && have == upload.size {
            format!("`{local}` has changed since the plan was made, or was damaged on its way")
        } else {
            format!("of `{local}` {} arrived instead of {}", Size(there), Size(upload.size))
        };
        return Err(StepError::Refused(why));
    }
    progress(Progress::Bytes { done: upload.size, of: upload.size });
    Ok(())
}

/// Trouble of the local file, or of anything else.
enum Trouble {
    Local(io::Error),
    Step(StepError),
}

impl Trouble {
    fn or_local(self, path: &str) -> StepError {
        match self {
            Self::Local(source) => StepError::LocalFile { path: path.to_owned(), source },
            Self::Step(error) => error,
        }
    }
}

impl From<StepError> for Trouble {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

impl From<TransportError> for Trouble {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Local { source, .. } => Self::Local(source),
            error => Self::Step(error.into()),
        }
    }
}

/// The file on the host.
struct Host<'a> {
    session: &'a Arc<dyn Session>,
    run_as: &'a RunAs,
    path: &'a str,
}

impl Host<'_> {
    fn exec(&self, text: &str) -> Exec {
        let mut exec = Exec::script(format!("umask 077\nf={}\n{text}", self.path));
        exec.run_as.clone_from(self.run_as);
        exec
    }

    async fn run(&self, text: &str, limit: Duration) -> Result<String, StepError> {
        let ended = self.session.run(self.exec(text).timeout(limit), &mut ()).await?;
        if ended.is_success() {
            return Ok(ended.out.text());
        }
        let output = clean(&ended.err.bytes()).lines().map(str::to_owned).collect();
        Err(StepError::Ended { program: "bringing a file to the host".to_owned(), status: ended.status, output })
    }

    /// How much is there, and its digest where the host can make one.
    async fn state(&self) -> Result<(u64, Option<String>), StepError> {
        let text = format!(
            "{SHA256}mkdir -p \"${{f%/*}}\" || exit 1\n\
             if [ -f \"$f\" ]; then echo \"$(wc -c <\"$f\")\" \"$(longshore_sha256 \"$f\")\"; else echo 0; fi\n"
        );
        let said = self.run(&text, QUESTION).await?;
        let mut words = said.split_whitespace();
        let size = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
        Ok((size, words.next().map(str::to_lowercase)))
    }

    /// How much of the file is there; what is not its beginning is removed.
    async fn beginning(&self, file: &mut File, upload: &LargeFile) -> Result<u64, Trouble> {
        let (there, digest) = self.state().await?;
        if there == 0 {
            return Ok(0);
        }
        let is_beginning = match digest {
            Some(digest) if there == upload.size => digest == upload.sha256,
            Some(digest) if there < upload.size => digest == digest_of(file, there).await.map_err(Trouble::Local)?,
            // Nobody can tell what it is: from the start, then.
            _ => false,
        };
        if is_beginning {
            return Ok(there);
        }
        self.run("rm -f \"$f\"\n", QUESTION).await?;
        Ok(0)
    }

    /// Sends what is missing; returns how much is then there.
    async fn send(
        &self,
        mut file: File,
        have: u64,
        upload: &LargeFile,
        progress: &(dyn Fn(Progress) + Send + Sync),
    ) -> Result<u64, Trouble> {
        file.seek(SeekFrom::Start(have)).await.map_err(Trouble::Local)?;
        let sent = Arc::new(AtomicU64::new(have));
        // No more than was promised: the file may grow while it is sent.
        let mut reader = Counted { inner: file.take(upload.size - have), sent: &sent, of: upload.size, progress };
        let pushing = self.session.push(&mut reader, self.exec("exec cat >>\"$f\"\n"));
        tokio::pin!(pushing);
        let mut last = have;
        let ended = loop {
            tokio::select! {
                ended = &mut pushing => break ended?,
                () = tokio::time::sleep(STALL) => {
                    let now = sent.load(Ordering::Relaxed);
                    // All being sent is no stall: the host may still be writing.
                    if now == last && now < upload.size {
                        return Err(TransportError::Idle { limit: STALL }.into());
                    }
                    last = now;
                }
            }
        };
        match ended.status {
            Status::Exited(0) => Ok(sent.load(Ordering::Relaxed)),
            status => {
                let output = clean(&ended.err.bytes()).lines().map(str::to_owned).collect();
                Err(Trouble::Step(StepError::Ended {
                    program: "writing the file on the host".to_owned(),
                    status,
                    output,
                }))
            }
        }
    }
}

/// Returns the digest of the first bytes of a file.
async fn digest_of(file: &mut File, length: u64) -> io::Result<String> {
    file.seek(SeekFrom::Start(0)).await?;
    let mut reader = file.take(length);
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let read = reader.read(&mut buffer).await?;
        if read == 0 {
            return Ok(hex(&digest.finalize()));
        }
        digest.update(&buffer[..read]);
    }
}

/// Counts what is read, and tells.
struct Counted<'a, R> {
    inner: R,
    sent: &'a AtomicU64,
    of: u64,
    progress: &'a (dyn Fn(Progress) + Send + Sync),
}

impl<R: AsyncRead + Unpin> AsyncRead for Counted<'_, R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        let read = (buffer.filled().len() - before) as u64;
        let done = self.sent.fetch_add(read, Ordering::Relaxed) + read;
        if read > 0 {
            (self.progress)(Progress::Bytes { done, of: self.of });
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Mutex};

    use super::*;
    use crate::{model::quote, transport::local::LocalTransport};

    struct Place {
        folder: tempfile::TempDir,
        upload: LargeFile,
        content: Vec<u8>,
    }

    fn place() -> Place {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let content: Vec<u8> = (0..700_000_u32).map(|i| (i * 7 % 253) as u8).collect();
        let from = folder.path().join("local");
        fs::write(&from, &content).expect("writable");
        let (size, sha256) = crate::steps::local_file::digest(&from).expect("readable");
        Place { upload: LargeFile { from, size, sha256 }, folder, content }
    }

    impl Place {
        fn there(&self) -> std::path::PathBuf {
            self.folder.path().join("new folder/it's up")
        }

        /// Uploads; returns the result and how many bytes were sent.
        async fn run(&self) -> (Result<(), StepError>, u64) {
            let told = Mutex::new(Vec::new());
            let progress = |progress| {
                if let Progress::Bytes { done, .. } = progress {
                    told.lock().expect("not poisoned").push(done);
                }
            };
            let path = quote(self.there().to_str().expect("UTF-8"));
            let result = large_file(&LocalTransport::new().session(), None, &self.upload, &path, &progress).await;
            let told = told.into_inner().expect("not poisoned");
            let first = told.first().copied().unwrap_or(0);
            (result, if told.len() > 1 { self.upload.size - first.min(self.upload.size) } else { 0 })
        }
    }

    #[tokio::test]
    async fn a_file_arrives_whole_and_is_then_not_sent_again() {
        let place = place();
        place.run().await.0.expect("uploaded");
        assert!(fs::read(place.there()).expect("there") == place.content);
        let (result, sent) = place.run().await;
        result.expect("there already");
        assert_eq!(sent, 0);
    }

    #[tokio::test]
    async fn an_upload_goes_on_where_it_stopped_but_never_after_something_else() {
        let place = place();
        fs::create_dir(place.folder.path().join("new folder")).expect("writable");
        fs::write(place.there(), &place.content[..600_000]).expect("writable");
        let (result, sent) = place.run().await;
        result.expect("uploaded");
        assert!(sent < 100_000, "{sent} bytes were sent");
        assert!(fs::read(place.there()).expect("there") == place.content);
        for wrong in [b"something else".to_vec(), vec![0; 700_000], vec![1; 800_000]] {
            fs::write(place.there(), wrong).expect("writable");
            place.run().await.0.expect("uploaded");
            assert!(fs::read(place.there()).expect("there") == place.content);
        }
    }

    #[tokio::test]
    async fn a_file_that_changed_since_the_plan_is_refused() {
        let place = place();
        let mut changed = place.content.clone();
        changed[5] ^= 1;
        fs::write(&place.upload.from, &changed).expect("writable");
        let error = place.run().await.0.expect_err("another file");
        assert!(error.to_string().contains("has changed since the plan was made"), "{error}");
        assert!(!place.there().exists());
        fs::write(&place.upload.from, b"short").expect("writable");
        assert!(place.run().await.0.is_err());
    }
}

//! R24, R25: the disk of the controller is full, or fails, while runs are recorded.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    controller,
    field::{Field, Project},
    judge::state,
    sshd::is_root,
};

const WITHIN: Duration = Duration::from_secs(90);
const STEPS: usize = 2;

/// Lets the n-th call of a kind on the ledger's files fail, and keeps count of all of them.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static long counted;
static int fails(int fd, const char *what) {
    const char *kind = getenv("LONGSHORE_IO_KIND"), *nth = getenv("LONGSHORE_IO_NTH"), *log = getenv("LONGSHORE_IO_LOG");
    char path[64], name[4096], line[64];
    if (!kind || !nth || !log || strcmp(kind, what)) return 0;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, name, sizeof name - 1);
    if (length < 0) return 0;
    name[length] = 0;
    if (!strstr(name, "ledger.db")) return 0;
    long now = __sync_add_and_fetch(&counted, 1);
    int out = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int size = snprintf(line, sizeof line, "%ld\n", now);
    static ssize_t (*put)(int, const void *, size_t);
    if (!put) put = dlsym(RTLD_NEXT, "write");
    if (out >= 0) { put(out, line, size); close(out); }
    return now == atol(nth);
}
int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fsync");
    if (fails(fd, "sync")) { errno = EIO; return -1; }
    return real(fd);
}
int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "fdatasync");
    if (fails(fd, "sync")) { errno = EIO; return -1; }
    return real(fd);
}
ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) {
    static ssize_t (*real)(int, const void *, size_t, off_t);
    if (!real) real = dlsym(RTLD_NEXT, "pwrite64");
    if (fails(fd, "write")) { errno = ENOSPC; return -1; }
    return real(fd, bytes, count, at);
}
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite64(fd, bytes, count, at); }
"#;

/// One host after the other has its turn, so that there are some whose turn has not come.
fn one_by_one(field: &Field, head: &str) -> Project {
    let project = field.project_with(STEPS, &|_| "sleep 0.1".to_owned(), head);
    let playbook = project.path.join("playbooks/work.toml");
    let text = fs::read_to_string(&playbook).expect("a playbook");
    fs::write(&playbook, text.replace("at-once = 16", "at-once = 1")).expect("written");
    project
}

fn begun(field: &Field, project: &Project) -> Vec<usize> {
    let steps = |host| (1..=STEPS).map(|step| project.traced(host, step).0).sum();
    field.hosts.iter().map(steps).collect()
}

fn shim(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("shim.c"), folder.join("shim.so"));
    fs::write(&source, SHIM).expect("written");
    let made =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
    made.is_ok_and(|made| made.success()).then_some(library)
}

/// Runs to its end a run whose recording broke; then all of it must be there once.
fn finishes(field: &Field, project: &Project, said: &str) {
    // What was under way goes on without the controller.
    std::thread::sleep(Duration::from_millis(600));
    let sent = state(project).map(|state| {
        let sent = state.hosts.iter().filter(|(_, of)| of.segment.is_some());
        sent.map(|(name, _)| name.clone()).collect::<Vec<_>>()
    });
    for (host, begun) in field.hosts.iter().zip(begun(field, project)) {
        let known = sent.as_ref().is_some_and(|sent| sent.contains(&host.name));
        assert!(begun == 0 || known, "{} began, and the ledger does not know that it was sent:\n{said}", host.name);
    }
    let again = if state(project).is_some_and(|state| state.run.is_some()) {
        &["resume"][..]
    } else {
        &["apply", "work", "--yes"]
    };
    let (code, told) = controller::run(&project.path, again, WITHIN).expect("it ends");
    assert_eq!(code, 0, "{again:?}: {told}\nbefore that:\n{said}");
    assert_eq!(begun(field, project), vec![STEPS; field.hosts.len()], "{said}");
}

#[test]
fn r25_a_failing_disk_ends_the_run_at_once_and_no_flush_is_tried_again() {
    let field = Field::lab(3);
    let tools = tempfile::tempdir().expect("a folder");
    let Some(library) = shim(tools.path()) else {
        eprintln!("SKIPPED: R25: no C compiler to make the disk fail with");
        return;
    };
    let mut broke = 0;
    for (kind, nth) in
        [("sync", 2), ("sync", 8), ("sync", 12), ("sync", 16), ("sync", 24), ("write", 9), ("write", 40), ("write", 70)]
    {
        let project = one_by_one(&field, "");
        let log = project.path.join("calls");
        let output = Command::new(env!("CARGO_BIN_EXE_longshore"))
            .args(["--no-ssh-config", "-C"])
            .arg(&project.path)
            .args(["apply", "work", "--yes"])
            .env("LD_PRELOAD", &library)
            .env("LONGSHORE_IO_KIND", kind)
            .env("LONGSHORE_IO_NTH", nth.to_string())
            .env("LONGSHORE_IO_LOG", &log)
            .stdin(Stdio::null())
            .output()
            .expect("longshore starts");
        let said = format!(
            "{kind} {nth}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let calls = fs::read_to_string(&log).unwrap_or_default().lines().count();
        if calls < nth {
            // The run was over before so many calls.
            assert_eq!(output.status.code(), Some(0), "{said}");
            continue;
        }
        broke += 1;
        if output.status.code() == Some(0) {
            // The last thing of all, folding the log into the database, may fail: nothing depends on it.
            assert_eq!(begun(&field, &project), vec![STEPS; 3], "{said}");
            continue;
        }
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        if kind == "sync" && nth > 8 {
            assert_eq!(calls, nth, "a flush was tried again after one failed: {said}");
            assert!(said.contains("nothing new was started") && said.contains("longshore resume"), "{said}");
        }
        finishes(&field, &project, &said);
    }
    assert!(broke >= 4, "only {broke} of the calls came");
}

/// A small disk for a project's private folder.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, kilobytes: u32) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let options = format!("size={kilobytes}k,mode=700");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status();
        mounted.is_ok_and(|mounted| mounted.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn r24_a_full_disk_on_the_controller_starts_nothing_new_and_the_run_goes_on_once_there_is_room() {
    if !is_root() {
        eprintln!("SKIPPED: R24: not root, so no small disk can be mounted");
        return;
    }
    let field = Field::lab(4);
    let mut stopped = 0;
    for room in [12, 40, 80] {
        let project = one_by_one(&field, "");
        let private = project.path.join(".longshore");
        let Some(_small) = Small::mount(&private, 4096) else {
            eprintln!("SKIPPED: R24: a small disk cannot be mounted");
            return;
        };
        // The ledger is made while there is room; then all but a little of it goes.
        drop(longshore::ledger::Ledger::open(&project.path, std::sync::Arc::new(jiff::Timestamp::now)).expect("opens"));
        let ballast = private.join("ballast");
        let free = nix::sys::statvfs::statvfs(&private)
            .map(|found| found.blocks_available() * found.fragment_size())
            .expect("room");
        let size = usize::try_from(free).expect("small").saturating_sub((32 + room) * 1024);
        fs::write(&ballast, vec![0_u8; size]).expect("ballast");
        let (code, said) = controller::run(&project.path, &["apply", "work", "--yes"], WITHIN).expect("it ends");
        let before = begun(&field, &project);
        if code == 0 {
            assert_eq!(before, vec![STEPS; 4], "{said}");
            continue;
        }
        stopped += 1;
        assert_eq!(code, 3, "{room}: {said}");
        assert!(said.contains("full"), "{room}: {said}");
        fs::remove_file(&ballast).expect("room again");
        finishes(&field, &project, &said);
    }
    assert!(stopped >= 1, "the disk was never full");
}

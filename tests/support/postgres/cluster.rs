//! A cluster that one test owns, to stop, start and promote as it likes. It is reached through a socket in its own folder.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::{as_user, binaries, initialise, other_user};
use crate::watchdog::Watchdog;

const CLEANING: &str = r#"kill -QUIT "$(head -n 1 "$2/data/postmaster.pid")"; sleep 1; rm -rf "$2""#;

/// As a server that keeps things has it, but small and quick to notice that another has come back. The machine does not go
/// down in these tests, and what a server has written outlives its end, so nothing waits for the disk.
const SETTINGS: [&str; 8] = [
    "fsync = off",
    "listen_addresses = ''",
    "max_connections = 80",
    "shared_buffers = '32MB'",
    "wal_retrieve_retry_interval = '200ms'",
    "hot_standby_feedback = on",
    "max_wal_senders = 4",
    "log_min_messages = 'warning'",
];

static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Transactions are rolled back, everything is written.
    Fast,
    /// As if the power had gone: it recovers at the next start.
    Immediate,
}

/// A server with its data. It is ended and its folder removed however the test ends.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    binaries: PathBuf,
    user: Option<&'static str>,
    _watchdog: Watchdog,
}

impl Cluster {
    /// A new one that runs, with these settings.
    pub fn start(settings: &[&str]) -> Self {
        let cluster = Self::folder();
        initialise(cluster.user, &cluster.binaries, &cluster.data()).expect("a cluster can be made");
        cluster.set(&SETTINGS);
        cluster.set(&[&format!("unix_socket_directories = '{}'", cluster.socket().display())]);
        cluster.set(settings);
        cluster.start_again();
        cluster
    }

    /// A standby of it that runs, with these settings beside its own.
    #[must_use]
    pub fn standby(&self, settings: &[&str]) -> Self {
        let standby = Self::folder();
        let mut backup = standby.program("pg_basebackup");
        backup.arg("--pgdata").arg(standby.data()).arg("--host").arg(self.socket());
        backup.args(["--username=postgres", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"]);
        run(&mut backup);
        standby.set(&[&format!("unix_socket_directories = '{}'", standby.socket().display())]);
        standby.set(settings);
        standby.start_again();
        standby
    }

    fn folder() -> Self {
        let count = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("membership-cluster-{}-{count}", std::process::id()));
        let (binaries, user) = (binaries().expect("PostgreSQL"), other_user().expect("a user"));
        let socket = folder.join("socket");
        fs::create_dir_all(socket).expect("the folder can be made");
        let watchdog = Watchdog::over(&folder, CLEANING);
        let cluster = Self { folder, binaries, user, _watchdog: watchdog };
        if let Some(user) = user {
            run(Command::new("chown").arg("-R").arg(user).arg(&cluster.folder));
        }
        cluster
    }

    /// Adds settings, the last of a name counts. They are read at the next start, or by [`Self::reload`].
    pub fn set(&self, settings: &[&str]) {
        // The file that is read last, and that says whom a standby follows.
        let file = OpenOptions::new().append(true).open(self.data().join("postgresql.auto.conf"));
        let mut file = file.expect("the settings can be written");
        for setting in settings {
            writeln!(file, "{setting}").expect("the settings can be written");
        }
    }

    /// Reads the settings that can be changed while it runs.
    pub fn reload(&self) {
        run(self.control().arg("reload"));
    }

    /// Stops it.
    pub fn stop(&self, how: Stop) {
        let how = if how == Stop::Fast { "fast" } else { "immediate" };
        run(self.control().args(["stop", "--wait", "--mode", how]));
    }

    /// Starts it again and waits until it answers.
    pub fn start_again(&self) {
        let log = self.folder.join("log");
        run(self.control().args(["start", "--wait", "--timeout=120", "--log"]).arg(log));
    }

    /// Makes a standby the one that takes changes, and waits until it does.
    pub fn promote(&self) {
        run(self.control().args(["promote", "--wait"]));
    }

    /// Its socket, which `PostgreSQL` names by the port.
    pub fn socket_file(&self) -> PathBuf {
        self.socket().join(".s.PGSQL.5432")
    }

    /// How a standby follows it, under this name.
    pub fn as_upstream(&self, name: &str) -> String {
        let socket = self.socket();
        format!("primary_conninfo = 'host={} user=postgres application_name={name}'", socket.display())
    }

    /// The URL of its first database.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The URL of a database in it.
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@localhost/{database}?host={}", self.socket().display())
    }

    /// Makes a folder one that the server may write to.
    pub fn give(&self, folder: &Path) {
        if let Some(user) = self.user {
            run(Command::new("chown").arg(user).arg(folder));
        }
    }

    /// What the server has written to its log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn program(&self, name: &str) -> Command {
        as_user(self.user, &self.binaries.join(name))
    }

    fn control(&self) -> Command {
        let mut control = self.program("pg_ctl");
        control.arg("--pgdata").arg(self.data());
        control
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // One that the test has stopped already is no error.
        self.control().args(["stop", "--wait", "--mode=immediate"]).output().ok();
        for _ in 0..50 {
            if fs::remove_dir_all(&self.folder).is_ok() || !self.folder.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Runs a command to its end, with its output in a file: a server that it starts would keep a pipe open.
fn run(command: &mut Command) {
    let said = tempfile::NamedTempFile::new().expect("there is a temporary folder");
    let file = || -> File { said.reopen().expect("it can be opened again") };
    let status = command.stdin(Stdio::null()).stdout(file()).stderr(file()).status();
    let well = status.is_ok_and(|status| status.success());
    assert!(well, "{command:?}: {}", fs::read_to_string(said.path()).unwrap_or_default());
}

//! A throw-away `PostgreSQL` cluster, shared by the processes of one test run, and a fresh database in it per test.
//!
//! It is reached through a socket in its own folder, so that it meets no cluster that was there before. A watchdog beside
//! it ends it and removes the folder when the process that stands for the run has gone, however that ended.

mod cluster;

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, Executor, PgConnection};

pub use cluster::{Cluster, Stop};

const START: Duration = Duration::from_mins(1);

/// Ends the cluster with the run. `$1` is the run's process, `$2` the folder, the rest starts the server.
const WATCHDOG: &str = r#"
run="$1"; folder="$2"; shift 2
"$@" &
while kill -0 "$run" && kill -0 $!; do sleep 0.2; done
kill -INT "$(head -n 1 "$folder/data/postmaster.pid")"
wait
rm -rf "$folder" "$folder.lock"
"#;

/// No safety, since nothing of it is kept.
const SETTINGS: [&str; 6] = [
    "listen_addresses=",
    "fsync=off",
    "synchronous_commit=on",
    "full_page_writes=off",
    "max_connections=400",
    "shared_buffers=64MB",
];

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A database of one's own, dropped at the end if the cluster is not.
#[derive(Debug)]
pub struct Database {
    /// Its URL.
    pub url: String,
    name: String,
    server: Server,
}

#[derive(Debug, Clone)]
struct Server {
    /// Its URL, up to the database's name and from there on.
    url: (String, String),
    lasting: bool,
}

impl Server {
    fn database(&self, name: &str) -> String {
        format!("{}{name}{}", self.url.0, self.url.1)
    }
}

/// A fresh, empty database.
///
/// # Panics
///
/// When there is no `PostgreSQL` to start, saying what is missing.
pub async fn database() -> Database {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server =
        tokio::task::spawn_blocking(|| SERVER.get_or_init(server).clone()).await.expect("the cluster starts");
    let count = DATABASES.fetch_add(1, Ordering::Relaxed);
    let name = format!("test_{}_{count}", std::process::id());
    execute(&server, &format!("CREATE DATABASE {name} TEMPLATE template0"))
        .await
        .expect("a database is created");
    Database { url: server.database(&name), name, server }
}

impl Drop for Database {
    fn drop(&mut self) {
        if !self.server.lasting {
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropping = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime
                .block_on(execute(&server, &format!("DROP DATABASE {name} WITH (FORCE)")))
                .map_err(io::Error::other)
        });
        let dropped = matches!(dropping.join(), Ok(Ok(())));
        assert!(dropped || thread::panicking(), "the database {} could not be dropped", self.name);
    }
}

async fn execute(server: &Server, sql: &str) -> sqlx::Result<()> {
    let options: PgConnectOptions = server.database("postgres").parse()?;
    let mut connection = PgConnection::connect_with(&options).await?;
    connection.execute(sql).await?;
    connection.close().await
}

fn server() -> Server {
    match variable("TEST_DATABASE_URL") {
        Some(url) => {
            let (base, query) = url
                .split_once('?')
                .map_or((url.as_str(), String::new()), |(base, query)| (base, format!("?{query}")));
            let slash = base.rfind('/').expect("TEST_DATABASE_URL is postgres://user:password@host/database");
            Server { url: (base[..=slash].to_owned(), query), lasting: true }
        }
        None => throw_away().unwrap_or_else(|why| panic!("no PostgreSQL for the tests: {why}")),
    }
}

/// Starts the cluster of this run, or finds it started.
fn throw_away() -> io::Result<Server> {
    // nextest runs each test in a process of its own, all children of the one that stands for the run.
    let (run, key) = match variable("NEXTEST_RUN_ID") {
        Some(id) => (std::os::unix::process::parent_id(), id),
        None => (std::process::id(), std::process::id().to_string()),
    };
    let folder = std::env::temp_dir().join(format!("membership-postgres-{key}"));
    let lock = File::create(folder.with_extension("lock"))?;
    lock.lock()?;
    let socket = folder.join("socket");
    let server = Server {
        url: ("postgres://postgres@localhost/".to_owned(), format!("?host={}", socket.display())),
        lasting: false,
    };
    if !folder.exists() {
        start(&folder, &socket, run).inspect_err(|_| {
            fs::remove_dir_all(&folder).ok();
        })?;
    }
    Ok(server)
}

fn start(folder: &Path, socket: &Path, run: u32) -> io::Result<()> {
    fs::create_dir_all(socket)?;
    let binaries = binaries()?;
    let user = other_user()?;
    if let Some(user) = user {
        done(Command::new("chown").arg("-R").arg(user).arg(folder))?;
    }
    let data = folder.join("data");
    initialise(user, &binaries, &data)?;

    let mut server = as_user(user, &binaries.join("postgres"));
    server.arg("-D").arg(&data).arg("-k").arg(socket);
    server.args(SETTINGS.into_iter().flat_map(|setting| ["-c", setting]));
    let mut watchdog = Command::new("sh");
    watchdog.args(["-c", WATCHDOG, "watchdog", &run.to_string()]).arg(folder);
    watchdog.arg(server.get_program()).args(server.get_args()).current_dir("/");
    // In a process group of its own, so that it outlives an interrupted run for as long as it takes to clean up.
    std::os::unix::process::CommandExt::process_group(&mut watchdog, 0);
    watchdog.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(folder.join("log"))?);
    watchdog.spawn()?;
    wait(folder, socket, &binaries)
}

fn initialise(user: Option<&str>, binaries: &Path, data: &Path) -> io::Result<()> {
    let initdb = binaries.join("initdb");
    let encoding =
        ["--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"];
    done(as_user(user, &initdb).arg("--pgdata").arg(data).args(encoding))
}

fn wait(folder: &Path, socket: &Path, binaries: &Path) -> io::Result<()> {
    let begun = Instant::now();
    let mut ready = Command::new(binaries.join("pg_isready"));
    ready.arg("--quiet").arg("--host").arg(socket);
    while !ready.status()?.success() {
        if begun.elapsed() > START {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            return Err(io::Error::new(ErrorKind::TimedOut, format!("the server does not start: {log}")));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The folder of the installed server: the one `pg_config` names, or the newest of the usual Debian folders.
fn binaries() -> io::Result<PathBuf> {
    let named = Command::new("pg_config").arg("--bindir").output();
    let named = named.ok().map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let mut usual: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path()).collect())
        .unwrap_or_default();
    usual.sort_by_key(version);
    let mut candidates = named.into_iter().chain(usual.iter().rev().map(|version| version.join("bin")));
    candidates.find(|folder| folder.join("initdb").exists()).ok_or_else(|| {
        let missing = "initdb was not found; install the PostgreSQL server or set TEST_DATABASE_URL";
        io::Error::new(ErrorKind::NotFound, missing)
    })
}

/// Who runs the server: it refuses to be run by root.
fn other_user() -> io::Result<Option<&'static str>> {
    let output = Command::new("id").arg("-u").output()?;
    if output.stdout.trim_ascii() != b"0" {
        return Ok(None);
    }
    let exists =
        |user: &&str| Command::new("id").arg(user).output().is_ok_and(|output| output.status.success());
    let found = ["postgres", "nobody"].into_iter().find(exists);
    found
        .map(Some)
        .ok_or_else(|| io::Error::new(ErrorKind::NotFound, "root needs a user named postgres or nobody"))
}

fn as_user(user: Option<&str>, program: &Path) -> Command {
    let Some(user) = user else {
        return Command::new(program);
    };
    let mut command = Command::new("runuser");
    command.args(["-u", user, "--"]).arg(program).current_dir("/");
    command
}

fn done(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))))
}

#[expect(clippy::disallowed_methods, reason = "tests are told by the environment where they run")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

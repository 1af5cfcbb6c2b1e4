//! Where the program runs: its folder, its store and its settings, and its command line.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use chrono::{DateTime, Utc};
use reqwest::Client;
use serde_json::Value;
use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

use super::{HANG, POLL, TOKEN, TestApp};
use crate::postgres;
use crate::stripe::{CATALOG, SECRETS, rfc3339};

const SCOPES: &str = "access.read+support.read+support.write+members.write";

/// Where the service keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Store {
    /// A file.
    Sqlite,
    /// A database of its own in the run's cluster.
    Postgres,
}

/// A place to run the program in: a folder, a store and settings. Nothing of the machine's own settings gets in.
#[derive(Debug, Clone)]
pub struct Home {
    settings: BTreeMap<String, String>,
    folder: Arc<TempDir>,
    database: Option<Arc<postgres::Database>>,
}

/// What a command said.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its exit code; -1 when it was killed.
    pub code: i32,
    /// Its data.
    pub out: String,
    /// Its log and its complaints.
    pub err: String,
}

impl Told {
    /// Its data as JSON.
    ///
    /// # Panics
    ///
    /// When it is not.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }
}

impl Home {
    /// A new place with the usual settings and [`CATALOG`].
    pub async fn new(store: Store) -> Self {
        let folder = TempDir::with_prefix("membership-scenario-").expect("there is a temporary folder");
        let database = match store {
            Store::Sqlite => None,
            Store::Postgres => Some(Arc::new(postgres::database().await)),
        };
        let url = database.as_ref().map_or_else(
            || format!("sqlite://{}", folder.path().join("membership.db").display()),
            |database| database.url.clone(),
        );
        let home = Self { settings: BTreeMap::new(), folder: Arc::new(folder), database };
        home.with("DATABASE_URL", &url)
            .with("STRIPE_WEBHOOK_SECRETS", &SECRETS.join(","))
            .with("STRIPE_LIVEMODE", "false")
            .with("SERVICE_TOKENS", &format!("scenarios:{SCOPES}:{TOKEN}"))
            // Tests ask more often than anybody.
            .with("RATE_LIMIT_SERVICE", "off")
            .with("RATE_LIMIT_MEMBER", "off")
            .with("RATE_LIMIT_SIGNED_OUT", "off")
            .with_catalog(CATALOG)
    }

    /// The same place with another setting; an empty one is not set.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// A setting; empty when it is not set.
    pub fn setting(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", String::as_str)
    }

    /// The same place with another catalogue.
    #[must_use]
    pub fn with_catalog(self, text: &str) -> Self {
        let file = self.write("catalog.toml", text);
        self.with("CATALOG", &file.display().to_string())
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into the folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the folder can be made");
        fs::write(&path, text).expect("the file can be written");
        path
    }

    /// Runs a statement past the program. Casts, which `SQLite` does without, are left out there.
    pub async fn sql(&self, sql: &str) {
        if let Some(database) = &self.database {
            let mut connection = PgConnection::connect(&database.url).await.expect("the database is there");
            connection.execute(sql).await.unwrap_or_else(|why| panic!("{sql}: {why}"));
        } else {
            let file = rusqlite::Connection::open(self.path("membership.db")).expect("the file is there");
            let sql = sql.replace("::text", "").replace("::jsonb", "");
            file.execute_batch(&sql).unwrap_or_else(|why| panic!("{sql}: {why}"));
        }
    }

    /// How many rows of a table, such as `events` or `events WHERE position = 1`, there are.
    pub async fn count(&self, rows: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {rows}");
        if let Some(database) = &self.database {
            let mut connection = PgConnection::connect(&database.url).await.expect("the database is there");
            sqlx::query_scalar(&sql)
                .fetch_one(&mut connection)
                .await
                .unwrap_or_else(|why| panic!("{sql}: {why}"))
        } else {
            let file = rusqlite::Connection::open(self.path("membership.db")).expect("the file is there");
            let sql = sql.replace("::text", "");
            file.query_row(&sql, [], |row| row.get(0)).unwrap_or_else(|why| panic!("{sql}: {why}"))
        }
    }

    /// Everything that the store holds: of `SQLite` the bytes of its files, free pages and all; of `PostgreSQL` all rows, as they
    /// are and with what is binary as text.
    pub async fn dump(&self) -> Vec<u8> {
        let Some(database) = &self.database else {
            let files = ["membership.db", "membership.db-wal"].map(|name| fs::read(self.path(name)));
            return files.into_iter().flat_map(Result::unwrap_or_default).collect();
        };
        let mut connection = PgConnection::connect(&database.url).await.expect("the database is there");
        let tables =
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
        let tables: Vec<String> =
            sqlx::query_scalar(tables).fetch_all(&mut connection).await.expect("tables");
        let mut dump = Vec::new();
        for table in tables {
            let rows = format!("SELECT held::text FROM \"{table}\" AS held");
            let rows: Vec<String> = sqlx::query_scalar(&rows).fetch_all(&mut connection).await.expect("rows");
            for row in rows {
                dump.extend(row.split("\\x").skip(1).flat_map(|rest| {
                    let digits: String = rest.chars().take_while(char::is_ascii_hexdigit).collect();
                    hex::decode(digits).unwrap_or_default()
                }));
                dump.extend(row.into_bytes());
            }
        }
        dump
    }

    /// The program with these settings, in this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.args(arguments).env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
        command.envs(self.settings.iter().filter(|(_, value)| !value.is_empty()));
        command
    }

    /// Runs a command to its end.
    pub fn cli(&self, arguments: &[&str]) -> Told {
        let output = self.command(arguments).output().expect("the program can be run");
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Told { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs a command to its end, which has to be a good one.
    pub fn done(&self, arguments: &[&str]) -> Told {
        let told = self.cli(arguments);
        assert_eq!(told.code, 0, "{arguments:?}: {told:?}");
        told
    }

    /// What `explain --json` says.
    pub fn explain_at(&self, member: &str, video: &str, at: DateTime<Utc>) -> Value {
        self.cli(&["explain", member, "--video", video, "--at", &rfc3339(at), "--json"]).json()
    }

    /// Starts the service.
    pub async fn serve(&self) -> TestApp {
        self.serve_as("all").await
    }

    /// Starts the service in a role and waits until it is ready.
    pub async fn serve_as(&self, role: &str) -> TestApp {
        self.serve_until(role, "/readyz").await
    }

    /// Starts the service and waits until it lives, ready or not.
    pub async fn begin_to_serve(&self) -> TestApp {
        self.serve_until("all", "/healthz").await
    }

    async fn serve_until(&self, role: &str, path: &str) -> TestApp {
        for _ in 0..20 {
            if let Some(app) = self.try_to_serve(role, path).await {
                return app;
            }
        }
        panic!("no free port in 20 attempts");
    }

    /// Nothing when the port that was free was taken meanwhile.
    async fn try_to_serve(&self, role: &str, path: &str) -> Option<TestApp> {
        let address =
            TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let log = self.path(&format!("{role}-{}.log", address.port()));
        let mut command = self.command(&["serve", "--role", role]);
        command.env("LISTEN", address.to_string()).stdout(Stdio::null());
        command.stderr(File::create(&log).expect("the log can be written"));
        let child = command.spawn().expect("the program can be started");
        let client = Client::builder().no_proxy().timeout(HANG).build().expect("a client can be made");
        let mut app = TestApp {
            child,
            log,
            home: self.clone(),
            url: format!("http://{address}"),
            client,
            quiet: false,
        };
        let begun = Instant::now();
        loop {
            if let Some(status) = app.child.try_wait().expect("the child can be asked") {
                let log = app.log();
                if log.contains("cannot be used") && log.contains("LISTEN") {
                    app.quiet = true;
                    return None;
                }
                panic!("the service did not start: {status}");
            }
            let ready = app.client.get(format!("{}{path}", app.url)).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) && listens(app.pid(), address.port()) {
                return Some(app);
            }
            assert!(begun.elapsed() < HANG, "the service does not get ready");
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Whether it is this process that listens at a port: where another test's service was faster, that one answers there, and
/// this one is about to end.
fn listens(process: u32, port: u16) -> bool {
    if !cfg!(target_os = "linux") {
        return true;
    }
    let (all, here) =
        (fs::read_to_string("/proc/net/tcp").unwrap_or_default(), format!("0100007F:{port:04X}"));
    let sockets = all.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let held = sockets.filter(|socket| socket[1] == here && socket[3] == "0A");
    let held: Vec<_> = held.map(|socket| PathBuf::from(format!("socket:[{}]", socket[9]))).collect();
    let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    open.filter_map(|file| file.path().read_link().ok()).any(|file| held.contains(&file))
}

/// The program, built from the same sources as the test that runs it.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows its own file");
        let profile = test.parent().and_then(Path::parent).expect("tests are in target/PROFILE/deps");
        // A copy: builds without failpoints, such as `make run`, put theirs in the place of the original.
        let program = profile.join("membership-under-test");
        // The server is a library of this test, so that one is never older than the other's sources. One build for each
        // build of the test; nextest runs every test in a process of its own.
        let stamp = File::create(test.with_extension("lock")).expect("the target folder can be written");
        stamp.lock().expect("a lock can be had");
        let is_newer = |a: &Path, b: &Path| {
            let time = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
            time(a) > time(b)
        };
        if !is_newer(&program, &test) {
            let mut build = Command::new("cargo");
            build.args(["build", "--quiet", "--workspace", "--bin", "membership"]);
            if profile.ends_with("release") {
                build.arg("--release");
            }
            let status = build.current_dir(env!("CARGO_MANIFEST_DIR")).status();
            assert!(status.is_ok_and(|status| status.success()), "the program could not be built");
            // Renamed into its place, since another test may be running the one that is there.
            let copy = test.with_extension("program");
            fs::copy(profile.join("membership"), &copy)
                .and_then(|_| fs::rename(&copy, &program))
                .expect("the target folder can be written");
        }
        program
    })
}

//! A store in a database.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::clock::{Clock, SystemClock};
use migrations::POSITION_LOCK;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection, PgConnection};
use tokio::time::{sleep, timeout};

use super::Finding;
use crate::postgres::{UNDEFINED_TABLE, is};

const CONNECT: Duration = Duration::from_secs(10);
const SETTINGS: [(&str, &str); 2] = [("default_transaction_read_only", "on"), ("statement_timeout", "10s")];
/// The watermark moves within this while somebody looks after it.
const MOVES: Duration = Duration::from_millis(500);
/// A service that reads and writes times would tell wrong ones.
const APART: TimeDelta = TimeDelta::seconds(2);
const FAR_APART: TimeDelta = TimeDelta::seconds(60);
/// The oldest release that its makers still mend.
const MAINTAINED: i32 = 140_000;

const SERVER: &str = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
                      pg_is_in_recovery(), current_setting('fsync'), current_setting('full_page_writes'), \
                      current_setting('synchronous_commit')";
const APPLIED: &str = "SELECT version, success, checksum FROM _sqlx_migrations ORDER BY version";
const NOW: &str = "SELECT clock_timestamp()";
const PLACES: &str = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END, (SELECT position FROM watermark WHERE id = 1) \
                      FROM events_position_seq";
const WRITERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'membership'";
/// A lock of one big number is shown as its two halves.
const IDLE: &str = "SELECT activity.pid, coalesce(activity.application_name, ''), \
                    extract(epoch FROM clock_timestamp() - activity.state_change)::bigint, \
                    EXISTS (SELECT FROM pg_locks WHERE pg_locks.pid = activity.pid AND locktype = 'advisory' \
                            AND (classid::bigint << 32 | objid::bigint) = $1) \
                    FROM pg_stat_activity AS activity WHERE datname = current_database() \
                    AND state LIKE 'idle in transaction%' AND clock_timestamp() - state_change > interval '3 seconds' \
                    ORDER BY state_change LIMIT 5";

type Server = (i32, String, bool, String, String, String);

pub(super) async fn examine(url: &str) -> Vec<Finding> {
    let Ok(options) = url.parse::<PgConnectOptions>() else {
        // The URL may hold a password, and so may what the parser says of it.
        let remedy = "write postgres://user:password@host/database, with %-codes for special characters";
        return vec![Finding::problem("store", "DATABASE_URL cannot be read", remedy)];
    };
    let options = options.application_name("membership-doctor").options(SETTINGS);
    let store = format!("{} on {}", options.get_database().unwrap_or("the database"), options.get_host());
    let connected = timeout(CONNECT, PgConnection::connect_with(&options)).await;
    let mut connection = match connected.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
        Ok(connection) => connection,
        Err(why) => {
            let remedy = "see that the server runs and that host, user, password and database are right";
            return vec![Finding::problem("store", format!("{store} cannot be reached: {why}"), remedy)];
        }
    };
    let found = look(&mut connection, &store).await;
    // It is closed with the process at the latest.
    connection.close().await.ok();
    found.unwrap_or_else(|why| {
        vec![Finding::problem("store", format!("{store} does not answer: {why}"), "see the server's own log")]
    })
}

async fn look(connection: &mut PgConnection, store: &str) -> sqlx::Result<Vec<Finding>> {
    let server: Server = sqlx::query_as(SERVER).fetch_one(&mut *connection).await?;
    let mut findings = vec![version(&server, store), durability(&server)];
    if server.2 {
        let what = "the database is a standby, which can be read and not written to";
        findings.push(Finding::warning("primary", what, "give the primary's address to services that write"));
    } else {
        findings.push(Finding::ok("primary", "the database can be written to"));
    }
    findings.push(clock(connection).await?);
    findings.push(idle(connection).await?);
    let (tables, usable) = tables(connection).await?;
    findings.push(tables);
    if usable {
        findings.push(watermark(connection).await?);
    }
    Ok(findings)
}

fn version((number, version, ..): &Server, store: &str) -> Finding {
    let what = format!("PostgreSQL {version}, {store}");
    if *number < MAINTAINED {
        return Finding::warning("store", format!("{what}, is no longer maintained"), "plan an upgrade");
    }
    Finding::ok("store", what)
}

fn durability((.., fsync, full_pages, commit): &Server) -> Finding {
    let off = [("fsync", fsync), ("full_page_writes", full_pages), ("synchronous_commit", commit)];
    let off: Vec<_> = off.into_iter().filter(|(_, value)| *value == "off").map(|(name, _)| name).collect();
    if off.is_empty() {
        return Finding::ok(
            "durability",
            format!("commits are on disk when they are told (synchronous_commit {commit})"),
        );
    }
    let off = off.join(", ");
    let what = format!(
        "{off} is off: a power cut may lose deliveries that Stripe was told are kept, or damage the database"
    );
    Finding::problem("durability", what, format!("set {off} to on in postgresql.conf and reload"))
}

async fn clock(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    let before = SystemClock.now();
    let theirs: DateTime<Utc> = sqlx::query_scalar(NOW).fetch_one(connection).await?;
    let after = SystemClock.now();
    // Whatever the answer took on its way is not the clock's fault.
    let apart = if theirs < before { before - theirs } else { (theirs - after).max(TimeDelta::zero()) };
    let what =
        format!("the clocks of this machine and of the database are {} ms apart", apart.num_milliseconds());
    let remedy = "let both follow NTP; times of events and signatures depend on this machine's";
    Ok(if apart > FAR_APART {
        Finding::problem("clock", what, remedy)
    } else if apart > APART {
        Finding::warning("clock", what, remedy)
    } else {
        Finding::ok("clock", what)
    })
}

async fn idle(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    let sessions: Vec<(i32, String, i64, bool)> =
        sqlx::query_as(IDLE).bind(POSITION_LOCK).fetch_all(connection).await?;
    let told = sessions.iter().map(|(pid, name, seconds, _)| format!("{pid} ({name}, {seconds} s)"));
    let told = told.collect::<Vec<_>>().join(", ");
    let Some((pid, ..)) = sessions.first() else {
        return Ok(Finding::ok("transactions", "none stands still"));
    };
    let remedy = format!("end it: SELECT pg_terminate_backend({pid}); and mend whoever left it open");
    Ok(if sessions.iter().any(|(.., holds)| *holds) {
        let what = format!(
            "sessions that appended events stand still in a transaction and hold up every reader: {told}"
        );
        Finding::problem("transactions", what, remedy)
    } else {
        let what = format!("sessions stand still in a transaction, which keeps old rows alive: {told}");
        Finding::warning("transactions", what, remedy)
    })
}

/// Whether they are those of this release, and whether they can be read at all.
async fn tables(connection: &mut PgConnection) -> sqlx::Result<(Finding, bool)> {
    let older = |what: String| {
        Finding::problem("tables", what, "run membership migrate, or start the service, which does the same")
    };
    let applied: Vec<(i64, bool, Vec<u8>)> = match sqlx::query_as(APPLIED).fetch_all(connection).await {
        Ok(applied) => applied,
        Err(why) if is(&why, UNDEFINED_TABLE) => return Ok((older("there are none yet".to_owned()), false)),
        Err(why) => return Err(why),
    };
    let needed = migrations::postgres().await.map_err(|why| sqlx::Error::Migrate(Box::new(why)))?;
    let find = |version| applied.iter().find(|(applied, ..)| *applied == version);
    if let Some(missing) = needed.iter().find(|needed| find(needed.version).is_none()) {
        let what =
            format!("those of an older release: {} {} is missing", missing.version, missing.description);
        return Ok((older(what), false));
    }
    if let Some((version, ..)) = applied.iter().find(|(_, success, _)| !success) {
        let what = format!("the migration {version} was begun and not finished");
        let remedy = "see the database's log for why, mend it, and run membership migrate";
        return Ok((Finding::problem("tables", what, remedy), false));
    }
    let differs = |needed: &&sqlx::migrate::Migration| {
        find(needed.version).is_some_and(|(.., checksum)| checksum.as_slice() != &*needed.checksum)
    };
    if let Some(changed) = needed.iter().find(differs) {
        let what = format!("{} {} was applied with another text", changed.version, changed.description);
        let remedy = "use the release that made these tables; a migration never changes once it is released";
        return Ok((Finding::problem("tables", what, remedy), true));
    }
    if applied.len() > needed.iter().count() {
        let what =
            "a newer release has changed them already, which this one can live with for a rolling update";
        return Ok((Finding::warning("tables", what, "finish the update"), true));
    }
    Ok((Finding::ok("tables", format!("up to date ({} migrations)", applied.len())), true))
}

/// Two looks: what was drawn before the first is settled by the second, if somebody looks after the watermark.
async fn watermark(connection: &mut PgConnection) -> sqlx::Result<Finding> {
    let (drawn, _): (i64, i64) = sqlx::query_as(PLACES).fetch_one(&mut *connection).await?;
    sleep(MOVES).await;
    let (_, watermark): (i64, i64) = sqlx::query_as(PLACES).fetch_one(&mut *connection).await?;
    if watermark >= drawn {
        return Ok(Finding::ok(
            "watermark",
            format!("readers may read up to {watermark}, which is all there is"),
        ));
    }
    let running: i64 = sqlx::query_scalar(WRITERS).fetch_one(connection).await?;
    let what = format!("the watermark is at {watermark} and the last number drawn is {drawn}");
    Ok(if running == 0 {
        Finding::ok("watermark", format!("{what}; no service runs that would move it"))
    } else {
        let remedy =
            "look for transactions that stand still above, and for \"watermark\" in the service's log";
        Finding::problem(
            "watermark",
            format!("{what}, though a service runs: no reader sees the events between"),
            remedy,
        )
    })
}

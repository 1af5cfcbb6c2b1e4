//! The long forms, and faults that take long to bring about.

use std::process::Command;

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make soak"]
async fn what_was_acknowledged_outlives_50_restarts_and_hard_stops_of_the_database() {
    let slowest = restarts(50, &["fsync = on"]).await;
    assert!(slowest < Duration::from_secs(5), "ready {slowest:?} after the database");
}

/// Why the tests of restarts can find a loss: here the database acknowledges what it has not written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make soak"]
async fn a_database_that_acknowledges_too_early_is_found_out() {
    let cluster = Cluster::start(&["synchronous_commit = off", "wal_buffers = '16MB'", "autovacuum = off"]);
    let app = home_over(&cluster.url()).await.serve().await;
    make_learner(&app).await;
    hold_the_log_back(&cluster).await;
    let (app, told) = busy_until(app, || cluster.stop(Stop::Immediate)).await;
    cluster.start_again();
    let (_, lost) = start_again_after_a_loss(app, &told).await;
    figures("acknowledged too early", &told, &format!("{} deliveries lost", lost.deliveries.len()));
    assert!(!lost.deliveries.is_empty(), "nothing was lost, so the other tests prove nothing");
}

/// From now on what is acknowledged stays in memory: the process that would write it stands still.
async fn hold_the_log_back(cluster: &Cluster) {
    let mut connection = PgConnection::connect(&cluster.url()).await.expect("it runs");
    let writer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'";
    let pid: i32 = sqlx::query_scalar(writer).fetch_one(&mut connection).await.expect("it writes");
    let stopped = Command::new("kill").args(["-STOP", &pid.to_string()]).status();
    assert!(stopped.is_ok_and(|status| status.success()), "it could not be held back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make soak"]
async fn a_network_that_is_slow_silent_or_refusing_holds_nobody_up_for_long_and_is_forgotten() {
    networks(&["slow", "silent", "refusing", "silent"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make soak"]
async fn a_database_that_is_locked_or_has_no_room_for_connections_is_waited_for_in_time() {
    let cluster = Cluster::start(&["max_connections = 30"]);
    let app = Arc::new(home_over(&cluster.url()).await.serve().await);
    make_learner(&app).await;
    let connect = async || PgConnection::connect(&cluster.url()).await;

    let load = Load::on(&app, Buyers::Few);
    load.goes_on().await;
    let mut locking = locked(&cluster).await;
    unready(&app, &["store: "]).await;
    for_a_while(5_000).await;
    locking.execute("ROLLBACK").await.expect("it is let go of");
    let back = ready(&app).await;

    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'membership'";
    let mut taken = Vec::new();
    let begun = Instant::now();
    // Until all of the service's are gone and it gets no others.
    while begun.elapsed() < Duration::from_secs(4) {
        locking.execute(cut).await.expect("they are cut");
        while let Ok(connection) = connect().await {
            taken.push(connection);
        }
    }
    unready(&app, &["store: "]).await;
    drop(taken);
    let room = ready(&app).await;
    load.goes_on().await;
    let told = load.end().await;
    let figure = format!("ready {back:.1?} after the lock, {room:.1?} after there was room");
    figures("locked and without room", &told, &figure);
    assert!(told.refused > 0, "nobody noticed");
    assert_well("locked and without room", &app, &told, &cluster.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: make soak"]
async fn a_full_disk_refuses_and_takes_again_when_there_is_room_on_postgres() {
    let Some(disk) = SmallDisk::of_megabytes(48) else { return };
    let cluster = Cluster::start(&[]);
    cluster.give(disk.folder());
    let mut connection = PgConnection::connect(&cluster.url()).await.expect("it runs");
    let space = format!("CREATE TABLESPACE small LOCATION '{}'", disk.folder().display());
    connection.execute(space.as_str()).await.expect("a place on the disk");
    connection.execute("CREATE DATABASE small TABLESPACE small").await.expect("a database on the disk");
    let app = Arc::new(home_over(&cluster.url_of("small")).await.serve().await);
    let told = full_disk("full disk under PostgreSQL", &app, &disk).await;
    assert_well("full disk under PostgreSQL", &app, &told, &cluster.url_of("small")).await;
    drop(app);
}

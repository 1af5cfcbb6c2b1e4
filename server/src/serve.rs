//! The listener: accepts as many connections as there is room for, answers, and stops without dropping what it has begun.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use api::Admission;
use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};
use webhook_ingest::routes;

use crate::app::{App, Stopping};
use crate::config::{Config, Role};
use crate::connection::{Stage, attend};
use crate::limits::{self, Limits};
use crate::refusal;

/// How long to wait when no connection can be accepted, for want of open files as a rule.
const PAUSE: Duration = Duration::from_millis(100);
/// How many clients that find no room are told so at once; more are closed without a word.
const TURNED_AWAY: usize = 64;
/// How long one that is turned away may take to read that.
const POLITENESS: Duration = Duration::from_secs(1);
/// How often connections that rest are asked to make room, at most.
const ROOM: Duration = Duration::from_millis(250);

/// Opens the port, so that a port in use is told before anything else is begun.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// The routes of a role.
pub fn routes(app: &App, config: &Config, role: Role) -> Router {
    let state = app.api_state(config);
    let mut router = if role.answers() {
        api::router(state.clone()).merge(console::router(&state))
    } else {
        api::health_router(state.clone())
    };
    if let (true, Some(secrets)) = (role.ingests(), &config.webhook_secrets) {
        router = router.merge(routes::router(app.intake(secrets.clone())));
    }
    api::serve_shell(router, state, Admission::new(config.limits.requests))
}

/// Answers until told to stop, then finishes the requests that were begun, in the time they have for that.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: impl Future<Output = ()>) {
    let protocol = Arc::new(limits::protocol());
    let room = Arc::new(Semaphore::new(limits.connections));
    let turned_away = Arc::new(Semaphore::new(TURNED_AWAY));
    let (stage, _) = watch::channel(Stage::Serving { crowded: 0 });
    let mut asked_for_room = None;
    let mut stop = pin!(stop);
    loop {
        let stream = tokio::select! {
            stream = accept(&listener) => stream,
            () = &mut stop => break,
        };
        if let Ok(place) = room.clone().try_acquire_owned() {
            let attended = attend(stream, router.clone(), protocol.clone(), limits, stage.subscribe());
            tokio::spawn(async move {
                attended.await;
                drop(place);
            });
            continue;
        }
        if asked_for_room.is_none_or(|asked: Instant| asked.elapsed() >= ROOM) {
            asked_for_room = Some(Instant::now());
            tracing::warn!(connections = limits.connections, "no room for another connection");
            stage.send_modify(|stage| {
                if let Stage::Serving { crowded } = stage {
                    *crowded += 1;
                }
            });
        }
        if let Ok(place) = turned_away.clone().try_acquire_owned() {
            tokio::spawn(async move {
                // Whoever does not read it in time is closed all the same.
                timeout(POLITENESS, turn_away(stream)).await.ok();
                drop(place);
            });
        }
    }
    drop(listener);
    stage.send_replace(Stage::Draining);
    if timeout(limits.drain, stage.closed()).await.is_err() {
        tracing::warn!(connections = stage.receiver_count() / 2, "what was still running has been cut off");
        stage.send_replace(Stage::CutOff);
        stage.closed().await;
    }
}

/// Ends what runs besides the listener, in the time there is for that: nothing acknowledged depends on it.
pub async fn close(app: App) {
    if timeout(limits::WORKER + limits::STORE, app.shutdown()).await.is_err() {
        tracing::warn!("the store did not close in time");
    }
}

/// The next connection. What goes wrong with one is no reason not to take the next.
async fn accept(listener: &TcpListener) -> TcpStream {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "TCP_NODELAY not set");
                }
                return stream;
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if !failing {
                    tracing::error!(%error, "connections cannot be accepted; trying again");
                }
                failing = true;
                sleep(PAUSE).await;
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionRefused | Kind::ConnectionReset)
}

/// Tells a client that there is no room, and reads what it sends so that it sees that.
async fn turn_away(mut stream: TcpStream) -> io::Result<()> {
    stream.write_all(&refusal::no_room()).await?;
    stream.shutdown().await?;
    let mut bytes = [0; 1024];
    while stream.read(&mut bytes).await? > 0 {}
    Ok(())
}

/// Returns when the process is asked to stop and has given notice of it. Being asked once more ends the process at once.
pub async fn asked_to_stop(mut signals: Signals, stopping: Stopping, notice: Duration) {
    signals.next().await;
    tracing::info!("stopping; ask once more to end at once");
    stopping.begin();
    end_when_asked_again(signals);
    sleep(notice).await;
}

/// From now on, being asked to stop ends the process at once.
pub fn end_when_asked_again(mut signals: Signals) {
    tokio::spawn(async move {
        let number = signals.next().await;
        tracing::warn!("ended at once, as asked");
        std::process::exit(128 + number);
    });
}

/// The signals that ask to stop.
pub struct Signals(Vec<(Signal, SignalKind)>);

impl Signals {
    /// From now on.
    pub fn heard() -> Self {
        let heard = [SignalKind::interrupt(), SignalKind::terminate()].into_iter().filter_map(|kind| {
            let heard = signal(kind);
            if let Err(error) = &heard {
                tracing::warn!(signal = kind.as_raw_value(), %error, "this signal cannot be heard");
            }
            Some((heard.ok()?, kind))
        });
        Self(heard.collect())
    }

    /// The number of the next one.
    pub async fn next(&mut self) -> i32 {
        poll_fn(|context| {
            let mut heard = self.0.iter_mut();
            let heard =
                heard.find_map(|(signal, kind)| signal.poll_recv(context).is_ready().then_some(*kind));
            heard.map_or(Poll::Pending, |kind| Poll::Ready(kind.as_raw_value()))
        })
        .await
    }
}

#[cfg(test)]
mod tests;

//! The listener: accepts, answers, and stops without dropping what it has begun.

use std::future::{Future, IntoFuture};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;
use webhook_ingest::routes;

use crate::app::App;
use crate::config::{Config, Role};

/// Opens the port, so that a port in use is told before anything else is begun.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// The routes of a role.
pub fn routes(app: &App, config: &Config, role: Role) -> Router {
    let state = app.api_state(config.service_tokens.clone());
    let mut router =
        if role.answers() { api::router(state.clone()) } else { api::health_router(state.clone()) };
    if let (true, Some(secrets)) = (role.ingests(), &config.webhook_secrets) {
        router = router.merge(routes::router(app.intake(secrets.clone())));
    }
    api::serve_shell(router, state)
}

/// How long requests that were begun may take to finish once the process is asked to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Answers until told to stop, then finishes the requests that were begun, within ten seconds.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY not set");
        }
    });
    let (stopping, stopped) = oneshot::channel();
    let stop = async move {
        stop.await;
        // Whoever waited has gone only when the server has ended by itself.
        stopping.send(()).ok();
    };
    let served = axum::serve(listener, router).with_graceful_shutdown(stop).into_future();
    let cut_off = async {
        match stopped.await {
            Ok(()) => sleep(DRAIN).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        served = served => served,
        () = cut_off => {
            tracing::warn!("requests were still running and have been cut off");
            Ok(())
        }
    }
}

/// Returns when the process is asked to stop.
pub async fn asked_to_stop() {
    let interrupted = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => {
            tokio::select! {
                _ = interrupted => {}
                _ = terminated.recv() => {}
            }
        }
        Err(error) => {
            tracing::warn!(%error, "SIGTERM cannot be heard; stop with Ctrl-C");
            drop(interrupted.await);
        }
    }
}

//! Listening: connections in, requests to the handler, and a stop with manners.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use super::handle;
use crate::app::App;

/// Opens the listening socket; the error names the address.
pub async fn bind(address: &str) -> Result<(TcpListener, SocketAddr)> {
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let local = listener.local_addr()?;
    Ok((listener, local))
}

/// Serves until `stop` turns true; then takes no more connections and lets requests under way finish
/// for as long as the configuration allows.
pub async fn serve(
    app: Arc<App>,
    router: Router,
    listener: TcpListener,
    mut stop: watch::Receiver<bool>,
) {
    let settings = &app.config.server;
    let places = Arc::new(Semaphore::new(settings.connections_max));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(settings.head_timeout_ms));
    builder.pipeline_flush(true);
    let graceful = GracefulShutdown::new();
    loop {
        let place =
            Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|&stop| stop) => break,
        };
        let Ok((stream, peer)) = accepted else {
            // Out of descriptors, or the client was gone already: give others time to leave.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Answers are small and complete: nothing is gained by waiting for more.
        stream.set_nodelay(true).ok();
        let (app, router) = (Arc::clone(&app), router.clone());
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let (app, router) = (Arc::clone(&app), router.clone());
            async move {
                let response = handle(&app, &router, request, peer.ip()).await;
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that hangs up in the middle is no fault of ours.
            connection.await.ok();
            drop(place);
        });
    }
    drop(listener);
    let patience = Duration::from_millis(settings.shutdown_ms);
    tokio::time::timeout(patience, graceful.shutdown()).await.ok();
}

//! `reckon serve`: the whole system on one machine.

#![expect(clippy::print_stdout, reason = "scripts that asked for port 0 read where it listens")]

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use reckon_disk::RealDisk;
use tokio::sync::watch;

use super::{load_config, runtime};
use crate::args::Serve;
use crate::clock::Clock;
use crate::data_dir::DataDir;
use crate::engines::{self, System};
use crate::http::{self, listen, scrape};

/// Runs until it is told to stop.
pub fn run(arguments: &Serve) -> Result<ExitCode> {
    let mut config = load_config(arguments.place.config.as_deref())?;
    let over = [
        (&mut config.server.listen, &arguments.listen),
        (&mut config.server.admin_listen, &arguments.admin_listen),
        (&mut config.server.grpc_listen, &arguments.grpc_listen),
    ];
    for (setting, typed) in over {
        if let Some(typed) = typed {
            setting.clone_from(typed);
        }
    }
    let threads = config.server.threads;
    let dir = DataDir(arguments.place.data.clone());
    let clock = Arc::new(Clock::new(arguments.clock));
    runtime(threads)?.block_on(async {
        let system = engines::start(config, &dir, Arc::new(RealDisk), clock).await?;
        let listening = Listening::open(&system).await?;
        announce(&system, &listening, &dir);
        stop_signal().await;
        eprintln!("stopping");
        listening.close().await;
        system.stop().await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Open listeners and what serves them.
pub struct Listening {
    /// The public interface.
    pub address: std::net::SocketAddr,
    /// The operators' interface, if any.
    pub admin_address: Option<std::net::SocketAddr>,
    stop: watch::Sender<bool>,
    servers: Vec<tokio::task::JoinHandle<()>>,
}

impl Listening {
    /// Opens the configured listeners of a system.
    pub async fn open(system: &System) -> Result<Self> {
        let app = &system.app;
        let (stop, stopped) = (app.stopping.clone(), app.stopping.subscribe());
        let (listener, address) = listen::bind(&app.config.server.listen).await?;
        let router = http::router(Arc::clone(app));
        let mut servers =
            vec![tokio::spawn(listen::serve(Arc::clone(app), router, listener, stopped.clone()))];
        let mut admin_address = None;
        if !app.config.server.admin_listen.is_empty() {
            // A second server on the machine is no reason not to start: /metrics is on the public
            // listener too, behind the scope `read`.
            match listen::bind(&app.config.server.admin_listen).await {
                Ok((listener, address)) => {
                    let router = scrape::admin_router(Arc::clone(app));
                    servers.push(tokio::spawn(listen::serve(
                        Arc::clone(app),
                        router,
                        listener,
                        stopped,
                    )));
                    admin_address = Some(address);
                }
                Err(error) => eprintln!("going on without server.admin_listen: {error:#}"),
            }
        }
        Ok(Listening { address, admin_address, stop, servers })
    }

    /// Takes no more requests and lets those under way finish.
    pub async fn close(self) {
        self.stop.send_replace(true);
        for server in self.servers {
            server.await.ok();
        }
    }
}

fn announce(system: &System, listening: &Listening, dir: &DataDir) {
    eprintln!("reckon {} on {}", env!("CARGO_PKG_VERSION"), dir.0.display());
    let factor = system.app.edge.clock.factor();
    if factor > 1 {
        eprintln!("  clock     {factor} times as fast as the wall's; for demos and tests");
    }
    eprintln!("  listening http://{}", listening.address);
    // For scripts that asked for port 0.
    println!("listening http://{}", listening.address);
    if let Some(address) = listening.admin_address {
        eprintln!("  operators http://{address}/metrics");
    }
    match &system.fresh_admin_key {
        Some(key) => {
            eprintln!("  admin key {key}  (shown once; kept in {})", dir.admin_key().display())
        }
        None => eprintln!("  admin key in {}", dir.admin_key().display()),
    }
}

/// Waits for SIGINT or SIGTERM.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate()).expect("signals can be listened to");
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

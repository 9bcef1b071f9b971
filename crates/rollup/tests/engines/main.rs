//! Real servers keep the promises of the seam, and what only a server can get wrong.
//!
//! `make engines-test` starts an old server (`old`) and the current engine (`current`) and names both in
//! RECKON_TEST_CLICKHOUSE. Every test runs on each of them, in databases of its own.

#[path = "../model/random.rs"]
mod random;

mod answers_differ_from_own_files;
mod requests_are_cut;
mod servers;
mod servers_are_killed;
mod twins;
mod two_write_at_once;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use reckon_rollup::clickhouse::{ClickHouse, Compacting, Options};
use reckon_rollup::conformance::{Engine, PROMISES};
use reckon_rollup::files::Filling;
use reckon_rollup::{Dimensions, RollupStore};
use servers::{Database, Server, each_server};

struct OnServer {
    options: Options,
    opened: AtomicU32,
}

impl OnServer {
    fn open(&self, options: Options) -> Arc<dyn RollupStore> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        Arc::new(ClickHouse::open(options).expect("it opens"))
    }
}

impl Engine for OnServer {
    fn open(&self) -> Arc<dyn RollupStore> {
        OnServer::open(self, self.options.clone())
    }

    fn open_with_detail_only(&self) -> Arc<dyn RollupStore> {
        let mut options = self.options.clone();
        options
            .cubes
            .retain(|cube| cube.dimensions == Dimensions::ALL && cube.filling == Filling::AtOnce);
        assert_eq!(options.cubes.len(), 2, "by minute and by second");
        OnServer::open(self, options)
    }
}

#[test]
fn every_promise_is_kept() {
    let servers = Mutex::new(Vec::new());
    each_server(|server| {
        for (n, (name, promise)) in PROMISES.iter().enumerate() {
            let database = Database::new(server);
            let compacting = if n % 2 == 0 { Compacting::Thread } else { Compacting::Inline };
            let hot_rows_max = if n % 3 == 0 { 40 } else { 1_000_000 };
            let options = Options { compacting, hot_rows_max, fan_in: 8, ..database.options() };
            let engine = OnServer { options, opened: AtomicU32::new(0) };
            println!("{}: {name}", server.name);
            promise(&engine);
            assert!(engine.opened.load(Ordering::Relaxed) > 0, "{name} has opened no store");
        }
        servers.lock().expect("nobody panics here").push(about(server));
    });
    let mut servers = servers.into_inner().expect("nobody has panicked");
    servers.sort();
    let servers = servers.join(" and on ");
    println!("clickhouse: {} promises checked on {servers}", PROMISES.len());
}

/// What a server is, and how far what it has said to hold is safe there.
fn about(server: &Server) -> String {
    let database = Database::new(server);
    let store = ClickHouse::open(database.options()).expect("it opens");
    let version = store.server_version();
    let waits = store.waits_for_disk();
    match server.name.as_str() {
        "old" => {
            assert!(!waits, "it has no setting for it");
            println!("old: what is persisted survives the death of the server, not a power cut");
            format!("clickhouse-server {version}")
        }
        "current" => {
            assert!(waits, "it has settings for it");
            format!("the engine of ClickHouse {version} (chdb)")
        }
        name => format!("{name} {version}"),
    }
}

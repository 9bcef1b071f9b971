//! The servers that tests run against: the one they share, and those they kill.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reckon_disk::TempDir;
use reckon_lake::{S3Keys, S3Options};

/// A server of the S3 protocol.
#[derive(Clone, Debug)]
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub endpoint: String,
    keys: S3Keys,
    /// The folder that its buckets are.
    pub files: PathBuf,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Server {
    /// The one that is there for all tests.
    pub fn shared() -> Self {
        Self::of(|name| {
            std::env::var(name)
                .unwrap_or_else(|_| panic!("{name} is not set: run `make engines-test`"))
        })
    }

    fn of(value: impl Fn(&str) -> String) -> Self {
        let keys = value("RECKON_TEST_S3_KEYS");
        let (id, secret) = keys.split_once(':').expect("KEY:SECRET");
        Server {
            endpoint: value("RECKON_TEST_S3"),
            keys: S3Keys {
                access_key_id: id.to_owned(),
                secret_access_key: secret.to_owned(),
                session_token: None,
            },
            files: PathBuf::from(value("RECKON_TEST_S3_FILES")),
        }
    }

    /// A prefix that nobody has used, with deadlines that a busy machine keeps.
    pub fn options(&self) -> S3Options {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time since 1970");
        let prefix = format!("run-{}/{number}", now.as_micros());
        S3Options {
            prefix,
            endpoint: Some(self.endpoint.clone()),
            keys: Some(self.keys.clone()),
            request: Duration::from_secs(20),
            deadline: Duration::from_secs(60),
            pause: Duration::from_millis(5),
            ..S3Options::at("s3://reckon").expect("a place")
        }
    }

    /// The same, by way of another address.
    pub fn options_by(&self, endpoint: &str) -> S3Options {
        S3Options { endpoint: Some(endpoint.to_owned()), ..self.options() }
    }
}

/// A server of a test's own, to be killed; ended with its holder.
pub struct OwnServer {
    folder: TempDir,
    /// How to reach it.
    pub server: Server,
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/engines/s3.sh");

fn tell(what: &str, folder: &Path) {
    let status = Command::new("bash").arg(SCRIPT).arg(what).arg(folder).status();
    assert!(status.expect("bash runs").success(), "s3.sh {what} {}", folder.display());
}

impl OwnServer {
    pub fn start() -> Self {
        let folder = TempDir::new("s3");
        tell("start", folder.path());
        let lines = fs::read_to_string(folder.path().join("env")).expect("it says where it is");
        let value = |name: &str| {
            let line = lines.lines().find_map(|line| line.strip_prefix(&format!("export {name}=")));
            line.unwrap_or_else(|| panic!("{name}")).to_owned()
        };
        let server = Server::of(value);
        OwnServer { folder, server }
    }

    /// Kills it; what it was doing is cut off.
    pub fn kill(&self) {
        tell("kill", self.folder.path());
    }

    /// Starts it again where it was.
    pub fn start_again(&self) {
        tell("start", self.folder.path());
    }
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        tell("stop", self.folder.path());
    }
}

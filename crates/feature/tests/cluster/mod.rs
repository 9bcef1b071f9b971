//! The cluster under test: what stands in it, and what can be done to it.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long a cluster may take to be whole again.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running cluster.
pub struct Cluster {
    /// Its nodes, with commas in between.
    pub nodes: String,
    dir: PathBuf,
}

/// A node, as `CLUSTER NODES` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub id: String,
    pub port: u16,
    pub is_master: bool,
    pub slots: usize,
}

impl Cluster {
    /// The one that `deploy/engines/redis.sh start` has started, once it is whole.
    pub fn whole() -> Self {
        let var = |name: &str| {
            std::env::var(name)
                .unwrap_or_else(|_| panic!("{name} is not set: run `make engines-test`"))
        };
        let cluster =
            Cluster { nodes: var("RECKON_TEST_REDIS"), dir: var("RECKON_TEST_REDIS_DIR").into() };
        cluster.await_whole();
        cluster
    }

    pub fn ports(&self) -> Vec<u16> {
        let port = |node: &str| node.rsplit(':').next().and_then(|port| port.parse().ok());
        self.nodes.split(',').map(|node| port(node).expect("host:port")).collect()
    }

    /// What `redis-cli` says to a node; `None` where it cannot be reached, or answers with an error.
    pub fn ask(&self, port: u16, words: &[&str]) -> Option<String> {
        let said = Command::new("redis-cli")
            .args(["-c", "-e", "-p", &port.to_string()])
            .args(words)
            .output()
            .expect("redis-cli is installed");
        said.status.success().then(|| String::from_utf8_lossy(&said.stdout).trim().to_owned())
    }

    /// As any node of the cluster answers.
    pub fn ask_any(&self, words: &[&str]) -> String {
        let answers = self.ports().into_iter().find_map(|port| self.ask(port, words));
        answers.unwrap_or_else(|| panic!("no node answers {words:?}"))
    }

    /// Every node that is alive, as one of them sees it.
    pub fn alive(&self) -> Vec<Node> {
        let told = self.ask_any(&["cluster", "nodes"]);
        let is_alive = |line: &&str| !line.contains("fail") && !line.contains("noaddr");
        told.lines().filter(is_alive).filter_map(node).collect()
    }

    /// Masters that serve slots, by their ports.
    pub fn masters(&self) -> Vec<Node> {
        let mut masters = self.alive();
        masters.retain(|node| node.is_master && node.slots > 0);
        masters.sort_by_key(|node| node.port);
        masters
    }

    /// The master that serves a key.
    pub fn master_of(&self, key: &str) -> Node {
        let slot: usize = self.ask_any(&["cluster", "keyslot", key]).parse().expect("a slot");
        let told = self.ask_any(&["cluster", "nodes"]);
        let serves =
            |line: &&str| line.split(' ').skip(8).filter_map(range).any(|r| r.contains(&slot));
        told.lines().find(serves).and_then(node).expect("every slot is served")
    }

    /// Ends a node at once. It is started again when the answer is dropped.
    pub fn kill(&self, port: u16) -> Dead<'_> {
        let pid = std::fs::read_to_string(self.dir.join(format!("{port}/pid"))).expect("it runs");
        let killed = Command::new("kill").args(["-KILL", pid.trim()]).status();
        assert!(killed.expect("kill is there").success(), "process {pid}");
        Dead { cluster: self, port }
    }

    fn revive(&self, port: u16) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/engines/redis.sh");
        let revived = Command::new("bash")
            .arg(script)
            .arg("revive")
            .arg(&self.dir)
            .arg(port.to_string())
            .status();
        assert!(revived.expect("bash is there").success(), "the node on {port}");
    }

    /// Moves slots between masters, as an operator would: once all nodes have heard of the move before.
    pub fn reshard(&self, from: &Node, to: &Node, slots: usize) {
        self.await_whole();
        let said = Command::new("redis-cli")
            .args(["--cluster", "reshard", &format!("127.0.0.1:{}", from.port)])
            .args(["--cluster-from", &from.id, "--cluster-to", &to.id])
            .args(["--cluster-slots", &slots.to_string(), "--cluster-yes"])
            .output()
            .expect("redis-cli is installed");
        let told = String::from_utf8_lossy(&said.stdout);
        assert!(said.status.success(), "{}", &told[told.len().saturating_sub(2_000)..]);
    }

    /// Waits until every slot is served, every master has a replica, and all nodes say the same of it.
    pub fn await_whole(&self) {
        let began = Instant::now();
        while !self.is_whole() {
            assert!(began.elapsed() < PATIENCE, "the cluster does not become whole");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn is_whole(&self) -> bool {
        let ports = self.ports();
        let view = self.view(ports[0]);
        view.is_some()
            && ports.into_iter().all(|port| {
                let told = |words: &[&str]| self.ask(port, words).unwrap_or_default();
                let replication = told(&["info", "replication"]);
                told(&["cluster", "info"]).contains("cluster_state:ok")
                    && (replication.contains("master_link_status:up")
                        || replication.contains("state=online"))
                    && self.view(port) == view
            })
    }

    /// Who serves which slots, as a node sees it: news of a move take their time to go round, and only
    /// the two nodes between which a slot is moving know of that.
    fn view(&self, port: u16) -> Option<Vec<String>> {
        let told = self.ask(port, &["cluster", "nodes"])?;
        let line = |line: &str| {
            let parts: Vec<_> = line.split(' ').collect();
            let role = if parts.get(2)?.contains("master") { "master" } else { "replica" };
            Some(format!("{} {role} {}", parts[0], parts.get(8..).unwrap_or_default().join(" ")))
        };
        let mut view: Vec<_> = told.lines().filter_map(line).collect();
        view.sort_unstable();
        Some(view)
    }
}

/// A node that has been ended: whatever becomes of the test, the next one finds it alive.
pub struct Dead<'a> {
    cluster: &'a Cluster,
    port: u16,
}

impl Drop for Dead<'_> {
    fn drop(&mut self) {
        self.cluster.revive(self.port);
    }
}

/// `id host:port@bus flags master ping pong epoch link slots...`
fn node(line: &str) -> Option<Node> {
    let parts: Vec<_> = line.split(' ').collect();
    let port = parts.get(1)?.split('@').next()?.rsplit(':').next()?.parse().ok()?;
    let slots = parts.iter().skip(8).filter_map(|part| range(part)).map(|r| r.count()).sum();
    Some(Node { id: parts[0].to_owned(), port, is_master: parts[2].contains("master"), slots })
}

/// `12-34` or `12`; slots on their way stand in brackets.
fn range(part: &str) -> Option<std::ops::RangeInclusive<usize>> {
    let (from, to) = part.split_once('-').unwrap_or((part, part));
    Some(from.parse().ok()?..=to.parse().ok()?)
}

//! A real `reckon serve` process, and a small blocking client to ask it: for tests that kill.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A server process on its own data folder. Killed when dropped.
pub struct Process {
    child: Child,
    /// `host:port`.
    pub address: String,
}

impl Process {
    /// Starts `reckon serve` and waits until it listens. The too-fast rule is off: tests click at once.
    pub fn start(data: &Path) -> Self {
        Self::start_with(data, &[("RECKON__RULES__ENABLED", "false")])
    }

    /// Starts it with settings from the environment.
    pub fn start_with(data: &Path, settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_reckon"))
            .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "", "--data"])
            .arg(data)
            .envs(settings.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
        let address = line
            .trim()
            .strip_prefix("listening http://")
            .unwrap_or_else(|| panic!("said {line:?}"));
        Process { address: address.to_owned(), child }
    }

    /// SIGKILL: no hook runs, nothing is flushed. Does not wait until it is gone.
    pub fn signal_kill(&self) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-KILL", &pid]).status().expect("kill is there");
        assert!(status.success(), "the process was ours and running");
    }

    /// Waits until a killed process is gone.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("it was ours");
    }

    /// A new connection to it.
    pub fn connect(&self) -> Client {
        Client::connect(&self.address).expect("it listens")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An answer, as far as the tests look at it.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub degraded: bool,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// One keep-alive connection.
pub struct Client {
    stream: BufReader<TcpStream>,
    /// Sent with every request where not empty.
    pub key: String,
}

impl Client {
    pub fn connect(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(600)))?;
        Ok(Client { stream: BufReader::new(stream), key: String::new() })
    }

    /// With an API key.
    pub fn with_key(mut self, key: &str) -> Self {
        key.clone_into(&mut self.key);
        self
    }

    /// Sends one request and reads its answer; an error where the server went away.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
        let key = match self.key.as_str() {
            "" => String::new(),
            key => format!("Authorization: Bearer {key}\r\n"),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: reckon.test\r\n{key}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        self.read_answer(method)
    }

    pub fn get(&mut self, path: &str) -> std::io::Result<Answer> {
        self.ask("GET", path, "")
    }

    #[track_caller]
    pub fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, &body.to_string()).expect("the server answers")
    }

    fn read_answer(&mut self, method: &str) -> std::io::Result<Answer> {
        let gone = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(gone());
        }
        let status = line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(gone)?;
        let mut answer = Answer { status, location: None, degraded: false, body: Vec::new() };
        let mut length = 0;
        loop {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(gone());
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().map_err(|_| gone())?,
                "location" => answer.location = Some(value.to_owned()),
                "reckon-degraded" => answer.degraded = true,
                _ => {}
            }
        }
        if method != "HEAD" {
            answer.body.resize(length, 0);
            self.stream.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }
}

/// The binary, with the settings of [`Process::start`].
pub fn reckon(arguments: &[&str], data: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reckon"))
        .args(arguments)
        .arg("--data")
        .arg(data)
        .env("RECKON__RULES__ENABLED", "false")
        .output()
        .expect("the binary starts")
}

/// The binary, in a folder, with nothing but these arguments.
pub fn reckon_in(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reckon"))
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("the binary starts")
}

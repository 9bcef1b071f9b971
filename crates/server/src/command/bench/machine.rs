//! The machine that figures were measured on.

use serde_json::{Value, json};

/// Cores and processor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Cores this process may use; the server and the load share them when both are here.
    pub cores: usize,
    /// The processor's name for itself.
    pub cpu: String,
}

impl Machine {
    /// This machine.
    pub fn here() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Machine { cores, cpu: model_name(&cpuinfo).unwrap_or("unknown").to_owned() }
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        json!({"cores": self.cores, "cpu": self.cpu})
    }
}

fn model_name(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_named() {
        let text = "processor\t: 0\nmodel name\t: Some(R) CPU @ 2.00GHz\nflags\t: x\n";
        assert_eq!(model_name(text), Some("Some(R) CPU @ 2.00GHz"));
        assert_eq!(model_name(""), None);
    }
}

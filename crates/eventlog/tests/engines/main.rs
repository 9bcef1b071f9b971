//! The engines that are servers keep the seam's promises, on real servers, and what only they can get
//! wrong. Run by `make engines-test`, which starts the servers.
#![expect(clippy::print_stdout, reason = "tests say how much they compared")]

mod brokers_die;
mod cluster;
mod copy;
mod limits;
mod poison;
mod promises;
mod reading;
mod sender;
mod settings;
#[path = "../strands/mod.rs"]
mod strands;

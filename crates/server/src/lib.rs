//! The binary: HTTP, gRPC, auth, keys, console, command line, configuration, and the wiring of engines.
//!
//! It is a library with a thin `main`, so that tests can make an [`app::App`] and ask it with
//! requests as values. This is the only crate that knows HTTP, configuration, the environment, key
//! files and the wall clock; everything below it is told.

pub mod access;
pub mod app;
pub mod args;
pub mod audit;
pub mod beat;
pub mod billing;
pub mod catalog;
pub mod catalog_load;
pub mod clock;
pub mod command;
pub mod config;
pub mod data_dir;
pub mod edge;
pub mod engines;
pub mod erasure;
pub mod freshness;
pub mod http;
pub mod mint;
pub mod persons;
pub mod retention;
pub mod rules;
pub mod secrets;
pub mod skew;

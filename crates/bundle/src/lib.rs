//! One model as one immutable, checksummed artifact, with the rows that prove it.
//!
//! [`Contents`] are written once and never changed; [`Bundle`] reads them, refuses what is damaged,
//! foreign or scored differently than where it was made, and then answers. It is the one type that scores
//! whatever it holds: log odds of each candidate ([`Bundle::score`]), and from them the probability
//! ([`Bundle::probability`]: sampling correction, then calibration, each once).
//!
//! A model may want rows in another form than the manifest's columns: an [`Encoding`] goes before it.
//!
//! Here as well: taking in models of others ([`import`]): LightGBM's text, trees and networks in ONNX
//! ([`Net`]), weights in safetensors. The format is drawn in `docs/bundle-format.md`.

mod bundle;
mod container;
pub mod encoding;
mod error;
mod foreign;
mod forest;
mod golden;
pub mod import;
pub mod manifest;
mod model;
mod onnx;

pub use bundle::{Bundle, Contents, Scored};
pub use container::{BYTES_MAX, BundleId, Container, Section, write as write_container};
pub use encoding::Encoding;
pub use error::{BundleError, ImportError};
pub use foreign::Foreign;
pub use forest::ForestModel;
pub use golden::{Expected, Golden, ROWS_MAX};
pub use manifest::{Kind, Manifest};
pub use model::{LinearInputs, Model, Rows, Scratch, folded};
pub use onnx::Net;

//! Models of others in ONNX: small networks run in tract, tree ensembles become trees of ours.
//!
//! An ONNX file is a program from outside, so it is held to a short list before anything runs it:
//!
//! 1. [`wire`] walks the bytes and refuses what would be large in memory, refers to other files, or has
//!    no business here (graphs within graphs, functions, training).
//! 2. [`graph`] checks the decoded graph: known operators, names in order (so no cycles), tensors as
//!    long as they say.
//! 3. [`net`] has tract find out every shape and bounds them before anything is computed. tract panics on
//!    some broken graphs; such a panic is caught and becomes a refusal.

mod graph;
mod net;
mod wire;

pub use net::Net;

use crate::ImportError;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::Framework;

/// An ONNX file has at most this many bytes.
pub const FILE_BYTES_MAX: usize = 256 << 20;

/// Decodes a file, once its bytes were walked.
pub(crate) fn decode(bytes: &[u8]) -> Result<ModelProto, ImportError> {
    wire::check(bytes)?;
    let mut bytes = bytes;
    tract_onnx::onnx()
        .proto_model_for_read(&mut bytes)
        .map_err(|error| ImportError::onnx(format!("it is no protobuf of a model: {error}")))
}

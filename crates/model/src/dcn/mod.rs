//! DCN-v2: a deep network beside a cross network, over embeddings of keys and normalised numbers.
//!
//! ```text
//! x0 = [normalised columns | embeddings of the fields]
//! cross:  x(l+1) = x0 * (U(l) V(l) x(l) + b(l)) + x(l)        V, U of low rank, or one full W(l)
//! hidden: h(l+1) = relu(W(l) h(l) + b(l))
//! stacked:  logit = bias + wide + output . hidden(cross(x0))
//! parallel: logit = bias + wide + output . [cross(x0) | hidden(x0)]
//! wide = a weight of each column's number + a weight of each key
//! ```
//!
//! After Wang et al., "DCN V2" (WWW 2021). The wide term is not theirs: with it the network starts as a
//! logistic regression of its keys, and never falls behind one on data too small for embeddings.
//!
//! A [`Survey`] reads the training rows once: how each column's numbers lie, and which keys are
//! frequent. A [`Trainer`] learns with sparse Adagrad for what belongs to keys and Adam for everything
//! else, one thread, the same bytes for the same seed. [`Weights`] are what it has learned, as plain
//! tensors by name; they have a compact byte form, come from PyTorch as well, and score plainly.
//! [`Served`] scores the candidates of a request: what is the user's is computed once.

mod bytes;
mod checkpoint;
mod head;
mod inputs;
mod layout;
mod pass;
mod product;
mod served;
mod shape;
mod sparse;
mod survey;
#[cfg(test)]
mod tests;
mod trainer;
mod weights;

pub use inputs::{Column, Inputs};
pub use served::{Precision, Scratch, Served};
pub use shape::{Shape, ShapeError, Structure};
pub use survey::{Survey, SurveyOptions};
pub use trainer::{Batch, BatchError, Trainer, TrainerOptions};
pub use weights::{Tensor, TensorError, Weights};

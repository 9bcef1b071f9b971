//! What every engine does alike: cubes and which of them answer, rows and how they are folded into
//! groups, windows, order and texts, the part in memory that is not durable yet, the line of epochs.
//!
//! An engine keeps rows and finds them again; what they mean is decided here, once, so that no two
//! engines answer differently.

pub(crate) mod cube;
pub(crate) mod fold;
pub(crate) mod gathered;
pub(crate) mod hot;
pub(crate) mod line;
pub(crate) mod live;
pub(crate) mod names;
pub(crate) mod order;
pub(crate) mod plan;
pub(crate) mod ranking;
pub(crate) mod recount;
pub(crate) mod row;
pub(crate) mod slide;

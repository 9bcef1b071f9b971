//! The data set, the fit and the judge, from the outside.

mod logs;
mod market;
mod tables_tear;

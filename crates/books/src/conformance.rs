//! What every engine of the books promises, one function a promise.

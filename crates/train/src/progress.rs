//! How far work has come. The bar on a terminal is somebody else's; here is only what it shows.

/// Is told how far a step has come, and may end it.
pub trait Progress {
    /// `done` of `total` rows of a step are through; 0 where the total is not known beforehand.
    fn advance(&mut self, step: &str, done: u64, total: u64);

    /// Whether work should end at the next place where it can be taken up again.
    fn is_stopped(&self) -> bool {
        false
    }
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn advance(&mut self, _step: &str, _done: u64, _total: u64) {}
}

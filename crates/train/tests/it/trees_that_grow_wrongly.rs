//! Trees that were grown by another library than the one that scores them; that went on after a stop from
//! somewhere else than where they had been; that took a row which stands for five as one. All of them
//! load, and all of them answer.
//!
//! What LightGBM itself says of the same trees is compared where they are grown
//! (`src/fit/lightgbm/tests.rs`); here are fits as callers see them.

use reckon_train::fit::{CodeOptions, Epochs, FitOptions, Learner, TreeOptions};

#[cfg(feature = "lightgbm")]
mod grown;

const EPOCHS: Epochs = Epochs { most: 120, patience: 20, batch: 1_000 };

fn trees(options: TreeOptions) -> FitOptions {
    FitOptions::of(Learner::Trees { options, codes: CodeOptions::USUAL, epochs: EPOCHS })
}

/// A build without LightGBM says so, and what to do.
#[cfg(not(feature = "lightgbm"))]
#[test]
fn a_build_without_lightgbm_says_what_has_it() {
    use crate::market::{self, Market};

    let folder = tempfile::tempdir().expect("a folder");
    let market = Market { rows: 100, list: 5, seed: 1, bias: 0.0, users: 5, ads: 5 };
    let table = market::write(market, &folder.path().join("rows"));
    let parts = reckon_train::Parts::usual(&table).expect("parts");
    let options = trees(TreeOptions::default());
    let refused = reckon_train::fit(&table, &parts, &options, &mut reckon_train::Silent);
    let reason = refused.expect_err("it is refused").to_string();
    assert!(reason.starts_with("model: this build has no LightGBM"), "{reason}");
    assert!(reason.contains("`make build`") && reason.contains("--features lightgbm"), "{reason}");
}

//! The data set, the fit and the judge, from the outside.

#![expect(clippy::print_stdout, reason = "tests say how much they compared")]

mod bundles_say_something_else;
mod fits_that_learn_wrongly;
mod judges_that_let_worse_models_through;
mod learners;
mod logs;
mod market;
mod places_that_click_for_the_ad;
mod rows_of_the_lake;
mod tables_tear;
mod trees_that_grow_wrongly;

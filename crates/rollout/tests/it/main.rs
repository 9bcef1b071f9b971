//! What the learner makes of a log: see the modules.

#![expect(clippy::print_stdout, reason = "tests say what they compared")]

mod a_row_comes_late;
mod older_states;
mod served;
mod the_model_survives;

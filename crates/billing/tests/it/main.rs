//! Billing against a naive recount, with real books and a real rollup.

mod accounts_that_fail;
mod budgets_run_out;
mod closes_are_cut_off;
mod closes_are_refused;
mod every_history_bills_the_same;
mod history;
mod invoices_add_up;
mod judge;
mod knowledge_comes_late;
mod ledger_differs_from_recount;
mod machine;
mod market;
#[path = "../../../count/tests/traffic/mod.rs"]
mod traffic;
mod world;

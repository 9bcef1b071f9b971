//! What is owed: closed days, charges, credits, adjustments, budgets and invoices.
//!
//! Counting says how many clicks at which price; this crate makes money of them, in the ledger of the
//! books ([`reckon_books::Accounts`]). Everything that decides an amount is pure ([`charges`],
//! [`differences`], [`credits`]); what is around it ([`close`], [`adjust`]) reads, decides, and posts
//! by key, so that it can be cut off anywhere and run again.
//!
//! - **A charge** is a counted click at its price; an entry sums those of an ad and hour.
//! - **A credit** gives back what was delivered beyond a day's budget, hour by hour.
//! - **An adjustment** is what became known after close. Nothing is edited, and nothing falls below
//!   zero: frozen figures plus adjustments equal a recount of what is known now.
//! - **Budgets** are watched by [`SpendView`] as counting goes on; it decides what is served, never
//!   what is owed.
//!
//! Currencies are never added, and money is integer micros throughout.

mod adjust;
mod answer;
mod budget;
mod charge;
mod close;
mod error;
mod figure;
mod invoice;
mod line;
mod names;
mod post;
mod spend;
mod sum;
mod zone;

pub use adjust::{Differences, Finding, Known, differences};
pub use answer::{
    ADJUSTMENTS_LISTED_MAX, AccountAnswer, AdjustmentAnswer, BalanceAnswer, CurrencySum, DAYS_MAX,
    DayAnswer, FrozenAnswer, PeriodAnswer, account_answer, period_answer,
};
pub use budget::{budget_in_force, charged, credits};
pub use charge::{charges, freezable};
pub use close::{CloseOptions, Closed, Counting, Progress, Reconciled, adjust, close, period};
pub use error::{Cause, Error};
pub use figure::{Figure, Figures, rollup_figures};
pub use invoice::{Invoice, InvoiceLine, InvoicePeriod, invoice, invoices, invoices_csv};
pub use line::{Amount, Line};
pub use names::Names;
pub use post::{
    Adjusted, adjusted_line, adjustment_entry, adjustment_record, post_adjustment, post_all,
};
pub use spend::{CampaignKey, DAYS_KEPT, Opened, Pace, Spend, SpendView};
pub use sum::Sum;
pub use zone::Zone;

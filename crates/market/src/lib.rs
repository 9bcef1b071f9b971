//! A simulated market with known truth; pure, seeded.
//!
//! Real logs tell what was clicked, never how likely it was, and never which of their clicks came from
//! a machine. Here both are known: [`Market`] holds advertisers, ads, pages and people with tastes
//! nobody is told, says how likely any of them is to click what on which place at what time, draws
//! what they do from that, and mixes in all that goes wrong between a person and a counter
//! ([`Trouble`]). What must have been counted in the end is told by an independent model of the rules
//! ([`Used`], [`Counts`]), and what was predicted is judged against the true probability itself
//! ([`Judgement`]), so that no luck of the draw stands between a model and its figure.
//!
//! No I/O, no clock: the seed and the times are arguments. The same seed gives the same market and the
//! same visits to the last bit on one machine; which ads are shown is the server's choice, and what
//! people do about them follows from the seed, the visit and what was shown.
//!
//! # What people click
//!
//! The chance that someone clicks an ad on position `k` is `examination(k) * sigmoid(logit)`: the
//! position decides whether the ad is looked at, all else whether it is liked (the examination
//! hypothesis: Richardson, Dominowska, Ragno, WWW 2007). The logit is a sum, in standard deviations:
//!
//! | part | sd |
//! |---|---|
//! | the ad's own appeal, and its campaign's | 0.6, 0.2 |
//! | taste for the ad's category: of the person's group, and the person's own | 0.55, 0.4 |
//! | how readily the person clicks at all | 0.3 |
//! | device x category, device x creative size, device x ad | 0.25, 0.2, 0.15 |
//! | region x category | 0.2 |
//! | the page and its placement | 0.2, 0.15 |
//! | page category x ad category | 0.2, and 0.5 more where they are the same |
//! | hour of the day | a curve, lowest at night |
//!
//! Groups read other pages, live in other regions and hold other devices, so a part of taste shows in
//! what a server is told, and the rest only in what a person has clicked before. At a set hour the
//! tastes of groups change, and at set hours new ads begin.

mod counts;
mod curve;
mod expect;
mod judgement;
mod lines;
mod list;
mod options;
mod random;
mod reaction;
mod taste;
mod visit;
mod world;

pub use counts::{Cell, Counts};
pub use curve::Curve;
pub use expect::{Door, Rules, Used};
pub use judgement::{Alternative, Bucket, Judgement, Served};
pub use lines::{Lines, LinesTruth};
pub use list::{List, Shown};
pub use options::{Drift, Options, Trouble, Troubles};
pub use random::Random;
pub use reaction::{Act, Placed, Reaction, Scanner, Step, Upload};
pub use taste::{POSITION_DECAY, Scene, examination};
pub use visit::{Bot, Channel, Visit, Visitor, Visits};
pub use world::{Ad, Advertiser, CATEGORIES, Campaign, Device, Market, Page, REGIONS, SIZES, User};

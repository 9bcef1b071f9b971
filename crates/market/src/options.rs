//! What a market is made of, and how much goes wrong in it.

use crate::POSITION_DECAY;

/// What makes a market; see [`Options::new`] for what is usual.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The seed: everything else follows from it and the numbers below.
    pub seed: u64,
    /// People who come back; at least 1.
    pub user_count: usize,
    /// Ads, those that begin later included; at least 1.
    pub ad_count: usize,
    /// The click-through rate where ads are chosen by chance.
    pub mean_ctr: f64,
    /// The chance that a place is looked at falls with its number to this power; 0: each is looked at.
    pub position_decay: f64,
    /// When tastes change; `None` for a market that stays as it is.
    pub drift: Option<Drift>,
    /// Hours after the start at which new ads begin, an equal part of `launched_share` each.
    pub launch_hours: Vec<u32>,
    /// The share of ads that begin later.
    pub launched_share: f64,
    /// What goes wrong.
    pub troubles: Troubles,
}

/// A change of tastes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// Hours after the start.
    pub hour: f64,
    /// Correlation of each group's taste afterwards with its taste before.
    pub kept: f64,
}

impl Options {
    /// The usual market of a seed.
    pub fn new(seed: u64) -> Self {
        Options {
            seed,
            user_count: 2_000,
            ad_count: 80,
            mean_ctr: 0.045,
            position_decay: POSITION_DECAY,
            drift: Some(Drift { hour: 14.0, kept: 0.4 }),
            launch_hours: vec![6, 10, 18],
            launched_share: 0.24,
            troubles: Troubles::usual(),
        }
    }
}

/// Something that goes wrong on the way from a person to a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// A second click shortly after the first, with the same token. Rate: of clicks.
    DoubleClick,
    /// A link checker asks for the click's URL with HEAD before the person does. Rate: of shown ads.
    ScanHead,
    /// A browser fetches the click's URL ahead. Rate: of shown ads.
    ScanPrefetch,
    /// A robot that says it is one opens the click's URL. Rate: of shown ads.
    ScanRobot,
    /// A machine that looks like a browser and clicks a dozen ads within a minute, from one of a few
    /// addresses. Rate: of visits.
    Bot,
    /// A browser fetches a pixel again. Rate: of pixels.
    PixelAgain,
    /// A phone sends a batch again. Rate: of batches.
    BatchAgain,
    /// A phone is offline and uploads hours later. Rate: of batches.
    LatePhone,
    /// An impression that is never told of, by pixel or batch. Rate: of shown ads.
    LostPixel,
    /// A click with an edited token. Rate: of shown ads.
    Forged,
    /// A click on an ad that nobody registered. Rate: of shown ads.
    UnknownAd,
    /// A click without a token. Rate: of shown ads.
    Unsigned,
    /// A shop tells an order again with the same id. Rate: of orders.
    OrderAgain,
    /// A shop tells an order again with the same id and another value. Rate: of orders.
    Contradiction,
}

impl Trouble {
    /// All of them, in the order in which they are told.
    pub const ALL: [Trouble; 14] = [
        Trouble::DoubleClick,
        Trouble::ScanHead,
        Trouble::ScanPrefetch,
        Trouble::ScanRobot,
        Trouble::Bot,
        Trouble::PixelAgain,
        Trouble::BatchAgain,
        Trouble::LatePhone,
        Trouble::LostPixel,
        Trouble::Forged,
        Trouble::UnknownAd,
        Trouble::Unsigned,
        Trouble::OrderAgain,
        Trouble::Contradiction,
    ];

    /// Its name, in options and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Trouble::DoubleClick => "double_click",
            Trouble::ScanHead => "scan_head",
            Trouble::ScanPrefetch => "scan_prefetch",
            Trouble::ScanRobot => "scan_robot",
            Trouble::Bot => "bot",
            Trouble::PixelAgain => "pixel_again",
            Trouble::BatchAgain => "batch_again",
            Trouble::LatePhone => "late_phone",
            Trouble::LostPixel => "lost_pixel",
            Trouble::Forged => "forged",
            Trouble::UnknownAd => "unknown_ad",
            Trouble::Unsigned => "unsigned",
            Trouble::OrderAgain => "order_again",
            Trouble::Contradiction => "contradiction",
        }
    }

    /// The trouble of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|trouble| trouble.name() == name)
    }

    const fn usual_rate(self) -> f64 {
        match self {
            Trouble::DoubleClick => 0.06,
            Trouble::ScanHead | Trouble::ScanPrefetch | Trouble::ScanRobot => 0.005,
            Trouble::Bot => 0.001,
            Trouble::PixelAgain => 0.02,
            Trouble::BatchAgain => 0.03,
            Trouble::LatePhone => 0.04,
            Trouble::LostPixel => 0.02,
            Trouble::Forged | Trouble::UnknownAd | Trouble::Unsigned => 0.003,
            Trouble::OrderAgain | Trouble::Contradiction => 0.05,
        }
    }
}

/// How often each trouble comes; see [`Trouble`] for what the rates are of.
#[derive(Clone, Debug, PartialEq)]
pub struct Troubles([f64; Trouble::ALL.len()]);

impl Troubles {
    /// As often as is usual.
    pub fn usual() -> Self {
        Troubles(Trouble::ALL.map(Trouble::usual_rate))
    }

    /// None at all.
    pub const fn none() -> Self {
        Troubles([0.0; Trouble::ALL.len()])
    }

    /// With one rate changed; 0 switches the trouble off.
    pub const fn with(mut self, trouble: Trouble, rate: f64) -> Self {
        self.0[trouble as usize] = rate;
        self
    }

    /// How often a trouble comes.
    pub const fn rate(&self, trouble: Trouble) -> f64 {
        self.0[trouble as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_has_a_name_and_a_rate_of_its_own() {
        for (at, trouble) in Trouble::ALL.into_iter().enumerate() {
            assert_eq!(trouble as usize, at, "the order is that of the list");
            assert_eq!(Trouble::parse(trouble.name()), Some(trouble));
            let only = Troubles::none().with(trouble, 0.5);
            let rates: Vec<f64> = Trouble::ALL.map(|other| only.rate(other)).to_vec();
            assert_eq!(rates.iter().sum::<f64>(), 0.5);
            assert!(Troubles::usual().rate(trouble) > 0.0);
        }
        assert_eq!(Trouble::parse("rain"), None);
    }
}

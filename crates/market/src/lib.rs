//! A simulated market with known truth; pure, seeded.

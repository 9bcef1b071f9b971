//! Money as integer micros of one currency. Two currencies are never added.

use std::fmt;

/// A millionth of a unit of some currency; the currency stands beside it.
pub type Micros = i64;

/// An ISO 4217 code: three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Currency([u8; 3]);

/// A text that is not a currency code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an ISO 4217 code of three capital letters such as EUR")]
pub struct CurrencyError;

impl Currency {
    /// No price was in force: the record has no money.
    pub const NONE: Currency = Currency(*b"XXX");
    /// United States dollar.
    pub const USD: Currency = Currency(*b"USD");
    /// Euro.
    pub const EUR: Currency = Currency(*b"EUR");

    /// Reads a code.
    pub fn parse(text: &str) -> Result<Self, CurrencyError> {
        Self::from_bytes(text.as_bytes().try_into().map_err(|_| CurrencyError)?)
    }

    /// Reads a code from its three bytes.
    pub fn from_bytes(bytes: [u8; 3]) -> Result<Self, CurrencyError> {
        if bytes.iter().all(u8::is_ascii_uppercase) {
            Ok(Currency(bytes))
        } else {
            Err(CurrencyError)
        }
    }

    /// The three letters.
    pub const fn bytes(self) -> [u8; 3] {
        self.0
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).expect("capital letters are UTF-8"))
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_capitals_are_a_currency() {
        assert_eq!(Currency::parse("EUR"), Ok(Currency::EUR));
        for wrong in ["eur", "EURO", "", "E1R"] {
            assert_eq!(Currency::parse(wrong), Err(CurrencyError), "{wrong}");
        }
    }
}

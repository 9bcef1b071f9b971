//! The bytes of a rule set, as they stand in a control record and in a checkpoint.
//!
//! ```text
//! count u8 | rule*            little endian
//! rule: code u8 | number u64  1 double click: microseconds; 2, 3, 4 rapid user, ip, ip and agent: most
//! ```

use reckon_event::Timestamp;

use super::{LOOK_BACK_MAX, RULES_MAX, RapidKey, Rule, RuleSet, Rules};
use crate::FormatError;
use crate::wire::Reader;

impl Rule {
    const fn code(&self) -> u8 {
        match self {
            Rule::DoubleClick { .. } => 1,
            Rule::Rapid { by: RapidKey::User, .. } => 2,
            Rule::Rapid { by: RapidKey::Ip, .. } => 3,
            Rule::Rapid { by: RapidKey::IpAgent, .. } => 4,
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, FormatError> {
        let (code, number) = (reader.u8()?, reader.u64()?);
        let most = u32::try_from(number).map_err(|_| FormatError::Damaged("most"));
        let rapid = |by| most.map(|most| Rule::Rapid { by, most });
        match code {
            1 => match i64::try_from(number) {
                Ok(within) if within <= LOOK_BACK_MAX => Ok(Rule::DoubleClick { within }),
                _ => Err(FormatError::Damaged("within")),
            },
            2 => rapid(RapidKey::User),
            3 => rapid(RapidKey::Ip),
            4 => rapid(RapidKey::IpAgent),
            _ => Err(FormatError::Damaged("rule")),
        }
    }
}

impl RuleSet {
    /// The bytes of its rules: all but version and minute, which stand beside them.
    ///
    /// # Panics
    /// Where there are more than [`RULES_MAX`]: whoever reads rules from people bounds them.
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.rules.len() <= RULES_MAX, "rules are bounded where they are read");
        let mut out = vec![self.rules.len() as u8];
        for rule in &self.rules {
            out.push(rule.code());
            let number = match *rule {
                Rule::DoubleClick { within } => within.cast_unsigned(),
                Rule::Rapid { most, .. } => u64::from(most),
            };
            out.extend_from_slice(&number.to_le_bytes());
        }
        out
    }

    /// Reads what [`RuleSet::encode`] wrote.
    pub fn decode(version: u32, from: Timestamp, bytes: &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader(bytes);
        let count = reader.u8()?;
        let rules = (0..count).map(|_| Rule::read(&mut reader)).collect::<Result<_, _>>()?;
        if !reader.0.is_empty() {
            return Err(FormatError::Damaged("rules"));
        }
        Ok(RuleSet { version, from, rules })
    }
}

impl Rules {
    /// Appends all sets to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.sets.len() as u32).to_le_bytes());
        for set in &self.sets {
            let rules = set.encode();
            out.extend_from_slice(&set.version.to_le_bytes());
            out.extend_from_slice(&set.from.0.to_le_bytes());
            out.extend_from_slice(&(rules.len() as u32).to_le_bytes());
            out.extend_from_slice(&rules);
        }
    }

    /// Reads what [`Rules::encode`] wrote, and leaves the rest of `bytes`.
    pub fn decode(bytes: &mut &[u8]) -> Result<Self, FormatError> {
        let mut reader = Reader(bytes);
        let mut rules = Rules::default();
        for _ in 0..reader.u32()? {
            let (version, from) = (reader.u32()?, Timestamp(reader.i64()?));
            let length = reader.u32()? as usize;
            rules.take(RuleSet::decode(version, from, reader.bytes(length)?)?);
        }
        *bytes = reader.0;
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_back_and_damage_is_named() {
        let rapid = |by, most| Rule::Rapid { by, most };
        let set = RuleSet {
            version: 9,
            from: Timestamp(120),
            rules: vec![
                Rule::DoubleClick { within: 2_000_000 },
                rapid(RapidKey::User, 10),
                rapid(RapidKey::Ip, 100),
                rapid(RapidKey::IpAgent, 50),
            ],
        };
        let bytes = set.encode();
        assert_eq!(RuleSet::decode(9, Timestamp(120), &bytes), Ok(set.clone()));
        for cut in 0..bytes.len() {
            assert!(RuleSet::decode(9, Timestamp(120), &bytes[..cut]).is_err(), "{cut}");
        }
        let far = vec![Rule::DoubleClick { within: LOOK_BACK_MAX + 1 }];
        let bytes = RuleSet { version: 1, from: Timestamp(0), rules: far }.encode();
        assert_eq!(RuleSet::decode(1, Timestamp(0), &bytes), Err(FormatError::Damaged("within")));

        let mut rules = Rules::default();
        rules.take(set);
        let mut bytes = Vec::new();
        rules.encode(&mut bytes);
        bytes.push(77);
        let mut rest = &bytes[..];
        assert_eq!(Rules::decode(&mut rest), Ok(rules));
        assert_eq!(rest, [77]);
    }
}

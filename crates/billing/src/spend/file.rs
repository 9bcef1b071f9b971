//! The file of the spend view: written whole, so that after a crash it is the old one or the new.
//!
//! ```text
//! magic "RKNS" | version u8 | 3 zeros | generation u32 | epoch u64 | first day u32 | rows u32 | row*
//! row: tenant u32 | campaign u64 | currency [3] | day u32 | spent i64
//! crc u32 over all before it
//! ```

use reckon_event::{Currency, Day, Micros, TenantId};

use super::CampaignKey;

const MAGIC: [u8; 4] = *b"RKNS";
const VERSION: u8 = 1;

/// What stands in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    pub generation: u32,
    pub epoch: u64,
    pub first: Day,
    pub rows: Vec<(CampaignKey, Day, Micros)>,
}

impl State {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&[VERSION, 0, 0, 0]);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.first.number().to_le_bytes());
        let rows = u32::try_from(self.rows.len()).expect("campaigns of a few days");
        out.extend_from_slice(&rows.to_le_bytes());
        for (key, day, spent) in &self.rows {
            out.extend_from_slice(&key.tenant.0.to_le_bytes());
            out.extend_from_slice(&key.campaign.to_le_bytes());
            out.extend_from_slice(&key.currency.bytes());
            out.extend_from_slice(&day.number().to_le_bytes());
            out.extend_from_slice(&spent.to_le_bytes());
        }
        let sum = crc32c::crc32c(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// `None` where the bytes are not what [`State::encode`] writes.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_le_bytes(*sum) {
            return None;
        }
        let mut at = Cursor(body);
        let [magic @ .., version, _, _, _] = at.take::<8>()?;
        if magic != MAGIC || version != VERSION {
            return None;
        }
        let generation = u32::from_le_bytes(at.take()?);
        let epoch = u64::from_le_bytes(at.take()?);
        let first = at.day()?;
        let count = u32::from_le_bytes(at.take()?);
        let rows = (0..count).map(|_| at.row()).collect::<Option<_>>()?;
        at.0.is_empty().then_some(State { generation, epoch, first, rows })
    }
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(*head)
    }

    fn day(&mut self) -> Option<Day> {
        Day::new(u32::from_le_bytes(self.take()?))
    }

    fn row(&mut self) -> Option<(CampaignKey, Day, Micros)> {
        let tenant = TenantId(u32::from_le_bytes(self.take()?));
        let campaign = u64::from_le_bytes(self.take()?);
        let currency = Currency::from_bytes(self.take()?).ok()?;
        let day = self.day()?;
        Some((CampaignKey { tenant, campaign, currency }, day, i64::from_le_bytes(self.take()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let row = |campaign, day, spent| {
            let key = CampaignKey { tenant: TenantId(3), campaign, currency: Currency::EUR };
            (key, Day::new(day).expect("a day"), spent)
        };
        State {
            generation: 2,
            epoch: 9,
            first: Day::new(20_778).expect("a day"),
            rows: vec![row(1, 20_778, 500), row(u64::MAX, 20_779, -3)],
        }
    }

    #[test]
    fn what_is_written_is_read_back_and_damage_is_told() {
        let bytes = state().encode();
        assert_eq!(State::decode(&bytes), Some(state()));
        for cut in 0..bytes.len() {
            assert_eq!(State::decode(&bytes[..cut]), None, "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(State::decode(&flipped), None, "bit {bit}");
        }
    }

    /// Version 1 as it stands on disks; later builds read it.
    #[test]
    fn the_bytes_never_change() {
        let bytes = state().encode();
        let head = [&b"RKNS"[..], &[1, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]].concat();
        let body = [0x2a, 0x51, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(bytes[..20], head);
        assert_eq!(bytes[20..40], body);
        assert_eq!(bytes[40..43], *b"EUR");
        assert_eq!(bytes.len(), 28 + 2 * 27 + 4);
    }
}

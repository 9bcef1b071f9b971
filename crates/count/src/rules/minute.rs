//! The survivors of one minute, packed: a click is 64 bytes, and what it is summed under stands once.

use std::hash::BuildHasher;

use hashbrown::HashTable;
use reckon_event::{
    Cell, Currency, Kind, Micros, Position, Pseudonym, Revision, Slot, SourceClass, TenantId,
    Timestamp, Verdict,
};

use super::MinuteKey;

/// A click that the first two steps have counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Where it stands in the log.
    pub position: Position,
    /// Its slot.
    pub slot: Slot,
    /// Whose clock `happened` is by.
    pub class: SourceClass,
    /// When it happened.
    pub happened: Timestamp,
    /// [`reckon_event::Record::order_key`]: orders clicks of the same microsecond.
    pub order: u64,
    /// Who clicked; [`Pseudonym::NONE`] where unknown.
    pub user: Pseudonym,
    /// The address of the day; 0 where unknown.
    pub ip_tag: u64,
    /// The user agent; 0 where unknown.
    pub agent: u64,
    /// What it costs.
    pub price: Micros,
    /// What it is summed under, as counted.
    pub cell: Cell,
}

/// One click of a [`MinuteSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Who clicked.
    pub user: Pseudonym,
    /// Orders clicks of the same microsecond.
    pub order: u64,
    /// The address of the day.
    pub ip_tag: u64,
    /// The user agent.
    pub agent: u64,
    /// Where it stands in its partition.
    pub offset: u64,
    /// Microseconds since the start of its minute.
    pub moment: u32,
    /// The place of what it is summed under.
    pub what: u32,
    /// The partition it stands in.
    pub partition: u16,
    /// Its slot.
    pub slot: u16,
}

/// What clicks are summed under, but for the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct What {
    /// Whose.
    pub tenant: TenantId,
    /// Key of the ad.
    pub ad: u64,
    /// Key of the campaign.
    pub campaign: u64,
    /// Key of the region.
    pub region: u64,
    /// Key of the device type.
    pub device: u64,
    /// Key of the placement.
    pub placement: u64,
    /// Position on the page.
    pub position: u16,
    /// In which currency.
    pub currency: Currency,
    /// What a click costs.
    pub price: Micros,
}

/// Survivors of one [`MinuteKey`], in the order in which they arrived.
#[derive(Clone, Debug, Default)]
pub struct MinuteSet {
    /// The clicks.
    pub rows: Vec<Row>,
    /// What they are summed under; rows name places in it.
    pub whats: Vec<What>,
    /// Places in `whats`, by the hash of what stands there.
    places: HashTable<u32>,
    hasher: foldhash::fast::RandomState,
    last: u32,
}

impl MinuteSet {
    /// Adds a click of its minute.
    pub fn push(&mut self, click: &Survivor) {
        let cell = &click.cell;
        let what = What {
            tenant: cell.tenant,
            ad: cell.ad,
            campaign: cell.campaign,
            region: cell.region,
            device: cell.device,
            placement: cell.placement,
            position: cell.position,
            currency: cell.currency,
            price: click.price,
        };
        let what = self.place(what);
        self.rows.push(Row {
            user: click.user,
            order: click.order,
            ip_tag: click.ip_tag,
            agent: click.agent,
            offset: click.position.offset,
            moment: click.happened.0.rem_euclid(Timestamp::MINUTE) as u32,
            what,
            partition: click.position.partition,
            slot: click.slot.number(),
        });
    }

    /// Adds all of another, behind its own.
    pub fn append(&mut self, other: &MinuteSet) {
        let places: Vec<u32> = other.whats.iter().map(|what| self.place(*what)).collect();
        let moved = other.rows.iter().map(|row| Row { what: places[row.what as usize], ..*row });
        self.rows.extend(moved);
    }

    /// The place of what clicks are summed under, made where it is new.
    pub fn place(&mut self, what: What) -> u32 {
        if self.whats.get(self.last as usize) == Some(&what) {
            return self.last;
        }
        let MinuteSet { whats, places, hasher, .. } = self;
        let hash = hasher.hash_one(what);
        let known = places.find(hash, |&at| whats[at as usize] == what);
        self.last = known.copied().unwrap_or_else(|| {
            let next = u32::try_from(whats.len()).expect("a place a row, and rows fit in memory");
            whats.push(what);
            places.insert_unique(hash, next, |&at| hasher.hash_one(whats[at as usize]));
            next
        });
        self.last
    }

    /// What a row is summed under.
    pub fn what(&self, row: &Row) -> &What {
        &self.whats[row.what as usize]
    }

    /// The revision of a row of the minute `key`.
    pub fn revision(
        &self,
        key: MinuteKey,
        row: &Row,
        (from, to): (Verdict, Verdict),
        rules_version: u32,
    ) -> Revision {
        let what = self.what(row);
        let happened = key.start().plus(i64::from(row.moment));
        Revision {
            position: Position { partition: row.partition, offset: row.offset },
            slot: Slot::new(row.slot).expect("it was a slot's number"),
            happened,
            cell: Cell {
                second: happened.seconds(),
                tenant: what.tenant,
                ad: what.ad,
                campaign: what.campaign,
                region: what.region,
                device: what.device,
                placement: what.placement,
                position: what.position,
                kind: Kind::Click,
                verdict: from,
                currency: what.currency,
            },
            verdict: to,
            price: what.price,
            rules_version,
        }
    }

    /// The bytes it takes on the heap, roughly.
    pub fn heap_bytes(&self) -> usize {
        self.rows.capacity() * size_of::<Row>()
            + self.whats.capacity() * (size_of::<What>() + 2 * size_of::<u32>())
    }
}

//! The columns of the lake's tables, and the builders that records are appended to as they come.
//!
//! A table is declared once, by the macro below: names, types and order of its columns, its schema and
//! its builders all follow from the list. What is absent is NULL, never an empty text or a zero, but
//! for keys that figures are grouped by: an event without a registered ad stands under ad 0.
//!
//! Decision: texts are plain columns here, not Arrow dictionaries. Parquet makes a dictionary of each
//! column chunk where that helps, and appending stays one copy, which is all the counter's thread does.

use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Float32Builder, Int64Builder, RecordBatch,
    StringBuilder, TimestampMicrosecondBuilder, UInt8Builder, UInt16Builder, UInt32Builder,
    UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use reckon_event::{Claims, Kind, Position, Pseudonym, Record, Revision, Timestamp, Verdict};

/// A builder that knows the type of its column.
trait Column: Default {
    fn data_type() -> DataType;
    fn array(&mut self) -> ArrayRef;
}

macro_rules! plain_columns {
    ($($builder:ty => $data_type:expr;)*) => {$(
        impl Column for $builder {
            fn data_type() -> DataType {
                $data_type
            }
            fn array(&mut self) -> ArrayRef {
                Arc::new(self.finish())
            }
        }
    )*};
}

plain_columns! {
    BinaryBuilder => DataType::Binary;
    BooleanBuilder => DataType::Boolean;
    Float32Builder => DataType::Float32;
    Int64Builder => DataType::Int64;
    StringBuilder => DataType::Utf8;
    UInt8Builder => DataType::UInt8;
    UInt16Builder => DataType::UInt16;
    UInt32Builder => DataType::UInt32;
    UInt64Builder => DataType::UInt64;
}

/// Microseconds in UTC.
#[derive(Default)]
struct TimeBuilder(TimestampMicrosecondBuilder);

impl TimeBuilder {
    fn append_value(&mut self, time: Timestamp) {
        self.0.append_value(time.0);
    }

    fn append_option(&mut self, time: Option<Timestamp>) {
        self.0.append_option(time.map(|time| time.0));
    }
}

impl Column for TimeBuilder {
    fn data_type() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
    }

    fn array(&mut self) -> ArrayRef {
        Arc::new(self.0.finish().with_timezone("UTC"))
    }
}

const REQUIRED: bool = false;
const OPTIONAL: bool = true;

/// A struct of builders, one a column, with the schema of the table they make.
macro_rules! table {
    ($(#[$doc:meta])* $name:ident { $($column:ident: $builder:ty, $nullable:expr;)* }) => {
        $(#[$doc])*
        #[derive(Default)]
        pub(crate) struct $name {
            $($column: $builder,)*
        }

        impl $name {
            /// Names and types of the columns, in order.
            pub fn schema() -> SchemaRef {
                Arc::new(Schema::new(vec![
                    $(Field::new(stringify!($column), <$builder as Column>::data_type(), $nullable),)*
                ]))
            }

            /// Everything appended since the last time.
            pub fn finish(&mut self) -> RecordBatch {
                let columns = vec![$(Column::array(&mut self.$column),)*];
                RecordBatch::try_new(Self::schema(), columns)
                    .expect("every append fills every column once")
            }
        }
    };
}

table! {
    /// Records as they come, each with its verdict.
    RecordColumns {
        epoch: UInt64Builder, REQUIRED;
        log_partition: UInt16Builder, REQUIRED;
        log_offset: UInt64Builder, REQUIRED;
        appender: UInt64Builder, REQUIRED;
        append_sequence: UInt64Builder, REQUIRED;
        kind: UInt8Builder, REQUIRED;
        stream: UInt8Builder, REQUIRED;
        verdict: UInt8Builder, OPTIONAL;
        redelivered: BooleanBuilder, REQUIRED;
        outcome: UInt8Builder, REQUIRED;
        slot: UInt16Builder, REQUIRED;
        tenant: UInt32Builder, REQUIRED;
        source_class: UInt8Builder, REQUIRED;
        facts: UInt16Builder, REQUIRED;
        lists_version: UInt32Builder, REQUIRED;
        rules_version: UInt32Builder, REQUIRED;
        received: TimeBuilder, REQUIRED;
        happened: TimeBuilder, REQUIRED;
        ad_key: UInt64Builder, REQUIRED;
        campaign_key: UInt64Builder, REQUIRED;
        category_key: UInt64Builder, OPTIONAL;
        ad_id: StringBuilder, OPTIONAL;
        price: Int64Builder, REQUIRED;
        currency: StringBuilder, REQUIRED;
        pseudonym: StringBuilder, OPTIONAL;
        minted_incarnation: UInt32Builder, OPTIONAL;
        minted_slot: UInt16Builder, OPTIONAL;
        minted_hour: UInt32Builder, OPTIONAL;
        minted_sequence: UInt32Builder, OPTIONAL;
        issued_at: TimeBuilder, OPTIONAL;
        expires_at: TimeBuilder, OPTIONAL;
        model_version: UInt32Builder, OPTIONAL;
        delta_version: UInt32Builder, OPTIONAL;
        prediction_id: UInt64Builder, OPTIONAL;
        arm: UInt16Builder, OPTIONAL;
        propensity: Float32Builder, OPTIONAL;
        served_position: UInt16Builder, OPTIONAL;
        explored: BooleanBuilder, OPTIONAL;
        served_consent: UInt8Builder, OPTIONAL;
        page_position: UInt16Builder, REQUIRED;
        consent: UInt8Builder, REQUIRED;
        ip_tag: UInt64Builder, OPTIONAL;
        agent_key: UInt64Builder, OPTIONAL;
        ip: StringBuilder, OPTIONAL;
        payload_digest: UInt64Builder, OPTIONAL;
        value: Int64Builder, OPTIONAL;
        event_id: StringBuilder, OPTIONAL;
        source: StringBuilder, OPTIONAL;
        region: StringBuilder, OPTIONAL;
        device: StringBuilder, OPTIONAL;
        placement: StringBuilder, OPTIONAL;
        item_id: StringBuilder, OPTIONAL;
        request_id: StringBuilder, OPTIONAL;
        install_id: StringBuilder, OPTIONAL;
        session_id: StringBuilder, OPTIONAL;
        session_sequence: UInt64Builder, OPTIONAL;
        order_key: UInt64Builder, REQUIRED;
        payload: BinaryBuilder, OPTIONAL;
    }
}

table! {
    /// Verdicts that rules on closed minutes have changed, in the order they did.
    RevisionColumns {
        epoch: UInt64Builder, REQUIRED;
        ordinal: UInt32Builder, REQUIRED;
        log_partition: UInt16Builder, REQUIRED;
        log_offset: UInt64Builder, REQUIRED;
        slot: UInt16Builder, REQUIRED;
        watermark: TimeBuilder, REQUIRED;
        happened: TimeBuilder, REQUIRED;
        cell_second: Int64Builder, REQUIRED;
        tenant: UInt32Builder, REQUIRED;
        ad_key: UInt64Builder, REQUIRED;
        campaign_key: UInt64Builder, REQUIRED;
        region_key: UInt64Builder, REQUIRED;
        device_key: UInt64Builder, REQUIRED;
        placement_key: UInt64Builder, REQUIRED;
        page_position: UInt16Builder, REQUIRED;
        kind: UInt8Builder, REQUIRED;
        verdict_before: UInt8Builder, REQUIRED;
        verdict: UInt8Builder, REQUIRED;
        price: Int64Builder, REQUIRED;
        currency: StringBuilder, REQUIRED;
        rules_version: UInt32Builder, REQUIRED;
    }
}

/// True for kinds that counting gives a verdict: one of these without a verdict is a repeated append.
pub(crate) const fn is_counted(kind: Kind) -> bool {
    !matches!(kind, Kind::Control | Kind::Prediction)
}

/// What a row takes beside its texts, roughly: all fixed columns, validity and offsets.
const RECORD_BYTES: usize = 300;
const REVISION_BYTES: usize = 150;

impl RecordColumns {
    /// Appends one record; returns how many bytes that took, roughly.
    pub fn push(
        &mut self,
        epoch: u64,
        position: Position,
        record: &Record<'_>,
        verdict: Option<Verdict>,
    ) -> usize {
        self.epoch.append_value(epoch);
        self.push_place(position, record, verdict);
        self.push_subject(record);
        self.push_claims(record.claims.as_ref());
        self.push_person(record);
        RECORD_BYTES + self.push_texts(record)
    }

    fn push_place(&mut self, position: Position, record: &Record<'_>, verdict: Option<Verdict>) {
        self.log_partition.append_value(position.partition);
        self.log_offset.append_value(position.offset);
        self.appender.append_value(record.id.appender);
        self.append_sequence.append_value(record.id.sequence);
        self.kind.append_value(record.kind.code());
        self.stream.append_value(record.stream as u8);
        self.verdict.append_option(verdict.map(Verdict::code));
        self.redelivered.append_value(verdict.is_none() && is_counted(record.kind));
        self.outcome.append_value(record.outcome.code());
        self.slot.append_value(record.slot.number());
        self.tenant.append_value(record.tenant.0);
        self.source_class.append_value(record.source_class as u8);
        self.facts.append_value(record.facts.0);
        self.lists_version.append_value(record.lists_version);
        self.rules_version.append_value(record.rules_version);
        self.received.append_value(record.received);
        self.happened.append_value(record.happened);
    }

    fn push_subject(&mut self, record: &Record<'_>) {
        self.ad_key.append_value(record.ad_key);
        self.campaign_key.append_value(record.campaign_key);
        self.category_key.append_option(known(record.category_key));
        self.price.append_value(record.price);
        push_currency(&mut self.currency, record.currency.bytes());
        push_pseudonym(&mut self.pseudonym, record.user);
        self.page_position.append_value(record.position);
        self.consent.append_value(record.consent);
    }

    fn push_claims(&mut self, claims: Option<&Claims>) {
        self.minted_incarnation.append_option(claims.map(|claims| claims.impression.incarnation));
        self.minted_slot.append_option(claims.map(|claims| claims.impression.slot.number()));
        self.minted_hour.append_option(claims.map(|claims| claims.impression.hour));
        self.minted_sequence.append_option(claims.map(|claims| claims.impression.sequence));
        self.issued_at.append_option(claims.map(|claims| claims.issued_at));
        self.expires_at.append_option(claims.map(|claims| claims.expires_at));
        self.model_version.append_option(claims.map(|claims| claims.model_version));
        self.delta_version.append_option(claims.map(|claims| claims.delta_version));
        self.prediction_id.append_option(claims.map(|claims| claims.prediction_id));
        self.arm.append_option(claims.map(|claims| claims.arm));
        self.propensity.append_option(claims.map(|claims| claims.propensity));
        self.served_position.append_option(claims.map(|claims| claims.position));
        self.explored.append_option(claims.map(|claims| claims.explored));
        self.served_consent.append_option(claims.map(|claims| claims.consent));
    }

    fn push_person(&mut self, record: &Record<'_>) {
        self.ip_tag.append_option(known(record.ip_tag));
        self.agent_key.append_option(known(record.agent_key));
        self.payload_digest.append_option(known(record.payload_digest));
        self.value.append_option(record.value);
        self.session_sequence.append_option(record.session_sequence);
        self.order_key.append_value(record.order_key());
        match record.ip {
            Some(ip) => {
                write!(self.ip, "{ip}").expect("a builder takes any text");
                self.ip.append_value("");
            }
            None => self.ip.append_null(),
        }
    }

    fn push_texts(&mut self, record: &Record<'_>) -> usize {
        let texts = [
            (&mut self.ad_id, record.ad_id),
            (&mut self.event_id, record.event_id),
            (&mut self.source, record.source),
            (&mut self.region, record.region),
            (&mut self.device, record.device),
            (&mut self.placement, record.placement),
            (&mut self.item_id, record.item_id),
            (&mut self.request_id, record.request_id),
            (&mut self.install_id, record.install_id),
            (&mut self.session_id, record.session_id),
        ];
        let mut bytes = record.payload.len();
        for (column, text) in texts {
            column.append_option((!text.is_empty()).then_some(text));
            bytes += text.len();
        }
        self.payload.append_option((!record.payload.is_empty()).then_some(record.payload));
        bytes
    }
}

impl RevisionColumns {
    /// Appends one revision, the `ordinal`-th of its epoch; returns how many bytes that took, roughly.
    pub fn push(
        &mut self,
        epoch: u64,
        ordinal: u32,
        watermark: Timestamp,
        revision: &Revision,
    ) -> usize {
        let cell = &revision.cell;
        self.epoch.append_value(epoch);
        self.ordinal.append_value(ordinal);
        self.log_partition.append_value(revision.position.partition);
        self.log_offset.append_value(revision.position.offset);
        self.slot.append_value(revision.slot.number());
        self.watermark.append_value(watermark);
        self.happened.append_value(revision.happened);
        self.cell_second.append_value(cell.second);
        self.tenant.append_value(cell.tenant.0);
        self.ad_key.append_value(cell.ad);
        self.campaign_key.append_value(cell.campaign);
        self.region_key.append_value(cell.region);
        self.device_key.append_value(cell.device);
        self.placement_key.append_value(cell.placement);
        self.page_position.append_value(cell.position);
        self.kind.append_value(cell.kind.code());
        self.verdict_before.append_value(cell.verdict.code());
        self.verdict.append_value(revision.verdict.code());
        self.price.append_value(revision.price);
        push_currency(&mut self.currency, cell.currency.bytes());
        self.rules_version.append_value(revision.rules_version);
        REVISION_BYTES
    }
}

/// Zero means "absent".
fn known(key: u64) -> Option<u64> {
    (key != 0).then_some(key)
}

fn push_currency(column: &mut StringBuilder, letters: [u8; 3]) {
    column.append_value(std::str::from_utf8(&letters).expect("capital letters are UTF-8"));
}

fn push_pseudonym(column: &mut StringBuilder, user: Pseudonym) {
    if user.is_some() {
        let digits = hex(user);
        column.append_value(std::str::from_utf8(&digits).expect("digits are ASCII"));
    } else {
        column.append_null();
    }
}

/// A pseudonym as it stands in the lake: 32 hexadecimal digits, which every engine compares, joins and
/// shows as they are.
pub(crate) fn hex(user: Pseudonym) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(user.0.to_be_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, AsArray};
    use reckon_event::Slot;

    #[test]
    fn what_is_absent_is_null_and_a_repeated_append_is_told_from_a_decision() {
        let slot = Slot::new(3).expect("below 1,024");
        let mut columns = RecordColumns::default();
        let ip = Some("203.0.113.0".parse().expect("an address"));
        let click =
            Record { ip, user: Pseudonym(0xab), ..Record::new(Kind::Click, slot, Timestamp(5)) };
        let at = Position { partition: 1, offset: 2 };
        columns.push(1, at, &click, Some(Verdict::Counted));
        columns.push(1, at, &Record { ip: None, ..click }, None);
        columns.push(1, at, &Record::new(Kind::Control, slot, Timestamp(5)), None);
        let batch = columns.finish();
        let column = |name: &str| batch.column_by_name(name).expect("a column").clone();
        assert_eq!((batch.num_rows(), columns.finish().num_rows()), (3, 0));
        assert_eq!(
            column("redelivered").as_boolean().iter().flatten().collect::<Vec<_>>(),
            [false, true, false]
        );
        assert_eq!(column("verdict").null_count(), 2);
        assert_eq!(column("ip").as_string::<i32>().value(0), "203.0.113.0");
        assert_eq!(column("pseudonym").as_string::<i32>().value(1), format!("{:032x}", 0xab));
        let absent =
            [("ip", 2), ("pseudonym", 1), ("event_id", 3), ("payload", 3), ("issued_at", 3)];
        for (name, nulls) in absent {
            assert_eq!(column(name).null_count(), nulls, "{name}");
        }
    }
}

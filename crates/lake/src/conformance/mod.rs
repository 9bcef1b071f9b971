//! What a lake promises wherever it is, one function a promise.
//!
//! A test of a place hands over a [`Bench`]; each function begins where no lake is. Places differ in
//! what makes a put durable and in how its failure looks, and nothing of that may be seen here.

mod damage;
mod erasure;
mod faults;
pub mod history;
mod kept;
mod writers;

use arrow::array::AsArray;
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use reckon_event::{Applied, Subscriber};

use self::history::{Step, batches, hand};
use crate::{LakeOptions, LakePlace, LakeSubscriber, Table};

/// Where a lake is to be put to the test.
pub trait Bench {
    /// A place in which no lake is, and which nobody else uses.
    fn place(&self) -> LakePlace;

    /// Every how many-th put of a run is made to fail, in every way; 1 where puts are cheap.
    fn stride(&self) -> usize {
        1
    }
}

/// A promise: its name, and a check that panics where it is broken.
pub type Promise = (&'static str, fn(&dyn Bench));

/// All promises.
pub const PROMISES: &[Promise] = &[
    ("epochs_come_back_as_they_were_and_once", kept::epochs_come_back_as_they_were_and_once),
    (
        "files_are_sorted_and_of_one_tenant_and_hour",
        kept::files_are_sorted_and_of_one_tenant_and_hour,
    ),
    ("small_files_become_few_and_no_row_changes", kept::small_files_become_few_and_no_row_changes),
    ("an_opening_removes_what_nobody_names", kept::an_opening_removes_what_nobody_names),
    ("a_reader_sees_one_state", kept::a_reader_sees_one_state),
    ("a_lower_generation_is_fenced", writers::a_lower_generation_is_fenced),
    ("an_older_writer_is_cut_off", writers::an_older_writer_is_cut_off),
    ("an_object_is_made_once", writers::an_object_is_made_once),
    ("of_two_writers_one_goes_on", writers::of_two_writers_one_goes_on),
    ("a_cleared_lake_begins_again", writers::a_cleared_lake_begins_again),
    (
        "an_erased_person_leaves_rows_and_no_trace",
        erasure::an_erased_person_leaves_rows_and_no_trace,
    ),
    (
        "who_is_erased_again_is_replaced_by_the_same",
        erasure::who_is_erased_again_is_replaced_by_the_same,
    ),
    ("what_arrives_late_goes_with_the_person", erasure::what_arrives_late_goes_with_the_person),
    ("damage_is_found_and_named", damage::damage_is_found_and_named),
    ("a_state_that_rots_is_passed_over", damage::a_state_that_rots_is_passed_over),
    ("a_put_may_fail_in_any_way", faults::a_put_may_fail_in_any_way),
];

/// Opens a lake with the usual bounds.
///
/// # Panics
/// Where it does not open.
pub fn open(place: &LakePlace, writer: u64) -> LakeSubscriber {
    LakeSubscriber::open(place.clone(), LakeOptions::new(writer)).expect("it opens")
}

/// Hands over epochs that the lake has not had, and makes them durable.
///
/// # Panics
/// Where it does not take them.
pub fn keep(
    lake: &mut LakeSubscriber,
    steps: &[Step],
    numbers: std::ops::RangeInclusive<u64>,
    generation: u32,
) {
    for number in numbers {
        assert_eq!(hand(lake, steps, number, generation).expect("taken"), Applied::Fresh);
    }
    lake.persist().expect("durable");
}

/// Waits for something of a place's store.
fn wait<T>(doing: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(doing)
}

/// All objects of a place.
fn objects(place: &LakePlace) -> Vec<ObjectMeta> {
    let root = place.object("");
    wait(place.objects().list(Some(&root)).try_collect()).expect("a list")
}

fn parquet_objects(place: &LakePlace) -> usize {
    let is_parquet = |one: &&ObjectMeta| one.location.as_ref().ends_with(".parquet");
    objects(place).iter().filter(is_parquet).count()
}

/// An object's bytes.
///
/// # Panics
/// Where it cannot be read.
pub fn read(place: &LakePlace, path: &str) -> Bytes {
    let object = place.object(path);
    wait(async { place.objects().get(&object).await?.bytes().await }).expect("it reads")
}

/// Puts an object there behind the lake's back, whether there is one or not.
fn replace(place: &LakePlace, path: &str, bytes: Bytes) {
    let put = place.objects();
    wait(async { put.put(&place.object(path), bytes.into()).await }).expect("it writes");
}

/// All values of one column, as text.
fn values(place: &LakePlace, name: &str) -> Vec<Option<String>> {
    let files = batches(place, Table::Records);
    let mut all = Vec::new();
    for rows in files.values().flatten() {
        let column = rows.column_by_name(name).expect("a column");
        let text = arrow::compute::cast(column, &arrow::datatypes::DataType::Utf8).expect("text");
        all.extend(text.as_string::<i32>().iter().map(|text| text.map(str::to_owned)));
    }
    all
}

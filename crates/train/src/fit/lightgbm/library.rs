//! LightGBM's C interface behind types that cannot be used wrongly: the one place with unsafe calls.
//!
//! What the library asks of its callers, and how it is kept here:
//!
//! - Its number of threads is one variable of the whole process, and buffers made under one number are
//!   filled under the next. So there is one [`Session`] at a time, and everything borrows from it.
//! - A booster keeps pointers to its data sets. So a [`Booster`] borrows them.
//! - A data set is filled first and used then. So what is filled is a [`Loading`], what is used a
//!   [`Dataset`].
//! - Its last error and its log belong to a thread. A session never leaves its thread, and asks for the
//!   error right after the call that failed.
//!
//! Exceptions never cross the interface: each function catches all of its own, those of its worker
//! threads included, and gives a code.
#![expect(unsafe_code, reason = "LightGBM is C++, called by its C interface")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use lightgbm3_sys as sys;

use crate::TrainError;

/// Values are f32; from the header, where it is a number without a type.
const F32: c_int = sys::C_API_DTYPE_FLOAT32 as c_int;
/// Importances in a model's text are gains.
const GAIN: c_int = sys::C_API_FEATURE_IMPORTANCE_GAIN as c_int;
/// The validation rows, as a booster counts its data sets.
const VALIDATION: c_int = 1;

static ALONE: Mutex<()> = Mutex::new(());

/// The right to call the library: one at a time in a process.
pub struct Session {
    _alone: MutexGuard<'static, ()>,
}

/// What the library says is not for stdout, which is a command's data.
extern "C" fn silence(_text: *const c_char) {}

impl Session {
    /// Waits until nobody else has one.
    pub fn begin() -> Result<Self, TrainError> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the function lives as long as the program, and neither unwinds nor reads anything.
        done(unsafe { sys::LGBM_RegisterLogCallback(Some(silence)) })?;
        Ok(Session { _alone: alone })
    }
}

/// The code of a call; what was wrong is the library's last error.
fn done(code: c_int) -> Result<(), TrainError> {
    if code == 0 {
        return Ok(());
    }
    // SAFETY: the text is a buffer of this thread that the library ends with a zero, and only its next
    // call on this thread may write to; it is copied before.
    let text = unsafe { CStr::from_ptr(sys::LGBM_GetLastError()) };
    Err(TrainError::Library(text.to_string_lossy().into_owned()))
}

/// Of texts that are made here.
fn text_of(text: &str) -> CString {
    CString::new(text).expect("parameters and names are made without a zero byte")
}

/// Values from which bins are found.
#[derive(Debug)]
pub struct Sample {
    /// A column each: its values but zeros, which are known by their absence.
    values: Vec<Vec<f64>>,
    /// The sample's rows that the values are of, rising.
    places: Vec<Vec<c_int>>,
    rows: c_int,
}

impl Sample {
    /// Of rows with so many columns.
    pub fn new(columns: usize) -> Self {
        Sample { values: vec![Vec::new(); columns], places: vec![Vec::new(); columns], rows: 0 }
    }

    /// Appends a row.
    ///
    /// # Panics
    /// If it has another number of columns, or there are 2^31 rows.
    pub fn push(&mut self, row: &[f32]) {
        assert_eq!(row.len(), self.values.len(), "a row has the sample's columns");
        let place = self.rows;
        self.rows = place.checked_add(1).expect("a sample has far fewer rows");
        for (column, &value) in row.iter().enumerate() {
            // The library's own bound of zero; NaN is above none.
            if value.is_nan() || value.abs() > reckon_model::trees::ZERO {
                self.values[column].push(f64::from(value));
                self.places[column].push(place);
            }
        }
    }
}

/// Encoded rows, one after the other.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Values, row by row.
    pub values: &'a [f32],
    /// 1 for clicked rows, 0 for others; one a row, like all that follow.
    pub labels: &'a [f32],
    /// How many rows each stands for.
    pub weights: &'a [f32],
    /// What boosting starts from; none where it starts from the mean.
    pub scores: Option<&'a [f64]>,
}

/// A data set in memory, as bins.
pub struct Dataset<'s> {
    handle: sys::DatasetHandle,
    rows: usize,
    session: PhantomData<&'s Session>,
}

impl Drop for Dataset<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is the library's, is freed here only, and boosters, which point to it,
        // borrow this. Freeing cannot fail but by an exception of a destructor, and there is none.
        unsafe { sys::LGBM_DatasetFree(self.handle) };
    }
}

/// A data set that is being filled.
pub struct Loading<'s> {
    data: Dataset<'s>,
    columns: usize,
    pushed: usize,
    has_scores: bool,
}

/// How many rows a data set is made for.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Rows: at most 2^31 - 1.
    pub rows: u64,
    /// Whether each comes with a score that boosting starts from.
    pub has_scores: bool,
}

impl Size {
    fn rows(self) -> Result<c_int, TrainError> {
        c_int::try_from(self.rows).ok().filter(|rows| *rows > 0).ok_or_else(|| {
            let problem = "LightGBM takes 1 to 2,147,483,647 rows: sample those not clicked";
            TrainError::Data(format!("{} rows; {problem}", self.rows))
        })
    }
}

impl<'s> Loading<'s> {
    /// Data sets for training and for validation, with the same bins.
    pub fn pair(
        session: &'s Session,
        mut sample: Sample,
        parameters: &str,
        [train, validation]: [Size; 2],
    ) -> Result<[Self; 2], TrainError> {
        let columns = sample.values.len();
        let data = Dataset::of_sample(session, &mut sample, parameters, train)?;
        drop(sample);
        // By reference first: what begins to be filled has weights, and hands them down as if they
        // were the other's.
        let other = data.alike(validation)?;
        Ok([Loading::begin(data, columns, train)?, Loading::begin(other, columns, validation)?])
    }

    fn begin(data: Dataset<'s>, columns: usize, size: Size) -> Result<Self, TrainError> {
        let has_scores = size.has_scores;
        // SAFETY: the data set is live and empty; the session keeps the number of threads as it is, for
        // which room is made here.
        done(unsafe {
            sys::LGBM_DatasetInitStreaming(data.handle, 1, c_int::from(has_scores), 0, 1, 1, -1)
        })?;
        Ok(Loading { data, columns, pushed: 0, has_scores })
    }

    /// Names the columns.
    ///
    /// # Panics
    /// If there are fewer or more names than columns.
    pub fn name(&mut self, names: &[String]) -> Result<(), TrainError> {
        assert_eq!(names.len(), self.columns, "a name for each column");
        let names: Vec<_> = names.iter().map(|name| text_of(name)).collect();
        let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
        let count = self.columns as c_int;
        // SAFETY: so many texts that end with a zero, which the library copies.
        done(unsafe {
            sys::LGBM_DatasetSetFeatureNames(self.data.handle, pointers.as_mut_ptr(), count)
        })
    }

    /// Appends rows.
    ///
    /// # Panics
    /// If the lengths of the batch do not fit each other or the data set.
    pub fn push(&mut self, batch: &Batch<'_>) -> Result<(), TrainError> {
        let rows = batch.labels.len();
        assert_eq!(batch.values.len(), rows * self.columns, "whole rows");
        assert_eq!(batch.weights.len(), rows, "a weight for each row");
        assert_eq!(batch.scores.is_some(), self.has_scores, "scores as it was said");
        assert!(batch.scores.is_none_or(|scores| scores.len() == rows), "a score for each row");
        assert!(rows <= self.data.rows - self.pushed, "no more rows than were counted");
        let (count, columns) = (rows as c_int, self.columns as c_int);
        // SAFETY: all pointers are to as many numbers as the library reads for `count` rows of `columns`
        // columns, see above; it copies them, and rows from `pushed` on have their place in the data
        // set. They are pushed by one thread, the first.
        done(unsafe {
            sys::LGBM_DatasetPushRowsWithMetadata(
                self.data.handle,
                batch.values.as_ptr().cast::<c_void>(),
                F32,
                count,
                columns,
                self.pushed as c_int,
                batch.labels.as_ptr(),
                batch.weights.as_ptr(),
                batch.scores.map_or(ptr::null(), <[f64]>::as_ptr),
                ptr::null(),
                0,
            )
        })?;
        self.pushed += rows;
        Ok(())
    }

    /// What is whole can be used.
    ///
    /// # Panics
    /// If rows are missing.
    pub fn finish(self) -> Result<Dataset<'s>, TrainError> {
        assert_eq!(self.pushed, self.data.rows, "all rows that were counted");
        // SAFETY: the data set is live.
        done(unsafe { sys::LGBM_DatasetMarkFinished(self.data.handle) })?;
        Ok(self.data)
    }
}

impl<'s> Dataset<'s> {
    fn of_sample(
        _session: &'s Session,
        sample: &mut Sample,
        parameters: &str,
        size: Size,
    ) -> Result<Self, TrainError> {
        let rows = size.rows()?;
        let parameters = text_of(parameters);
        let lengths: Vec<_> = sample.values.iter().map(|column| column.len() as c_int).collect();
        let mut values: Vec<_> = sample.values.iter_mut().map(|of| of.as_mut_ptr()).collect();
        let mut places: Vec<_> = sample.places.iter_mut().map(|of| of.as_mut_ptr()).collect();
        let mut handle = ptr::null_mut();
        // SAFETY: for each column there are as many values as places, and so many are its length, which
        // is at most `sample.rows`; the library sorts the values where they are, and keeps no pointer.
        done(unsafe {
            sys::LGBM_DatasetCreateFromSampledColumn(
                values.as_mut_ptr(),
                places.as_mut_ptr(),
                lengths.len() as c_int,
                lengths.as_ptr(),
                sample.rows,
                rows,
                i64::from(rows),
                parameters.as_ptr(),
                &mut handle,
            )
        })?;
        Ok(Dataset { handle, rows: rows as usize, session: PhantomData })
    }

    /// An empty one with the same bins.
    fn alike(&self, size: Size) -> Result<Self, TrainError> {
        let rows = size.rows()?;
        let mut handle = ptr::null_mut();
        // SAFETY: this data set is live; the new one has copies of its bins.
        done(unsafe {
            sys::LGBM_DatasetCreateByReference(self.handle, i64::from(rows), &mut handle)
        })?;
        Ok(Dataset { handle, rows: rows as usize, session: PhantomData })
    }
}

/// Trees that grow.
pub struct Booster<'d> {
    handle: sys::BoosterHandle,
    data: PhantomData<&'d ()>,
}

impl Drop for Booster<'_> {
    fn drop(&mut self) {
        // SAFETY: the handle is the library's and is freed here only.
        unsafe { sys::LGBM_BoosterFree(self.handle) };
    }
}

impl<'d> Booster<'d> {
    /// No tree yet. The second data set is for validation.
    pub fn new(
        [train, validation]: [&'d Dataset<'_>; 2],
        parameters: &str,
    ) -> Result<Self, TrainError> {
        let parameters = text_of(parameters);
        let mut handle = ptr::null_mut();
        // SAFETY: the data set is finished, and lives longer than the booster; nothing changes it.
        done(unsafe { sys::LGBM_BoosterCreate(train.handle, parameters.as_ptr(), &mut handle) })?;
        let booster = Booster { handle, data: PhantomData };
        // SAFETY: as above.
        done(unsafe { sys::LGBM_BoosterAddValidData(booster.handle, validation.handle) })?;
        let mut metrics = 0;
        // SAFETY: the booster is live, and the number has its place.
        done(unsafe { sys::LGBM_BoosterGetEvalCounts(booster.handle, &mut metrics) })?;
        assert_eq!(metrics, 1, "the parameters name one metric");
        Ok(booster)
    }

    /// Puts the trees of a text before its own. Their answers are the scores that its data sets
    /// started from.
    pub fn continue_from(&mut self, text: &str) -> Result<(), TrainError> {
        let problem = "the trees to go on from have a zero byte, and the library would end there: \
                       begin anew without them";
        let text = CString::new(text).map_err(|_| TrainError::Library(problem.to_owned()))?;
        let (mut handle, mut iterations) = (ptr::null_mut(), 0);
        // SAFETY: a text that ends with a zero, of which nothing is kept.
        done(unsafe {
            sys::LGBM_BoosterLoadModelFromString(text.as_ptr(), &mut iterations, &mut handle)
        })?;
        let before = Booster { handle, data: PhantomData };
        // SAFETY: both are live, and the trees are copied.
        done(unsafe { sys::LGBM_BoosterMerge(self.handle, before.handle) })
    }

    /// Grows one more tree; false where no leaf can be parted any more.
    pub fn grow(&mut self) -> Result<bool, TrainError> {
        let mut is_over = 0;
        // SAFETY: the booster is live, and so are its data sets.
        done(unsafe { sys::LGBM_BoosterUpdateOneIter(self.handle, &mut is_over) })?;
        Ok(is_over == 0)
    }

    /// The log loss of the validation rows, each as heavy as it says, from the scores they started with.
    pub fn loss(&self) -> Result<f64, TrainError> {
        let (mut count, mut loss) = (0, f64::NAN);
        // SAFETY: there is one metric, see `new`, so one number is written.
        done(unsafe { sys::LGBM_BoosterGetEval(self.handle, VALIDATION, &mut count, &mut loss) })?;
        Ok(loss)
    }

    /// The first so many trees, as text.
    pub fn text(&self, trees: usize) -> Result<String, TrainError> {
        let trees = c_int::try_from(trees).expect("trees are counted one by one");
        let (mut bytes, mut length) = (vec![0_u8; 1 << 20], 0_i64);
        loop {
            // SAFETY: the library writes at most as many bytes as it is told there are, and says how
            // many it wants.
            done(unsafe {
                sys::LGBM_BoosterSaveModelToString(
                    self.handle,
                    0,
                    trees,
                    GAIN,
                    bytes.len() as i64,
                    &mut length,
                    bytes.as_mut_ptr().cast::<c_char>(),
                )
            })?;
            let length = usize::try_from(length).expect("a length");
            if length <= bytes.len() {
                // The last byte is the zero at the end.
                bytes.truncate(length - 1);
                break;
            }
            bytes.resize(length, 0);
        }
        String::from_utf8(bytes).map_err(|_| TrainError::Library("its model is no text".to_owned()))
    }

    /// What the library itself says of rows: the judge of our own kernel.
    #[cfg(test)]
    pub fn margins(&self, values: &[f32], columns: usize) -> Vec<f64> {
        let rows = values.len() / columns;
        let (mut margins, mut written) = (vec![f64::NAN; rows], 0_i64);
        // SAFETY: `rows` whole rows are read, and one number is written for each.
        done(unsafe {
            sys::LGBM_BoosterPredictForMat(
                self.handle,
                values.as_ptr().cast::<c_void>(),
                F32,
                rows as c_int,
                columns as c_int,
                1,
                sys::C_API_PREDICT_RAW_SCORE as c_int,
                0,
                -1,
                c"".as_ptr(),
                &mut written,
                margins.as_mut_ptr(),
            )
        })
        .expect("rows are scored");
        assert_eq!((written as usize, values.len()), (rows, rows * columns));
        margins
    }
}

//! A bundle as it is made, and as it is served.

use std::io::{Read, Write};
use std::path::Path;

use reckon_model::calibration::Segmented;

use crate::BundleError;
use crate::Encoding;
use crate::container::{self, BYTES_MAX, BundleId, Container, Section};
use crate::golden::{Expected, Golden};
use crate::manifest::Manifest;
use crate::model::{Model, Rows, Scratch};

/// Everything of which a bundle is made.
#[derive(Clone, Debug)]
pub struct Contents {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Each stage's model, in the form that its kind has (see `docs/bundle-format.md`).
    pub models: Vec<Vec<u8>>,
    /// How rows become those of each stage's model; a stage that has none takes them as they are.
    pub encodings: Vec<Encoding>,
    /// Each stage's calibrations.
    pub curves: Vec<Segmented>,
    /// Rows to be reproduced. What comes out of them is found by [`Contents::write`].
    pub golden: Golden,
}

impl Contents {
    /// Takes up the models, scores the golden rows, and writes it all as a bundle.
    ///
    /// Whoever writes to a file writes a temporary one, syncs it, and renames it: a bundle never changes.
    pub fn write(&self, out: &mut impl Write) -> Result<BundleId, BundleError> {
        let golden = self.proven()?;
        let curves = self.curves.iter().map(encode_curves).collect::<Vec<_>>();
        let (manifest, golden) = (self.manifest.encode(), golden.encode(&self.manifest));
        let names = (0..self.models.len()).map(SectionNames::of).collect::<Vec<_>>();
        let encodings = self.encodings.iter().map(encode_encoding).collect::<Vec<_>>();
        let mut sections = vec![
            Section { name: "manifest", bytes: &manifest },
            Section { name: "golden", bytes: &golden },
        ];
        for (names, (model, curves)) in names.iter().zip(self.models.iter().zip(&curves)) {
            sections.push(Section { name: &names.model, bytes: model });
            sections.push(Section { name: &names.curves, bytes: curves });
        }
        for (names, encoding) in names.iter().zip(&encodings).filter(|(_, it)| !it.is_empty()) {
            sections.push(Section { name: &names.encoding, bytes: encoding });
        }
        container::write(&sections, out)
    }

    /// The golden rows with what the models make of them.
    fn proven(&self) -> Result<Golden, BundleError> {
        self.manifest.check()?;
        let stages = self.manifest.stages.len();
        if self.encodings.len() > stages {
            let reason = format!("{}, for {stages} stages", self.encodings.len());
            return Err(BundleError::field("encodings", reason));
        }
        if self.models.len() != stages || self.curves.len() != stages {
            let (models, curves) = (self.models.len(), self.curves.len());
            let reason = format!("{stages}, for {models} models and {curves} calibrations");
            return Err(BundleError::field("stages", reason));
        }
        self.golden.check(&self.manifest)?;
        let models = self.models.iter().map(Vec::as_slice).collect::<Vec<_>>();
        let mut encodings = self.encodings.clone();
        encodings.resize(stages, Encoding::Plain);
        let stages = take_up(&self.manifest, &models, encodings, self.curves.clone())?;
        let mut golden = self.golden.clone();
        golden.expected = expect(&self.manifest, &stages, &golden)?;
        match golden.expected.iter().position(|one| !one.logit.is_finite()) {
            None => Ok(golden),
            Some(place) => {
                let (row, stage) = (place / stages.len(), place % stages.len());
                let reason = format!("stage {stage} has no finite log odds for row {row}");
                Err(BundleError::field("golden", reason))
            }
        }
    }
}

fn encode_encoding(encoding: &Encoding) -> Vec<u8> {
    let mut bytes = Vec::new();
    encoding.encode(&mut bytes);
    bytes
}

fn encode_curves(curves: &Segmented) -> Vec<u8> {
    let mut bytes = Vec::new();
    curves.encode(&mut bytes);
    bytes
}

/// Names of one stage's sections.
struct SectionNames {
    model: String,
    curves: String,
    encoding: String,
}

impl SectionNames {
    fn of(stage: usize) -> Self {
        SectionNames {
            model: format!("model-{stage}"),
            curves: format!("calibration-{stage}"),
            encoding: format!("encoding-{stage}"),
        }
    }
}

/// A bundle that answers: immutable, and shared by all who score.
pub struct Bundle {
    /// Which one it is.
    pub id: BundleId,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Rows it has reproduced.
    pub golden: Golden,
    stages: Vec<Stage>,
}

struct Stage {
    model: Model,
    encoding: Encoding,
    curves: Segmented,
    /// The logarithm of the share of unclicked rows that were kept.
    ln_sampling: f32,
}

/// Log odds as they come out of a model, and out of which.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scored {
    /// Log odds, before sampling correction and calibration.
    pub logit: f32,
    /// The stage that gave them.
    pub stage: u8,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Bundle").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Bundle {
    /// Reads a file of at most [`BYTES_MAX`] bytes.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let file = std::fs::File::open(path)?;
        let length = file.metadata()?.len();
        let too_large = |found| BundleError::TooLarge {
            what: format!("the length in bytes of {}", path.display()),
            found,
            max: BYTES_MAX,
        };
        if length > BYTES_MAX {
            return Err(too_large(length));
        }
        let mut bytes = Vec::with_capacity(length as usize + 1);
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > BYTES_MAX {
            return Err(too_large(bytes.len() as u64));
        }
        Bundle::read(&bytes)
    }

    /// Checks every bit, takes up the models, and has them reproduce the golden rows.
    pub fn read(bytes: &[u8]) -> Result<Self, BundleError> {
        let container = Container::read(bytes)?;
        let manifest = Manifest::decode(container.section("manifest")?)?;
        let count = manifest.stages.len();
        let encodings = read_encodings(&container, count)?;
        let encoded = encodings.iter().filter(|encoding| !encoding.is_plain()).count();
        if container.sections.len() != 2 + 2 * count + encoded {
            let reason = format!("{} sections for {count} stages", container.sections.len());
            return Err(BundleError::Layout(reason));
        }
        let golden = Golden::decode(container.section("golden")?, &manifest)?;
        let (mut models, mut curves) = (Vec::new(), Vec::new());
        for names in (0..count).map(SectionNames::of) {
            models.push(container.section(&names.model)?);
            let bytes = container.section(&names.curves)?;
            let decoded = Segmented::decode(bytes);
            curves.push(decoded.map_err(|error| BundleError::section(&names.curves, error))?);
        }
        let stages = take_up(&manifest, &models, encodings, curves)?;
        reproduce(&manifest, &stages, &golden)?;
        Ok(Bundle { id: container.id, manifest, golden, stages })
    }

    /// The models, in the order in which they score.
    pub fn models(&self) -> impl ExactSizeIterator<Item = &Model> {
        self.stages.iter().map(|stage| &stage.model)
    }

    /// Scores each candidate: the first stage all, the second those that it found best.
    ///
    /// Whoever has a deadline calls [`Bundle::score_stage`] and [`Bundle::score_best`] instead, with a
    /// look at the clock between.
    pub fn score(
        &self,
        rows: Rows<'_>,
        scratch: &mut Scratch,
        out: &mut [Scored],
    ) -> Result<(), BundleError> {
        self.score_first(rows, scratch, out)?;
        self.score_best(rows, scratch, out)
    }

    /// Scores each candidate with the first stage.
    pub fn score_first(
        &self,
        rows: Rows<'_>,
        scratch: &mut Scratch,
        out: &mut [Scored],
    ) -> Result<(), BundleError> {
        let mut logits = std::mem::take(&mut scratch.logits);
        logits.clear();
        logits.resize(out.len(), 0.0);
        let scored = self.score_stage(0, rows, scratch, &mut logits);
        for (out, &logit) in out.iter_mut().zip(&logits) {
            *out = Scored { logit, stage: 0 };
        }
        scratch.logits = logits;
        scored
    }

    /// Scores again, with the second stage, those that the first found best. Without a second stage
    /// nothing changes.
    pub fn score_best(
        &self,
        rows: Rows<'_>,
        scratch: &mut Scratch,
        out: &mut [Scored],
    ) -> Result<(), BundleError> {
        let Some(top) = self.manifest.stages.get(1).and_then(|stage| stage.top) else {
            return Ok(());
        };
        self.check(rows, out.len())?;
        let mut order = std::mem::take(&mut scratch.order);
        let mut chosen = std::mem::take(&mut scratch.chosen);
        best(out, top as usize, &mut order);
        chosen.gather(rows, &order);
        let mut logits = std::mem::take(&mut chosen.logits);
        let scored = self.score_stage(1, chosen.rows(rows, order.len()), scratch, &mut logits);
        chosen.logits = logits;
        if scored.is_ok() {
            for (&place, &logit) in order.iter().zip(&chosen.logits) {
                out[place as usize] = Scored { logit, stage: 1 };
            }
        }
        (scratch.order, scratch.chosen) = (order, chosen);
        scored
    }

    /// Log odds that one stage gives to each candidate.
    ///
    /// # Panics
    /// Where there is no such stage.
    pub fn score_stage(
        &self,
        stage: usize,
        rows: Rows<'_>,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), BundleError> {
        self.check(rows, out.len())?;
        self.stages[stage].score(rows, scratch, out)
    }

    /// The probability of a click: log odds, plus the logarithm of the kept share, calibrated; each once.
    /// A segment without a curve of its own, as 0, has that of all rows.
    pub fn probability(&self, scored: Scored, segment: u64) -> f32 {
        self.stages[usize::from(scored.stage)].probability(scored.logit, segment)
    }

    fn check(&self, rows: Rows<'_>, out: usize) -> Result<(), BundleError> {
        check_rows(&self.manifest, rows, out)
    }
}

impl Stage {
    /// Log odds of rows as the manifest names them.
    fn score(
        &self,
        rows: Rows<'_>,
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), BundleError> {
        if self.encoding.is_plain() {
            return self.model.score(rows, scratch, out);
        }
        let mut encoded = std::mem::take(&mut scratch.encoded);
        encoded.take(&self.encoding, rows);
        let scored = self.model.score(encoded.rows(rows.count), scratch, out);
        scratch.encoded = encoded;
        scored
    }

    fn probability(&self, logit: f32, segment: u64) -> f32 {
        self.curves.probability(segment, logit + self.ln_sampling)
    }
}

/// The places of the best candidates, and of equals the first, in the order of the request.
fn best(scored: &[Scored], top: usize, order: &mut Vec<u32>) {
    order.clear();
    order.extend(0..scored.len() as u32);
    let logit = |place: &u32| scored[*place as usize].logit;
    if top < order.len() {
        order.select_nth_unstable_by(top, |left, right| {
            logit(right).total_cmp(&logit(left)).then(left.cmp(right))
        });
        order.truncate(top);
        order.sort_unstable();
    }
}

/// The encoding of each stage; where there is no such section, rows are taken as they are.
fn read_encodings(container: &Container<'_>, stages: usize) -> Result<Vec<Encoding>, BundleError> {
    let encoding = |name: String| match container.section(&name) {
        Err(_) => Ok(Encoding::Plain),
        Ok(bytes) => Encoding::decode(bytes).map_err(|error| BundleError::section(&name, error)),
    };
    (0..stages).map(|stage| encoding(SectionNames::of(stage).encoding)).collect()
}

fn take_up(
    manifest: &Manifest,
    models: &[&[u8]],
    encodings: Vec<Encoding>,
    curves: Vec<Segmented>,
) -> Result<Vec<Stage>, BundleError> {
    let mut stages = Vec::new();
    for (index, ((bytes, encoding), curves)) in models.iter().zip(encodings).zip(curves).enumerate()
    {
        let (stage, names) = (&manifest.stages[index], SectionNames::of(index));
        encoding.check(&names.encoding, manifest)?;
        let encoded = encoding.manifest(manifest);
        let model = Model::decode(stage.kind, &names.model, bytes, &encoded)?;
        stages.push(Stage { model, encoding, curves, ln_sampling: stage.sampling.ln() as f32 });
    }
    Ok(stages)
}

/// What the stages make of golden rows.
fn expect(
    manifest: &Manifest,
    stages: &[Stage],
    golden: &Golden,
) -> Result<Vec<Expected>, BundleError> {
    let (columns, fields) = (manifest.columns.len(), manifest.fields.len());
    let mut scratch = Scratch::default();
    let mut expected = Vec::new();
    for (row, segment) in golden.segments.iter().enumerate() {
        let (user_numeric, numeric) =
            golden.numeric[row * columns..(row + 1) * columns].split_at(manifest.user_columns);
        let (user_keys, keys) =
            golden.keys[row * fields..(row + 1) * fields].split_at(manifest.user_fields);
        let rows = Rows { user_numeric, user_keys, numeric, keys, count: 1 };
        for stage in stages {
            let mut logit = [0.0];
            stage.score(rows, &mut scratch, &mut logit)?;
            let probability = stage.probability(logit[0], *segment);
            expected.push(Expected { logit: logit[0], probability });
        }
    }
    Ok(expected)
}

fn reproduce(manifest: &Manifest, stages: &[Stage], golden: &Golden) -> Result<(), BundleError> {
    let found = expect(manifest, stages, golden)?;
    for (place, (found, expected)) in found.iter().zip(&golden.expected).enumerate() {
        let (row, stage) = (place / stages.len(), place % stages.len());
        let tolerance = stages[stage].model.tolerance();
        let logit =
            ("log odds of", found.logit, expected.logit, tolerance * (1.0 + expected.logit.abs()));
        // A probability moves by a quarter of its log odds at most; a calibration may be four times steeper.
        let probability = ("a probability of", found.probability, expected.probability, logit.3);
        for (what, found, expected, tolerance) in [logit, probability] {
            // So written that NaN is never near anything.
            let is_near = (found - expected).abs() <= tolerance;
            if !is_near {
                let (found, expected) = (f64::from(found), f64::from(expected));
                let tolerance = f64::from(tolerance);
                return Err(BundleError::Golden { row, stage, what, found, expected, tolerance });
            }
        }
    }
    Ok(())
}

fn check_rows(manifest: &Manifest, rows: Rows<'_>, out: usize) -> Result<(), BundleError> {
    let (columns, fields) = (manifest.columns.len(), manifest.fields.len());
    let widths = [
        ("rows: logits to be filled", out, rows.count),
        ("rows: the user's columns", rows.user_numeric.len(), manifest.user_columns),
        ("rows: the user's fields", rows.user_keys.len(), manifest.user_fields),
        (
            "rows: candidates' columns",
            rows.numeric.len(),
            rows.count * (columns - manifest.user_columns),
        ),
        ("rows: candidates' fields", rows.keys.len(), rows.count * (fields - manifest.user_fields)),
    ];
    match widths.into_iter().find(|(_, found, wanted)| found != wanted) {
        None => Ok(()),
        Some((field, found, wanted)) => {
            Err(BundleError::field(field, format!("there are {found}, the bundle wants {wanted}")))
        }
    }
}

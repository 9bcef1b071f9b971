//! Where each tensor lies in the one slice of all weights that are not a key's.

use std::ops::Range;

use super::{Shape, Structure};

/// One tensor: its name, its shape, its place.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) range: Range<usize>,
}

/// Weights of a matrix product: one matrix, or two of low rank, and a bias.
#[derive(Clone, Debug)]
pub(super) enum Cross {
    /// `weight` is width x width.
    Full { weight: Range<usize>, bias: Range<usize> },
    /// `v` is rank x width, `u` is width x rank.
    Low { v: Range<usize>, u: Range<usize>, bias: Range<usize> },
}

/// `weight` is outputs x inputs.
#[derive(Clone, Debug)]
pub(super) struct Hidden {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) weight: Range<usize>,
    pub(super) bias: Range<usize>,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) shape: Shape,
    pub(super) places: Vec<Place>,
    pub(super) missing: Range<usize>,
    pub(super) columns: Range<usize>,
    pub(super) cross: Vec<Cross>,
    pub(super) hidden: Vec<Hidden>,
    pub(super) output: Range<usize>,
    pub(super) bias: usize,
}

impl Layout {
    pub(super) fn new(shape: &Shape) -> Self {
        let mut places = Places(Vec::new());
        let missing = places.add("numeric.missing", &[shape.columns]);
        let columns = places.add("linear.columns", &[shape.columns]);
        let cross = (0..shape.cross_layers).map(|layer| cross(&mut places, shape, layer)).collect();
        let mut inputs = shape.width();
        let mut hidden = Vec::new();
        for (layer, &outputs) in shape.hidden.iter().enumerate() {
            hidden.push(Hidden {
                inputs,
                outputs,
                weight: places.add(&format!("hidden.{layer}.weight"), &[outputs, inputs]),
                bias: places.add(&format!("hidden.{layer}.bias"), &[outputs]),
            });
            inputs = outputs;
        }
        let output = places.add("output.weight", &[1, shape.output_width()]);
        let bias = places.add("output.bias", &[1]).start;
        Layout {
            shape: shape.clone(),
            places: places.0,
            missing,
            columns,
            cross,
            hidden,
            output,
            bias,
        }
    }

    /// How many numbers they are together.
    pub(super) fn length(&self) -> usize {
        self.places.last().map_or(0, |place| place.range.end)
    }

    /// The hidden layers read x0, not the cross layers.
    pub(super) fn is_parallel(&self) -> bool {
        self.shape.structure == Structure::Parallel
    }
}

struct Places(Vec<Place>);

impl Places {
    fn add(&mut self, name: &str, shape: &[usize]) -> Range<usize> {
        let start = self.0.last().map_or(0, |place| place.range.end);
        let range = start..start + shape.iter().product::<usize>();
        self.0.push(Place { name: name.to_owned(), shape: shape.to_vec(), range: range.clone() });
        range
    }
}

fn cross(places: &mut Places, shape: &Shape, layer: usize) -> Cross {
    let (width, rank) = (shape.width(), shape.rank);
    if rank == 0 {
        let weight = places.add(&format!("cross.{layer}.weight"), &[width, width]);
        let bias = places.add(&format!("cross.{layer}.bias"), &[width]);
        return Cross::Full { weight, bias };
    }
    let v = places.add(&format!("cross.{layer}.v"), &[rank, width]);
    let u = places.add(&format!("cross.{layer}.u"), &[width, rank]);
    let bias = places.add(&format!("cross.{layer}.bias"), &[width]);
    Cross::Low { v, u, bias }
}

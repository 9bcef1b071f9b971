//! What a decoded graph may be: short lists of operators and types, names in order, tensors as long as
//! they say; and how its end is read as log odds.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Size;
use tract_onnx::pb::type_proto::Value as Type;
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};

use crate::ImportError;

/// Operators whose result is no larger than what goes in and weights together, and who have no state.
const OPERATORS: [&str; 49] = [
    "Abs",
    "Add",
    "BatchNormalization",
    "Cast",
    "Celu",
    "Clip",
    "Concat",
    "Constant",
    "Div",
    "Dropout",
    "Elu",
    "Erf",
    "Exp",
    "Flatten",
    "Gather",
    "Gelu",
    "Gemm",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "Min",
    "Mish",
    "Mul",
    "Neg",
    "PRelu",
    "Pow",
    "Reciprocal",
    "ReduceMean",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Selu",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Softplus",
    "Softsign",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Transpose",
];
/// These are not on the list above for their place in a chain: they only move numbers.
const MOVERS: [&str; 7] =
    ["Cast", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"];
/// What may be computed from constants alone: nothing that makes more of them.
const FOLDED: [&str; 7] =
    ["Cast", "Constant", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"];
/// What log odds come out of.
const SUMS: [&str; 7] =
    ["Add", "BatchNormalization", "Gemm", "MatMul", "ReduceSum", "Sub", "ReduceMean"];

const ELEMENTS_MAX: usize = 1 << 26;

/// The one input that rows go into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub(super) name: String,
    /// How many rows at once, where the graph fixes that.
    pub(super) rows: Option<usize>,
    /// How many columns, where the graph says that.
    pub(super) columns: Option<usize>,
}

/// How the last numbers are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// They are log odds: of one number a row, itself; there was a sigmoid behind, or none.
    Logit,
    /// There was a softmax behind two numbers a row: log odds are the second less the first.
    Pair,
}

/// A model made ready: one output, everything else taken away, the last sigmoid or softmax as well.
pub(super) struct Prepared {
    pub(super) model: ModelProto,
    pub(super) input: Input,
    pub(super) end: End,
}

/// Checks a graph and prepares it.
pub(super) fn prepare(mut model: ModelProto) -> Result<Prepared, ImportError> {
    let graph = model.graph.as_mut().ok_or_else(|| refused("it has no graph"))?;
    graph.value_info.clear();
    check_tensors(graph)?;
    let input = input(graph)?;
    let output = output(graph)?;
    prune(graph, &output)?;
    check_nodes(graph, &input)?;
    let end = open_end(graph, &output)?;
    graph.output.retain(|one| one.name == output);
    graph.output.iter_mut().for_each(|one| one.r#type = None);
    Ok(Prepared { model, input, end })
}

pub(super) fn refused(reason: impl Into<String>) -> ImportError {
    ImportError::onnx(reason)
}

fn check_tensors(graph: &GraphProto) -> Result<(), ImportError> {
    let attributes = graph.node.iter().flat_map(|node| &node.attribute);
    let tensors = graph.initializer.iter().chain(attributes.filter_map(|one| one.t.as_ref()));
    tensors.into_iter().try_for_each(check_tensor)
}

/// A tensor is in the file, of a known type, and as long as its shape says.
fn check_tensor(tensor: &TensorProto) -> Result<(), ImportError> {
    let name = &tensor.name;
    if tensor.data_location.is_some_and(|place| place != 0) || !tensor.external_data.is_empty() {
        return Err(refused(format!(
            "tensor {name:?} lies in another file: save the model as one file"
        )));
    }
    let elements = tensor.dims.iter().try_fold(1usize, |product, &size| {
        usize::try_from(size).ok().and_then(|size| product.checked_mul(size))
    });
    let elements = elements.filter(|&elements| elements <= ELEMENTS_MAX && tensor.dims.len() <= 8);
    let elements = elements
        .ok_or_else(|| refused(format!("tensor {name:?} has the shape {:?}", tensor.dims)))?;
    let (size, typed) = match DataType::try_from(tensor.data_type) {
        Ok(DataType::Float) => (4, tensor.float_data.len()),
        Ok(DataType::Double) => (8, tensor.double_data.len()),
        Ok(DataType::Int64) => (8, tensor.int64_data.len()),
        Ok(DataType::Int32) => (4, tensor.int32_data.len()),
        Ok(DataType::Bool | DataType::Uint8 | DataType::Int8) => (1, tensor.int32_data.len()),
        Ok(DataType::Float16) => (2, tensor.int32_data.len()),
        _ => return Err(refused(format!("tensor {name:?} is of type {}", tensor.data_type))),
    };
    let is_whole = match tensor.raw_data.len() {
        0 => typed == elements,
        raw => raw == elements * size && typed == 0,
    };
    match is_whole {
        true => Ok(()),
        false => {
            Err(refused(format!("tensor {name:?} is not as long as its shape {:?}", tensor.dims)))
        }
    }
}

/// The one input that is no weight.
pub(super) fn input(graph: &GraphProto) -> Result<Input, ImportError> {
    let weights = graph.initializer.iter().map(|one| &*one.name).collect::<HashSet<_>>();
    let inputs = graph.input.iter().filter(|one| !weights.contains(&*one.name)).collect::<Vec<_>>();
    let [input] = inputs[..] else {
        let reason = format!("it has {} inputs; one table of numbers is taken", inputs.len());
        return Err(refused(reason));
    };
    let name = &input.name;
    let (kind, sizes) =
        shape(input).ok_or_else(|| refused(format!("input {name:?} has no shape")))?;
    if kind != DataType::Float as i32 {
        return Err(refused(format!("input {name:?} is of type {kind}; rows are float (1)")));
    }
    let [rows, columns] = sizes[..] else {
        let reason =
            format!("input {name:?} has {} dimensions; rows and columns are two", sizes.len());
        return Err(refused(reason));
    };
    let bounded = |what: &str, size: Option<i64>, max: usize| match size {
        None => Ok(None),
        Some(size) => match usize::try_from(size) {
            Ok(size) if (1..=max).contains(&size) => Ok(Some(size)),
            _ => Err(refused(format!("input {name:?} has {size} {what}; 1 to {max} are taken"))),
        },
    };
    let columns = bounded("columns", columns, crate::manifest::COLUMNS_MAX)?;
    Ok(Input { name: name.clone(), rows: bounded("rows", rows, 1024)?, columns })
}

/// Element type and sizes, where they are numbers.
fn shape(value: &ValueInfoProto) -> Option<(i32, Vec<Option<i64>>)> {
    let Some(Type::TensorType(tensor)) = value.r#type.as_ref()?.value.as_ref() else { return None };
    let size = |value: &Option<Size>| match value {
        Some(Size::DimValue(size)) if *size != 0 => Some(*size),
        _ => None,
    };
    let sizes = tensor.shape.as_ref()?.dim.iter().map(|one| size(&one.value)).collect();
    Some((tensor.elem_type, sizes))
}

/// The output that is read: the only one, or the one of probabilities beside labels.
fn output(graph: &GraphProto) -> Result<String, ImportError> {
    if let [output] = &graph.output[..] {
        return Ok(output.name.clone());
    }
    let is_float =
        |one: &&ValueInfoProto| shape(one).is_some_and(|(kind, _)| kind == DataType::Float as i32);
    let floats = graph.output.iter().filter(is_float).collect::<Vec<_>>();
    match floats[..] {
        [output] => Ok(output.name.clone()),
        _ => Err(refused(format!(
            "it has {} outputs, of them {} of floats; one of probabilities or log odds is taken",
            graph.output.len(),
            floats.len()
        ))),
    }
}

/// Takes away whatever the output does not need.
fn prune(graph: &mut GraphProto, output: &str) -> Result<(), ImportError> {
    let mut needed = HashSet::from([output.to_owned()]);
    let mut kept = Vec::new();
    for node in std::mem::take(&mut graph.node).into_iter().rev() {
        if node.output.iter().any(|name| needed.contains(name)) {
            needed.extend(node.input.iter().cloned());
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    graph.initializer.retain(|one| needed.contains(&one.name));
    let weights = graph.initializer.iter().map(|one| &*one.name).collect::<HashSet<_>>();
    graph.input.retain(|one| needed.contains(&one.name) && !weights.contains(&*one.name));
    match graph.input.is_empty() {
        true => Err(refused(format!("output {output:?} does not depend on the input"))),
        false => Ok(()),
    }
}

/// Every name is made once, and before it is used: so there is no cycle.
fn check_nodes(graph: &GraphProto, input: &Input) -> Result<(), ImportError> {
    let mut constant = HashMap::<&str, bool>::new();
    for tensor in &graph.initializer {
        if constant.insert(&tensor.name, true).is_some() {
            return Err(refused(format!("the name {:?} is there twice", tensor.name)));
        }
    }
    if constant.insert(&input.name, false).is_some() {
        return Err(refused(format!("the name {:?} is there twice", input.name)));
    }
    for node in &graph.node {
        check_operator(node)?;
        let mut is_constant = true;
        for name in node.input.iter().filter(|name| !name.is_empty()) {
            is_constant &= *constant.get(&**name).ok_or_else(|| {
                refused(format!(
                    "{} needs {name:?} before it is there (a cycle, or a part is missing)",
                    title(node)
                ))
            })?;
        }
        if is_constant && !FOLDED.contains(&&*node.op_type) {
            let reason =
                format!("{} computes from constants alone: simplify the model first", title(node));
            return Err(refused(reason));
        }
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if constant.insert(name, is_constant).is_some() {
                return Err(refused(format!("the name {name:?} is there twice")));
            }
        }
    }
    Ok(())
}

fn check_operator(node: &NodeProto) -> Result<(), ImportError> {
    let is_plain = matches!(&*node.domain, "" | "ai.onnx");
    let name = &&*node.op_type;
    if is_plain && (OPERATORS.contains(name) || MOVERS.contains(name)) {
        return Ok(());
    }
    let domain = if is_plain { "" } else { &*node.domain };
    Err(refused(format!(
        "{} is of the operator {domain}{}{}, which is not taken: networks of dense layers are, and one \
         TreeEnsembleClassifier or TreeEnsembleRegressor",
        title(node),
        if domain.is_empty() { "" } else { "." },
        node.op_type
    )))
}

fn title(node: &NodeProto) -> String {
    let output = node.output.first().map_or("", |name| name);
    format!("node {:?} ({} to {output:?})", node.name, node.op_type)
}

/// Looks what the output is, and takes the sigmoid or softmax away: log odds far from 0 have digits that
/// their probability has lost.
fn open_end(graph: &mut GraphProto, output: &str) -> Result<End, ImportError> {
    let mut name = output.to_owned();
    loop {
        let is_maker = |node: &&mut NodeProto| node.output.contains(&name);
        let Some(node) = graph.node.iter_mut().find(is_maker) else {
            return Err(refused("its output is its input"));
        };
        match &*node.op_type {
            "Sigmoid" | "Softmax" => {
                let axis = node.attribute.iter().find(|one| one.name == "axis").map(|one| one.i);
                if !matches!(axis, None | Some(-1 | 1)) {
                    return Err(refused(format!(
                        "{} goes over another axis than the last",
                        title(node)
                    )));
                }
                let end = if node.op_type == "Sigmoid" { End::Logit } else { End::Pair };
                node.op_type = "Identity".to_owned();
                node.attribute.clear();
                return Ok(end);
            }
            operator if SUMS.contains(&operator) => return Ok(End::Logit),
            "Cast" if !casts_to_float(node) => {
                return Err(refused(format!("{} makes the output no float", title(node))));
            }
            operator if MOVERS.contains(&operator) => {
                name = node.input.first().cloned().unwrap_or_default();
            }
            operator => {
                let reason = format!(
                    "it ends in {operator}: neither a probability (Sigmoid, Softmax) nor log odds (a sum, \
                     Gemm, MatMul)"
                );
                return Err(refused(reason));
            }
        }
    }
}

fn casts_to_float(node: &NodeProto) -> bool {
    let to = node.attribute.iter().find(|one| one.name == "to").map(|one| one.i);
    to == Some(DataType::Float as i64) || to == Some(DataType::Double as i64)
}

//! Tree ensembles in ONNX become trees of ours.
//!
//! tract runs a TreeEnsembleClassifier, but slowly, with node numbers that it does not check, and in a
//! cycle for ever. Here each tree is proved to be one, and our own kernel adds up the same leaves.
//!
//! | ONNX | ours |
//! |---|---|
//! | `x > t`, `x >= t` | `x <= t`, `x < t` with the children changed over |
//! | missing tracks true | the child for missing numbers |
//! | LOGISTIC of one sum | the sum is log odds |
//! | SOFTMAX of two sums | log odds are the second less the first |
//!
//! An ensemble that adds up probabilities (a random forest) has no log odds to add, and is refused.

use std::collections::{HashMap, HashSet};

use reckon_model::trees::{Child, Forest, Missing, Node, Options, Split, Transform, Tree};
use tract_onnx::pb::{GraphProto, ModelProto, NodeProto};

use super::graph::{self, Input, refused};
use crate::ImportError;

const DOMAIN: &str = "ai.onnx.ml";
const NODES_MAX: usize = 1 << 24;

pub(super) fn is_ensemble(node: &NodeProto) -> bool {
    node.domain == DOMAIN && node.op_type.starts_with("TreeEnsemble")
}

/// The one ensemble of a model; nothing where it has none.
pub(super) fn forest(model: &ModelProto) -> Result<Option<Forest>, ImportError> {
    let graph = model.graph.as_ref().ok_or_else(|| refused("it has no graph"))?;
    let nodes = graph.node.iter().filter(|node| is_ensemble(node)).collect::<Vec<_>>();
    let node = match nodes[..] {
        [] => return Ok(None),
        [node] => node,
        _ => return Err(refused(format!("it has {} tree ensembles; one is taken", nodes.len()))),
    };
    let input = graph::input(graph)?;
    check_surroundings(graph, node, &input)?;
    read(node, input.columns).map(Some)
}

/// Nothing but the ensemble computes.
fn check_surroundings(
    graph: &GraphProto,
    ensemble: &NodeProto,
    input: &Input,
) -> Result<(), ImportError> {
    let others = graph.node.iter().filter(|node| !std::ptr::eq(*node, ensemble));
    for node in others {
        if !matches!(&*node.op_type, "Identity" | "Cast" | "ZipMap") {
            let reason = format!("a {} beside a tree ensemble is not taken", node.op_type);
            return Err(refused(reason));
        }
    }
    match &ensemble.input[..] {
        [name] if *name == input.name => Ok(()),
        _ => Err(refused("its tree ensemble does not read the input itself")),
    }
}

/// Attributes of a node, by name.
struct Attributes<'a>(&'a NodeProto);

impl<'a> Attributes<'a> {
    fn find(&self, name: &str) -> Option<&'a tract_onnx::pb::AttributeProto> {
        self.0.attribute.iter().find(|one| one.name == name)
    }

    fn whole(&self, name: &str) -> &'a [i64] {
        self.find(name).map_or(&[], |one| &one.ints)
    }

    fn floats(&self, name: &str) -> &'a [f32] {
        self.find(name).map_or(&[], |one| &one.floats)
    }

    fn texts(&self, name: &str) -> &'a [Vec<u8>] {
        self.find(name).map_or(&[], |one| &one.strings)
    }

    fn text(&self, name: &str, default: &'a str) -> &'a str {
        self.find(name).map_or(default, |one| std::str::from_utf8(&one.s).unwrap_or(""))
    }
}

fn read(node: &NodeProto, columns: Option<usize>) -> Result<Forest, ImportError> {
    let attributes = Attributes(node);
    if let Some(tensor) = node.attribute.iter().find(|one| one.name.ends_with("_as_tensor")) {
        return Err(refused(format!(
            "{}: numbers of 64 bits are not taken; export floats",
            tensor.name
        )));
    }
    let weights = Weights::read(node, &attributes)?;
    let mut places = Places::read(&attributes, weights)?;
    let wanted = attributes
        .whole("nodes_featureids")
        .iter()
        .max()
        .map_or(0, |&last| usize::try_from(last).map_or(0, |last| last.saturating_add(1)));
    let columns = columns.unwrap_or(wanted);
    if columns < wanted || columns > crate::manifest::COLUMNS_MAX {
        return Err(refused(format!(
            "its trees ask for {wanted} columns, its input has {columns}"
        )));
    }
    let options = Options {
        column_names: (0..columns).map(|column| format!("column_{column}")).collect(),
        transform: Transform::Sigmoid { steepness: 1.0 },
        average: false,
        base: places.weights.base,
        tiny_is_zero: false,
    };
    Forest::from_trees(places.trees(&attributes)?, options)
        .map_err(|error| refused(error.to_string()))
}

/// What leaves add to the log odds, by tree and node.
struct Weights {
    of: HashMap<(i64, i64), f64>,
    base: f64,
}

impl Weights {
    fn read(node: &NodeProto, attributes: &Attributes<'_>) -> Result<Self, ImportError> {
        let post = attributes.text("post_transform", "NONE");
        let (prefix, classes) = match &*node.op_type {
            "TreeEnsembleClassifier" => {
                let labels = attributes.whole("classlabels_int64s").len()
                    + attributes.texts("classlabels_strings").len();
                ("class", labels)
            }
            "TreeEnsembleRegressor" => ("target", 1),
            other => {
                return Err(refused(format!(
                    "{other} is not taken: export a TreeEnsembleClassifier"
                )));
            }
        };
        if prefix == "class" && classes != 2 {
            return Err(refused(format!(
                "it has {classes} classes; two are taken: clicked or not"
            )));
        }
        if prefix == "target" && !matches!(attributes.text("aggregate_function", "SUM"), "SUM") {
            return Err(refused("its trees are not summed"));
        }
        let whole = |name: &str| attributes.whole(&format!("{prefix}_{name}"));
        let (trees, nodes, ids) = (whole("treeids"), whole("nodeids"), whole("ids"));
        let weights = attributes.floats(&format!("{prefix}_weights"));
        let is_even =
            [trees.len(), nodes.len(), ids.len()].iter().all(|&length| length == weights.len());
        if !is_even || weights.is_empty() || weights.iter().any(|weight| !weight.is_finite()) {
            return Err(refused(format!(
                "{prefix}_weights: one finite number, tree, node and class each"
            )));
        }
        let is_single = ids.iter().all(|id| *id == ids[0]);
        let sign = signs(post, prefix == "class", is_single, weights)?;
        let mut of = HashMap::new();
        for (place, &weight) in weights.iter().enumerate() {
            let sign = if is_single { 1.0 } else { sign(ids[place]) };
            *of.entry((trees[place], nodes[place])).or_insert(0.0) += sign * f64::from(weight);
        }
        let base = match (attributes.floats("base_values"), is_single) {
            ([], _) => 0.0,
            ([base], true) => f64::from(*base),
            ([no, yes], false) => sign(0) * f64::from(*no) + sign(1) * f64::from(*yes),
            (base, _) => return Err(refused(format!("base_values: {} of them", base.len()))),
        };
        match base.is_finite() {
            true => Ok(Weights { of, base }),
            false => Err(refused("base_values: not a finite number")),
        }
    }
}

/// What a class's sum is multiplied with for log odds.
fn signs(
    post: &str,
    is_class: bool,
    is_single: bool,
    weights: &[f32],
) -> Result<fn(i64) -> f64, ImportError> {
    match post {
        "LOGISTIC" if is_class && is_single && weights.iter().all(|weight| *weight >= 0.0) => {
            Err(refused(
                "all its weights are positive, which onnxruntime reads as probabilities in spite of \
             LOGISTIC: export it as log odds with a base value",
            ))
        }
        "LOGISTIC" => Ok(|class| f64::from(u8::from(class == 1))),
        "SOFTMAX" if !is_single => Ok(|class| if class == 1 { 1.0 } else { -1.0 }),
        _ => Err(refused(format!(
            "post_transform is {post}: its trees add up probabilities or something else, not log odds \
             (LOGISTIC of one class, or SOFTMAX of two)"
        ))),
    }
}

/// Where each node stands in the lists, by tree; trees in the order of their first nodes.
struct Places {
    order: Vec<i64>,
    of: HashMap<i64, HashMap<i64, usize>>,
    weights: Weights,
}

impl Places {
    fn read(attributes: &Attributes<'_>, weights: Weights) -> Result<Self, ImportError> {
        let (trees, nodes) = (attributes.whole("nodes_treeids"), attributes.whole("nodes_nodeids"));
        let count = nodes.len();
        let lists =
            ["nodes_treeids", "nodes_featureids", "nodes_truenodeids", "nodes_falsenodeids"];
        let is_even = lists.iter().all(|name| attributes.whole(name).len() == count)
            && attributes.floats("nodes_values").len() == count
            && attributes.texts("nodes_modes").len() == count
            && [0, count].contains(&attributes.whole("nodes_missing_value_tracks_true").len());
        if !is_even || !(1..=NODES_MAX).contains(&count) {
            let reason =
                format!("nodes_*: lists of one length, 1 to {NODES_MAX}; there are {count} ids");
            return Err(refused(reason));
        }
        let (mut order, mut of) = (Vec::new(), HashMap::<i64, HashMap<i64, usize>>::new());
        for (place, (&tree, &node)) in trees.iter().zip(nodes).enumerate() {
            let known = of.entry(tree).or_insert_with(|| {
                order.push(tree);
                HashMap::new()
            });
            if known.insert(node, place).is_some() {
                return Err(refused(format!("tree {tree} has node {node} twice")));
            }
        }
        Ok(Places { order, of, weights })
    }

    fn trees(&mut self, attributes: &Attributes<'_>) -> Result<Vec<Tree>, ImportError> {
        let order = std::mem::take(&mut self.order);
        let mut trees = Vec::with_capacity(order.len());
        for tree in order {
            trees.push(self.tree(attributes, tree)?);
        }
        match self.weights.of.keys().next() {
            None => Ok(trees),
            Some((tree, node)) => {
                Err(refused(format!("tree {tree} has no leaf {node}, and it has a weight")))
            }
        }
    }

    /// Walks from the root: every node is met once, or it is no tree.
    fn tree(&mut self, attributes: &Attributes<'_>, tree: i64) -> Result<Tree, ImportError> {
        let places = &self.of[&tree];
        let mut walk = Walk { attributes, tree: Tree { nodes: Vec::new(), leaves: Vec::new() } };
        let mut open = vec![(self.root(attributes, tree)?, None)];
        let mut met = 0;
        while let Some((node, parent)) = open.pop() {
            let place = *places.get(&node).ok_or_else(|| {
                refused(format!("tree {tree} has no node {node}, and a split leads there"))
            })?;
            met += 1;
            if met > places.len() {
                return Err(refused(format!("tree {tree} is none: nodes are met again")));
            }
            let weight = self.weights.of.remove(&(tree, node));
            let child = match walk.split(place, weight.is_some())? {
                None => {
                    walk.tree.leaves.push(weight.unwrap_or(0.0));
                    Child::Leaf(walk.tree.leaves.len() as u32 - 1)
                }
                Some((left, right)) => {
                    let split = walk.tree.nodes.len() - 1;
                    open.push((right, Some((split, false))));
                    open.push((left, Some((split, true))));
                    Child::Node(split as u32)
                }
            };
            attach(&mut walk.tree, parent, child);
        }
        match met == places.len() {
            true => Ok(walk.tree),
            false => Err(refused(format!("tree {tree} has nodes that nothing leads to"))),
        }
    }

    /// The node that no split leads to.
    fn root(&self, attributes: &Attributes<'_>, tree: i64) -> Result<i64, ImportError> {
        let places = &self.of[&tree];
        let (yes, no) =
            (attributes.whole("nodes_truenodeids"), attributes.whole("nodes_falsenodeids"));
        let modes = attributes.texts("nodes_modes");
        let splits = places.values().filter(|&&place| modes[place] != b"LEAF");
        let children = splits.flat_map(|&place| [yes[place], no[place]]);
        let children = children.collect::<HashSet<_>>();
        let mut roots = places.keys().filter(|node| !children.contains(node));
        match (roots.next(), roots.next()) {
            (Some(root), None) => Ok(*root),
            _ => Err(refused(format!("tree {tree} has not one root"))),
        }
    }
}

fn attach(tree: &mut Tree, parent: Option<(usize, bool)>, child: Child) {
    if let Some((split, is_left)) = parent {
        let split = &mut tree.nodes[split];
        *(if is_left { &mut split.left } else { &mut split.right }) = child;
    }
}

struct Walk<'a> {
    attributes: &'a Attributes<'a>,
    tree: Tree,
}

impl Walk<'_> {
    /// Adds a split, if this is one: where its left and right lead.
    fn split(&mut self, place: usize, is_weighed: bool) -> Result<Option<(i64, i64)>, ImportError> {
        let list = |name: &str| self.attributes.whole(name)[place];
        let threshold = self.attributes.floats("nodes_values")[place];
        let (is_below, is_at_most) = match &*self.attributes.texts("nodes_modes")[place] {
            b"LEAF" => return Ok(None),
            b"BRANCH_LEQ" => (true, true),
            b"BRANCH_LT" => (true, false),
            b"BRANCH_GT" => (false, true),
            b"BRANCH_GTE" => (false, false),
            mode => {
                let mode = String::from_utf8_lossy(mode);
                return Err(refused(format!("nodes_modes: {mode} is not taken")));
            }
        };
        if !threshold.is_finite() || is_weighed {
            return Err(refused("a split has no finite threshold, or the weight of a leaf"));
        }
        let column = u32::try_from(list("nodes_featureids"))
            .map_err(|_| refused("nodes_featureids: no column"))?;
        let missing = self.attributes.whole("nodes_missing_value_tracks_true");
        let is_missing_true = missing.get(place).is_some_and(|&tracks| tracks != 0);
        let (yes, no) = (list("nodes_truenodeids"), list("nodes_falsenodeids"));
        let missing = Missing::Nan { left: is_missing_true == is_below };
        let threshold = f64::from(threshold);
        let split = match is_at_most {
            true => Split::AtMost { threshold, missing },
            false => Split::Below { threshold, missing },
        };
        let open = Child::Leaf(0);
        self.tree.nodes.push(Node { column, split, left: open, right: open, gain: 0.0 });
        Ok(Some(if is_below { (yes, no) } else { (no, yes) }))
    }
}

#[cfg(test)]
mod tests;

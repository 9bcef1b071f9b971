//! LightGBM's text, versions 3 and 4.
//!
//! ```text
//! tree                          the head: a name, "=", values
//! version=v4
//! num_class=1 ...
//!                               an empty line
//! Tree=0                        a tree: the same form
//! num_leaves=3
//! split_feature=4 0             one value a node, values apart by blanks
//! left_child=1 -1               a node, or -1 - leaf
//! decision_type=2 9             bit 0: categories; bit 1: missing goes left; bits 2, 3: what is missing
//! cat_boundaries=0 2            words of the first set: 0 to 1
//! cat_threshold=17 3
//! ...
//! end of trees
//! ```
//!
//! What follows (importances, parameters) repeats what the trees say and is not read. Everything that
//! is allocated is bounded by the length of the text: a count is believed only after as many values
//! were found.

use std::collections::HashMap;

use super::{COLUMNS_MAX, Child, Error, Forest, Missing, Node, Options, Split, Transform, Tree};

const CATEGORICAL: u8 = 1;
const LEFT: u8 = 2;

/// The lines of a head or of a tree, by name.
struct Section<'a> {
    values: HashMap<&'a str, &'a str>,
    /// The tree's place; none for the head.
    tree: Option<usize>,
}

impl<'a> Section<'a> {
    fn of(lines: &[&'a str], tree: Option<usize>) -> Self {
        let pair = |line: &&'a str| Some(line.split_once('=').unwrap_or((line, "")));
        Section { values: lines.iter().filter_map(pair).collect(), tree }
    }

    fn error(&self, field: &'static str) -> Error {
        match self.tree {
            Some(tree) => Error::Tree { tree, field },
            None => Error::Head(field),
        }
    }

    fn text(&self, field: &'static str) -> Result<&'a str, Error> {
        self.values.get(field).copied().ok_or_else(|| self.error(field))
    }

    /// One value.
    fn one<T: std::str::FromStr>(&self, field: &'static str) -> Result<T, Error> {
        self.text(field)?.trim().parse().map_err(|_| self.error(field))
    }

    /// As many values as there should be.
    fn many<T: std::str::FromStr>(
        &self,
        field: &'static str,
        count: usize,
    ) -> Result<Vec<T>, Error> {
        let text = self.text(field)?;
        let values: Result<Vec<T>, _> = text.split_ascii_whitespace().map(str::parse).collect();
        let values = values.map_err(|_| self.error(field))?;
        if values.len() == count { Ok(values) } else { Err(self.error(field)) }
    }
}

pub(super) fn parse(text: &str) -> Result<Forest, Error> {
    let lines: Vec<&str> = text.lines().map(|line| line.trim_end_matches('\r')).collect();
    if lines.first() != Some(&"tree") {
        return Err(Error::Head("the first line, \"tree\","));
    }
    let end = lines.iter().position(|line| *line == "end of trees").ok_or(Error::Truncated)?;
    let lines = &lines[1..end];
    let starts: Vec<usize> =
        (0..lines.len()).filter(|&line| lines[line].starts_with("Tree=")).collect();
    let head_end = starts.first().copied().unwrap_or(lines.len());
    let head = Section::of(&lines[..head_end], None);
    let (options, column_infos) = read_head(&head)?;
    if head.text("tree_sizes")?.split_ascii_whitespace().count() != starts.len() {
        return Err(Error::Head("tree_sizes (one for each tree)"));
    }
    let ends = starts.iter().skip(1).copied().chain([lines.len()]);
    let trees = starts.iter().zip(ends).enumerate();
    let trees: Result<Vec<Tree>, Error> =
        trees.map(|(index, (&start, end))| read_tree(&lines[start..end], index)).collect();
    let mut forest = Forest::from_trees(trees?, options)?;
    forest.column_infos = column_infos;
    Ok(forest)
}

fn read_head(head: &Section<'_>) -> Result<(Options, Vec<String>), Error> {
    let version = head.text("version")?;
    if !matches!(version, "v3" | "v4") {
        let said = format!(
            "version {version} of LightGBM's text is not known: save the model with LightGBM 3 or 4"
        );
        return Err(Error::Unsupported(said));
    }
    for field in ["num_class", "num_tree_per_iteration"] {
        if head.one::<u32>(field)? != 1 {
            let said = format!(
                "{field} is not 1: models of several classes are not scored here; train one of two classes"
            );
            return Err(Error::Unsupported(said));
        }
    }
    let columns = head.one::<usize>("max_feature_idx")?.saturating_add(1);
    if columns > COLUMNS_MAX {
        return Err(Error::Head("max_feature_idx"));
    }
    let column_names = head.many("feature_names", columns)?;
    let column_infos = head.many("feature_infos", columns)?;
    let options = Options {
        column_names,
        transform: transform(head)?,
        average: head.values.contains_key("average_output"),
        base: 0.0,
        tiny_is_zero: true,
    };
    Ok((options, column_infos))
}

/// What the objective makes of the sum. Without an objective (one's own loss) the sum stays.
fn transform(head: &Section<'_>) -> Result<Transform, Error> {
    let Some(text) = head.values.get("objective") else { return Ok(Transform::Identity) };
    let mut words = text.split_ascii_whitespace();
    let name = words.next().unwrap_or("");
    match name {
        "binary" => {
            let steepness = words.find_map(|word| word.strip_prefix("sigmoid:"));
            let steepness = steepness.and_then(|number| number.parse().ok());
            Ok(Transform::Sigmoid { steepness: steepness.ok_or_else(|| head.error("objective"))? })
        }
        "cross_entropy" | "xentropy" => Ok(Transform::Sigmoid { steepness: 1.0 }),
        "regression" if words.any(|word| word == "sqrt") => Ok(Transform::SignedSquare),
        "regression" | "regression_l1" | "huber" | "fair" | "quantile" | "mape" | "lambdarank"
        | "rank_xendcg" | "custom" => Ok(Transform::Identity),
        "poisson" | "gamma" | "tweedie" => Ok(Transform::Exponential),
        _ => Err(Error::Unsupported(format!(
            "objective {name:?} is not scored here: train with binary, cross_entropy, regression or lambdarank"
        ))),
    }
}

fn read_tree(lines: &[&str], index: usize) -> Result<Tree, Error> {
    let tree = Section::of(lines, Some(index));
    if tree.one::<usize>("Tree")? != index {
        return Err(tree.error("Tree"));
    }
    if tree.values.get("is_linear").is_some_and(|value| value.trim() != "0") {
        let said = format!(
            "tree {index}: is_linear: trees with linear leaves are not scored here; train with linear_tree=false"
        );
        return Err(Error::Unsupported(said));
    }
    if !tree.one::<f64>("shrinkage")?.is_finite() {
        return Err(tree.error("shrinkage"));
    }
    let leaf_count = tree.one::<usize>("num_leaves")?;
    if leaf_count == 0 {
        return Err(tree.error("num_leaves"));
    }
    let leaves = tree.many("leaf_value", leaf_count)?;
    let nodes = if leaf_count == 1 { Vec::new() } else { read_nodes(&tree, leaf_count - 1)? };
    Ok(Tree { nodes, leaves })
}

fn read_nodes(tree: &Section<'_>, count: usize) -> Result<Vec<Node>, Error> {
    let columns = tree.many::<u32>("split_feature", count)?;
    let gains = tree.many::<f64>("split_gain", count)?;
    let thresholds = tree.many::<f64>("threshold", count)?;
    let decisions = tree.many::<u8>("decision_type", count)?;
    let lefts = tree.many::<i32>("left_child", count)?;
    let rights = tree.many::<i32>("right_child", count)?;
    let mut sets = read_sets(tree)?;
    let node = |node: usize| {
        Ok(Node {
            column: columns[node],
            split: split(tree, decisions[node], thresholds[node], &mut sets)?,
            left: child(lefts[node]),
            right: child(rights[node]),
            gain: gains[node],
        })
    };
    (0..count).map(node).collect()
}

fn child(number: i32) -> Child {
    if number < 0 { Child::Leaf(!number as u32) } else { Child::Node(number as u32) }
}

fn split(
    tree: &Section<'_>,
    decision: u8,
    threshold: f64,
    sets: &mut [Option<Vec<u32>>],
) -> Result<Split, Error> {
    if decision & CATEGORICAL != 0 {
        // The threshold of such a node is the place of its set.
        // Each node has one of its own: sets that nodes could share would make memory out of nothing.
        let place = if threshold >= 0.0 && threshold.fract() == 0.0 {
            Some(threshold as usize)
        } else {
            None
        };
        let set = place.and_then(|place| sets.get_mut(place)).and_then(Option::take);
        return Ok(Split::In { words: set.ok_or_else(|| tree.error("threshold"))? });
    }
    let left = decision & LEFT != 0;
    let missing = match decision >> 2 {
        0 => Missing::None,
        1 => Missing::Zero { left },
        2 => Missing::Nan { left },
        _ => return Err(tree.error("decision_type")),
    };
    Ok(Split::AtMost { threshold, missing })
}

/// The sets of categories; the boundaries say which words are whose.
fn read_sets(tree: &Section<'_>) -> Result<Vec<Option<Vec<u32>>>, Error> {
    let count = tree.one::<usize>("num_cat")?;
    if count == 0 {
        return Ok(Vec::new());
    }
    let ends = count.checked_add(1).ok_or_else(|| tree.error("num_cat"))?;
    let bounds = tree.many::<usize>("cat_boundaries", ends)?;
    let words = tree.many::<u32>("cat_threshold", bounds[count])?;
    if bounds[0] != 0 || !bounds.is_sorted() {
        return Err(tree.error("cat_boundaries"));
    }
    let set = |pair: &[usize]| {
        let words = words.get(pair[0]..pair[1]).ok_or_else(|| tree.error("cat_boundaries"))?;
        Ok(Some(words.to_vec()))
    };
    bounds.windows(2).map(set).collect()
}

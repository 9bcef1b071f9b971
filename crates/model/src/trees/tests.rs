//! What a forest must be without anyone else's help: the same from every kernel, and never a panic.

use super::tree::floor;
use super::*;
use crate::Random;

fn options(columns: usize) -> Options {
    Options {
        column_names: (0..columns).map(|column| format!("c{column}")).collect(),
        transform: Transform::Identity,
        average: false,
        base: 0.25,
        tiny_is_zero: true,
    }
}

fn value(random: &mut Random) -> f32 {
    match random.below(12) {
        0 => f32::NAN,
        1 => f32::INFINITY,
        2 => f32::NEG_INFINITY,
        3 => 0.0,
        4 => f32::from_bits(random.bits() as u32),
        5 => random.below(200) as f32,
        _ => random.normal(),
    }
}

fn split(random: &mut Random) -> Split {
    let left = random.below(2) == 0;
    let missing =
        [Missing::None, Missing::Zero { left }, Missing::Nan { left }][random.below(3) as usize];
    let threshold = f64::from(random.normal());
    match random.below(5) {
        0 => Split::In { words: (0..random.below(5)).map(|_| random.bits() as u32).collect() },
        1 => Split::Below { threshold, missing },
        _ => Split::AtMost { threshold, missing },
    }
}

/// A tree that grows at leaves by chance: neither balanced nor a list.
fn tree(random: &mut Random, leaves: u32, columns: u64) -> Tree {
    let mut tree = Tree::constant(random.uniform());
    let mut places: Vec<Option<(usize, bool)>> = vec![None];
    for new in 1..leaves {
        let leaf = random.below(u64::from(new)) as usize;
        let node = tree.nodes.len();
        if let Some((parent, left)) = places[leaf] {
            let parent = &mut tree.nodes[parent];
            *(if left { &mut parent.left } else { &mut parent.right }) = Child::Node(node as u32);
        }
        let column = random.below(columns) as u32;
        let (left, right) = (Child::Leaf(leaf as u32), Child::Leaf(new));
        tree.nodes.push(Node { column, split: split(random), left, right, gain: 1.0 });
        tree.leaves.push(random.uniform());
        places[leaf] = Some((node, true));
        places.push(Some((node, false)));
    }
    tree
}

#[test]
fn all_kernels_say_the_same() {
    let mut random = Random::new(3);
    let mut walks = 0;
    for leaves in [1, 2, 31, 32, 33, 63, 64, 65, 128, 255, 450, 2000] {
        let trees: Vec<_> = (0..5).map(|_| tree(&mut random, leaves, 9)).collect();
        let forest = Forest::from_trees(trees, options(9)).expect("sound trees");
        walks += forest.layout.steps.len();
        let rows: Vec<_> = (0..9 * 101).map(|_| value(&mut random)).collect();
        let mut scores = [[0.0; 101]; 3];
        let mut scratch = forest.scratch();
        forest.score_plain(&rows, &mut scores[0]);
        forest.score_portable(&rows, &mut scratch, &mut scores[1]);
        forest.score(&rows, &mut scratch, &mut scores[2]);
        let bits = scores.map(|scores| scores.map(f64::to_bits));
        assert_eq!(bits[0], bits[1], "{leaves} leaves, portable");
        assert_eq!(bits[0], bits[2], "{leaves} leaves, as on this machine");
    }
    assert!(walks > 0, "both kernels were compared");
}

#[test]
fn a_narrowed_threshold_divides_all_f32_alike() {
    let mut random = Random::new(5);
    for _ in 0..200_000 {
        let near = f32::from_bits(random.bits() as u32);
        let wide =
            f64::from_bits(f64::from(near).to_bits().wrapping_add(random.below(5)).wrapping_sub(2));
        for threshold in [wide, f64::from_bits(random.bits()), f64::INFINITY, f64::NEG_INFINITY] {
            if threshold.is_nan() {
                continue;
            }
            let missing = Missing::Nan { left: false };
            let at_most = Split::AtMost { threshold, missing }.narrowed();
            let below = Split::Below { threshold, missing }.narrowed();
            for value in [
                near,
                near.next_up(),
                near.next_down(),
                0.0,
                -0.0,
                f32::INFINITY,
                f32::NEG_INFINITY,
                floor(threshold),
            ] {
                assert_eq!(
                    value <= at_most,
                    f64::from(value) <= threshold,
                    "{value} <= {threshold}"
                );
                assert_eq!(value <= below, f64::from(value) < threshold, "{value} < {threshold}");
            }
        }
    }
}

const MODEL: &str = include_str!("../../tests/trees/categories.txt");

#[test]
fn a_damaged_text_is_an_error_or_another_model_but_no_panic() {
    let lines: Vec<_> = MODEL.lines().collect();
    let end = lines.iter().position(|line| *line == "end of trees").expect("an end");
    for cut in 0..=end {
        let error = Forest::parse(&lines[..cut].join("\n")).err();
        assert!(error.is_some(), "cut before line {cut}");
    }
    let mut refused = 0;
    for line in 0..end {
        let (name, value) = lines[line].split_once('=').unwrap_or((lines[line], ""));
        let swapped: Vec<_> = value.split(' ').rev().collect();
        for other in [
            "",
            "-1",
            "nan",
            "99999999999",
            "4294967295",
            "0 0 0 0",
            &swapped.join(" "),
            &value.replace(' ', " 1 "),
            &value.replacen('-', "", 1),
        ] {
            let line_of = format!("{name}={other}");
            let mut lines = lines.clone();
            lines[line] = &line_of;
            match Forest::parse(&lines.join("\n")) {
                Ok(forest) => forest.score_plain(
                    &[1.0; 8][..forest.columns().min(8)],
                    &mut [0.0][..usize::from(forest.columns() <= 8)],
                ),
                Err(error) => refused += usize::from(!error.to_string().is_empty()),
            }
        }
    }
    assert!(refused > end * 2, "{refused} of {end} lines, nine times each");
}

#[test]
fn an_error_names_tree_and_field() {
    let check = |from: &str, to: &str, message: &str| {
        assert!(MODEL.contains(from), "{from}");
        let error = Forest::parse(&MODEL.replacen(from, to, 1)).expect_err("refused").to_string();
        assert!(error.contains(message), "{error}");
    };
    check("left_child=", "left_child=0 ", "tree 0: left_child");
    check("num_leaves=", "num_leaves=4", "tree 0: leaf_value");
    check("threshold=", "threshold=nan ", "tree 0: threshold");
    check("is_linear=0", "is_linear=1", "tree 0: is_linear");
    check("num_class=1", "num_class=3", "several classes");
    check("version=v4", "version=v9", "version v9");
    check("objective=binary", "objective=multiclass", "multiclass");
    check("end of trees", "", "cut off");
    let cycle = Node {
        column: 0,
        split: Split::AtMost { threshold: 0.0, missing: Missing::None },
        left: Child::Node(0),
        right: Child::Leaf(0),
        gain: 0.0,
    };
    let error =
        Forest::from_trees(vec![Tree { nodes: vec![cycle], leaves: vec![1.0, 2.0] }], options(1));
    assert_eq!(error.err(), Some(Error::Tree { tree: 0, field: "left_child or right_child" }));
}

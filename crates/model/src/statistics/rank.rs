//! Whether two orders agree.

/// Kendall's tau-b: pairs in one order less pairs in the other, over the root of the pairs that are not tied
/// on either side. `None` where one side is all ties. In `n log n` (Knight 1966).
///
/// # Panics
/// Where the two are not of one length.
pub fn kendall_tau(left: &[f64], right: &[f64]) -> Option<f64> {
    assert_eq!(left.len(), right.len(), "two ranks an item");
    let mut items: Vec<_> = left.iter().copied().zip(right.iter().copied()).collect();
    items.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let pairs = |count: usize| count as f64 * (count as f64 - 1.0) / 2.0;
    let tied = |runs: &mut dyn Iterator<Item = usize>| runs.map(pairs).sum::<f64>();
    let tied_left = tied(&mut items.chunk_by(|a, b| a.0 == b.0).map(<[_]>::len));
    let tied_both = tied(&mut items.chunk_by(|a, b| a == b).map(<[_]>::len));
    let mut order: Vec<_> = items.iter().map(|item| item.1).collect();
    let swaps = sort(&mut order) as f64;
    let tied_right = tied(&mut order.chunk_by(|a, b| a == b).map(<[_]>::len));
    let all = pairs(items.len());
    let score = all - tied_left - tied_right + tied_both - 2.0 * swaps;
    let scale = ((all - tied_left) * (all - tied_right)).sqrt();
    (scale > 0.0).then(|| score / scale)
}

/// Sorts by merging; answers how many neighbours would have to be swapped.
fn sort(values: &mut Vec<f64>) -> u64 {
    let count = values.len();
    let mut swaps = 0;
    let mut width = 1;
    while width < count {
        let mut merged = Vec::with_capacity(count);
        for run in values.chunks(2 * width) {
            let (left, right) = run.split_at(width.min(run.len()));
            let (mut i, mut j) = (0, 0);
            while i < left.len() || j < right.len() {
                if j == right.len() || (i < left.len() && left[i] <= right[j]) {
                    merged.push(left[i]);
                    i += 1;
                } else {
                    swaps += (left.len() - i) as u64;
                    merged.push(right[j]);
                    j += 1;
                }
            }
        }
        *values = merged;
        width *= 2;
    }
    swaps
}

//! Plots as SVG: lines, dots with their intervals, bars.

use std::fmt::Write;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 320.0;
/// Room for what is written at an axis.
const LEFT: f64 = 52.0;
const BELOW: f64 = 40.0;
const ABOVE: f64 = 10.0;
const RIGHT: f64 = 12.0;

/// What the axes say and how far they go; both begin at 0.
pub(super) struct Axes<'a> {
    pub(super) title: &'a str,
    pub(super) x: &'a str,
    pub(super) y: &'a str,
    pub(super) x_max: f64,
    pub(super) y_max: f64,
}

/// A plot with axes, which is drawn into.
pub(super) struct Plot<'a> {
    axes: Axes<'a>,
    drawn: String,
}

impl<'a> Plot<'a> {
    pub(super) fn new(axes: Axes<'a>) -> Self {
        let mut plot = Plot { axes, drawn: String::new() };
        for tick in 0..=4 {
            plot.tick(f64::from(tick) / 4.0);
        }
        plot
    }

    fn tick(&mut self, share: f64) {
        let (x, y) = (self.x(share * self.axes.x_max), self.y(share * self.axes.y_max));
        let (left, bottom) = (LEFT, HEIGHT - BELOW);
        let (x_text, y_text) = (number(share * self.axes.x_max), number(share * self.axes.y_max));
        let _ = write!(
            self.drawn,
            "<path class='grid' d='M{left} {y:.1}H{right} M{x:.1} {ABOVE}V{bottom}'/>\
             <text x='{x:.1}' y='{below}' text-anchor='middle'>{x_text}</text>\
             <text x='{before}' y='{beside:.1}' text-anchor='end'>{y_text}</text>",
            right = WIDTH - RIGHT,
            below = bottom + 15.0,
            before = left - 6.0,
            beside = y + 4.0,
        );
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (value / self.axes.x_max).clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let height = HEIGHT - BELOW - ABOVE;
        ABOVE + (1.0 - (value / self.axes.y_max).clamp(0.0, 1.0)) * height
    }

    /// A line; `class` is `line` or `chance`.
    pub(super) fn line(&mut self, class: &str, points: &[[f64; 2]]) {
        let place = |[x, y]: &[f64; 2]| format!("{:.1},{:.1} ", self.x(*x), self.y(*y));
        let points: String = points.iter().map(place).collect();
        let _ = write!(self.drawn, "<polyline class='{class}' points='{points}'/>");
    }

    /// A dot with the interval of its height.
    pub(super) fn dot(&mut self, x: f64, y: f64, [low, high]: [f64; 2]) {
        let (x, y, low, high) = (self.x(x), self.y(y), self.y(low), self.y(high));
        let _ = write!(
            self.drawn,
            "<path class='whisker' d='M{x:.1} {low:.1}V{high:.1}'/>\
             <circle class='dot' cx='{x:.1}' cy='{y:.1}' r='3'/>"
        );
    }

    /// The plot, whole.
    pub(super) fn svg(self) -> String {
        let Axes { title, x, y, .. } = self.axes;
        format!(
            "<figure><figcaption>{title}</figcaption>\
             <svg viewBox='0 0 {WIDTH} {HEIGHT}' role='img' aria-label='{title}'>{drawn}\
             <text x='{middle}' y='{bottom}' text-anchor='middle'>{x}</text>\
             <text transform='translate(12 {height}) rotate(-90)' text-anchor='middle'>{y}</text>\
             </svg></figure>",
            drawn = self.drawn,
            middle = (LEFT + WIDTH - RIGHT) / 2.0,
            bottom = HEIGHT - 6.0,
            height = (ABOVE + HEIGHT - BELOW) / 2.0,
        )
    }
}

/// Bars with their names, the longest as long as there is room. `texts` stand behind the bars.
pub(super) fn bars(title: &str, rows: &[(String, f64, String)]) -> String {
    let most = rows.iter().map(|row| row.1).fold(f64::MIN_POSITIVE, f64::max);
    let mut drawn = String::new();
    for (name, value, text) in rows {
        let share = (value / most * 100.0).clamp(0.0, 100.0);
        let _ = write!(
            drawn,
            "<tr><th>{}</th><td class='bar'><span style='width:{share:.1}%'></span></td><td>{}</td></tr>",
            escaped(name),
            escaped(text)
        );
    }
    format!("<figure><figcaption>{title}</figcaption><table class='bars'>{drawn}</table></figure>")
}

/// Names come from files of others: none becomes a part of the page.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&quot;"),
            letter => out.push(letter),
        }
    }
    out
}

/// With as many digits as its size asks for.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.001 => format!("{value:.1e}"),
        size if size < 0.1 => format!("{value:.3}"),
        size if size < 100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_others_stay_text() {
        let hostile = "<script>alert('\"&\")</script>";
        let page = bars("names", &[(hostile.to_owned(), 1.0, "1".to_owned())]);
        assert!(!page.contains("<script") && page.contains("&lt;script&gt;"), "{page}");
    }

    #[test]
    fn what_is_beyond_the_axes_stays_in_the_plot() {
        let axes = Axes { title: "t", x: "x", y: "y", x_max: 1.0, y_max: 1.0 };
        let plot = Plot::new(axes);
        assert_eq!((plot.x(7.0), plot.y(-3.0)), (WIDTH - RIGHT, HEIGHT - BELOW));
        assert_eq!((plot.x(0.0), plot.y(1.0)), (LEFT, ABOVE));
    }
}

//! Horizontal bars by site: contribution scores and rewards.

use super::markup::{Markup, coordinate};

const WIDTH: f64 = 440.0;
const ROW: f64 = 26.0;
const NAMES: f64 = 92.0;
const VALUES: f64 = 124.0;

/// One bar.
pub(super) struct Bar {
    /// Whose it is.
    pub(super) name: String,
    /// Its length; may be negative.
    pub(super) value: f64,
    /// The value as people read it.
    pub(super) label: String,
    /// Shown when pointed at.
    pub(super) title: String,
}

/// A bar chart with its caption.
pub(super) fn figure(caption: &str, note: &str, class: &'static str, bars: &[Bar]) -> Markup {
    let mut figure = Markup::new();
    figure.open("figure", &[("class", &"card")]).open("figcaption", &[]).element("strong", &[], caption);
    figure.raw(" ").element("span", &[("class", &"quiet")], note).close("figcaption");
    let height = f64::from(u32::try_from(bars.len()).unwrap_or(u32::MAX)) * ROW + 8.0;
    let view = format!("0 0 {WIDTH} {height}");
    figure.open("svg", &[("viewBox", &view), ("role", &"img"), ("aria-label", &caption)]);
    let low = bars.iter().map(|bar| bar.value).fold(0.0, f64::min);
    let high = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let unit = (WIDTH - NAMES - VALUES) / (high - low).max(1e-9);
    let zero = NAMES - low * unit;
    let mut top = 4.0;
    for bar in bars {
        let (from, to) =
            if bar.value < 0.0 { (zero + bar.value * unit, zero) } else { (zero, zero + bar.value * unit) };
        let baseline = coordinate(top + 17.0);
        figure.element(
            "text",
            &[("class", &"end"), ("x", &coordinate(NAMES - 8.0)), ("y", &baseline)],
            &bar.name,
        );
        let (x, y, width) = (coordinate(from), coordinate(top + 4.0), coordinate((to - from).max(0.8)));
        figure.open(
            "rect",
            &[
                ("class", &class),
                ("x", &x),
                ("y", &y),
                ("width", &width),
                ("height", &coordinate(ROW - 9.0)),
                ("rx", &"2"),
            ],
        );
        figure.element("title", &[], &bar.title).close("rect");
        figure.element(
            "text",
            &[("class", &"value"), ("x", &coordinate(to + 6.0)), ("y", &baseline)],
            &bar.label,
        );
        top += ROW;
    }
    let (x, bottom) = (coordinate(zero), coordinate(top));
    figure
        .open("line", &[("class", &"axis"), ("x1", &x), ("y1", &"4"), ("x2", &x), ("y2", &bottom)])
        .close("line");
    figure.close("svg").close("figure");
    figure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_of_nothing_and_of_less_than_nothing_stay_in_the_picture() {
        for values in [vec![], vec![0.0, 0.0], vec![-0.2, 0.5], vec![-1.0, -2.0]] {
            let bars: Vec<Bar> = values
                .iter()
                .map(|value| Bar { name: "a".into(), value: *value, label: "l".into(), title: "t".into() })
                .collect();
            let html = figure("c", "n", "reward", &bars).into_string();
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
            for attribute in ["x=\"-", "width=\"-"] {
                assert!(!html.contains(attribute), "{values:?}: {html}");
            }
        }
    }
}

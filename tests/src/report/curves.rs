//! One line chart a task: the federated model's metric over the rounds, beside local-only and pooled training.

use super::markup::{Markup, coordinate};
use super::summary::TaskResult;

const WIDTH: f64 = 440.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 36.0;

/// A chart with its caption and legend.
pub(super) fn figure(task: &TaskResult) -> Markup {
    let mut figure = Markup::new();
    figure.open("figure", &[("class", &"card")]);
    figure.open("figcaption", &[]).element("strong", &[], &task.task).raw(" ");
    let direction = if task.higher_is_better { "higher is better" } else { "lower is better" };
    figure.element("span", &[("class", &"quiet")], format_args!("{}, {direction}", task.metric));
    figure.close("figcaption");
    draw(&mut figure, task);
    legend(&mut figure, task);
    figure.close("figure");
    figure
}

/// Maps metric values and round numbers to the drawing.
struct Scale {
    low: f64,
    high: f64,
    last_round: f64,
}

impl Scale {
    fn new(task: &TaskResult) -> Self {
        let values = task.curve.iter().map(|point| point.value).chain(task.local.values().copied());
        let values = values.chain([task.local_mean, task.pooled]).filter(|value| value.is_finite());
        let (mut low, mut high) = values
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        if low > high {
            // Nothing to show.
            (low, high) = (0.0, 1.0);
        } else if low.total_cmp(&high).is_eq() {
            (low, high) = (low - 0.5, low + 0.5);
        }
        let margin = (high - low) * 0.08;
        let last_round = task.curve.iter().map(|point| f64::from(point.round)).fold(2.0, f64::max);
        Self { low: low - margin, high: high + margin, last_round }
    }

    fn x(&self, round: f64) -> f64 {
        LEFT + (round - 1.0) / (self.last_round - 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (self.high - value) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM)
    }

    /// Round values for grid lines: steps of 1, 2 or 5 times a power of ten, four to eight of them.
    fn ticks(&self) -> Vec<f64> {
        let span = self.high - self.low;
        let magnitude = 10f64.powf((span / 4.0).log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * magnitude);
        let step = step.into_iter().find(|step| span / step <= 6.0).unwrap_or(span);
        let mut tick = (self.low / step).ceil() * step;
        let mut ticks = Vec::new();
        while tick <= self.high && ticks.len() < 12 {
            ticks.push(tick);
            tick += step;
        }
        ticks
    }
}

fn draw(figure: &mut Markup, task: &TaskResult) {
    let scale = Scale::new(task);
    let label = format!(
        "{} of {} by round: federated ends at {:.3}, local-only mean {:.3}, pooled {:.3}",
        task.metric, task.task, task.federated, task.local_mean, task.pooled
    );
    let view = format!("0 0 {WIDTH} {HEIGHT}");
    figure.open("svg", &[("viewBox", &view), ("role", &"img"), ("aria-label", &label)]);
    axes(figure, &scale);
    for (class, value) in [("local", task.local_mean), ("pooled", task.pooled)] {
        let y = coordinate(scale.y(value));
        line(figure, class, [&coordinate(LEFT), &y, &coordinate(WIDTH - RIGHT), &y]);
    }
    for (site, value) in &task.local {
        let (x, y) = (coordinate(WIDTH - RIGHT + 8.0), coordinate(scale.y(*value)));
        figure.open("circle", &[("class", &"local"), ("cx", &x), ("cy", &y), ("r", &"2.5")]);
        figure.element("title", &[], format_args!("{site} alone: {value:.3}")).close("circle");
    }
    let points = task.curve.iter().filter(|point| point.value.is_finite());
    let places: Vec<_> =
        points.map(|point| (point, scale.x(f64::from(point.round)), scale.y(point.value))).collect();
    let path = places.iter().map(|(_, x, y)| format!("{},{}", coordinate(*x), coordinate(*y)));
    let path = path.collect::<Vec<_>>().join(" ");
    figure.open("polyline", &[("class", &"federated"), ("points", &path)]).close("polyline");
    for (point, x, y) in places {
        let (x, y) = (coordinate(x), coordinate(y));
        figure.open("circle", &[("class", &"federated"), ("cx", &x), ("cy", &y), ("r", &"3.2")]);
        figure
            .element("title", &[], format_args!("round {}: {:.3}", point.round, point.value))
            .close("circle");
    }
    figure.close("svg");
}

fn axes(figure: &mut Markup, scale: &Scale) {
    let (left, right) = (coordinate(LEFT), coordinate(WIDTH - RIGHT));
    for tick in scale.ticks() {
        let y = coordinate(scale.y(tick));
        line(figure, "grid", [&left, &y, &right, &y]);
        let (x, baseline) = (coordinate(LEFT - 6.0), coordinate(scale.y(tick) + 4.0));
        figure.element("text", &[("class", &"end"), ("x", &x), ("y", &baseline)], format_args!("{tick:.2}"));
    }
    let stride = (scale.last_round / 10.0).ceil().max(1.0);
    let mut round = 1.0;
    let baseline = coordinate(HEIGHT - BOTTOM + 17.0);
    while round <= scale.last_round {
        let x = coordinate(scale.x(round));
        figure.element(
            "text",
            &[("class", &"middle"), ("x", &x), ("y", &baseline)],
            format_args!("{round:.0}"),
        );
        round += stride;
    }
    let (x, y) = (coordinate((LEFT + WIDTH - RIGHT) / 2.0), coordinate(HEIGHT - 3.0));
    figure.element("text", &[("class", &"middle"), ("x", &x), ("y", &y)], "round");
}

fn line(figure: &mut Markup, class: &str, [x1, y1, x2, y2]: [&String; 4]) {
    figure.open("line", &[("class", &class), ("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2)]).close("line");
}

fn legend(figure: &mut Markup, task: &TaskResult) {
    figure.open("ul", &[("class", &"legend")]);
    for (class, name, value) in [
        ("federated", "federated", task.federated),
        ("local", "local-only mean (dots: each site)", task.local_mean),
        ("pooled", "pooled data", task.pooled),
    ] {
        figure
            .open("li", &[])
            .open("svg", &[("viewBox", &"0 0 24 8"), ("class", &"key"), ("aria-hidden", &"true")]);
        line(figure, class, [&"0".to_owned(), &"4".to_owned(), &"24".to_owned(), &"4".to_owned()]);
        figure.close("svg").text(name).raw(" ").element("b", &[], format_args!("{value:.3}")).close("li");
    }
    figure.close("ul");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(low: f64, high: f64) -> Scale {
        Scale { low, high, last_round: 10.0 }
    }

    #[test]
    fn grid_lines_are_few_and_inside() {
        for (low, high) in [(0.0, 1.0), (0.71, 0.94), (0.5, 130.0), (-3.0, 3.0), (0.900_1, 0.900_2)] {
            let ticks = scale(low, high).ticks();
            assert!((2..=8).contains(&ticks.len()), "{low}..{high}: {ticks:?}");
            assert!(ticks.iter().all(|tick| (low..=high + 1e-9).contains(tick)), "{low}..{high}: {ticks:?}");
        }
    }

    #[test]
    fn better_values_are_drawn_by_size() {
        let scale = scale(0.0, 1.0);
        assert!(scale.y(0.9) < scale.y(0.1), "larger values are higher up");
        assert!(scale.x(10.0) > scale.x(1.0));
    }
}

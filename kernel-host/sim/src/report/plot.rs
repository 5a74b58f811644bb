//! Line charts as SVG, written by hand: a library would weigh more than the pictures.
//!
//! Does:      a logarithmic axis of sizes below, a linear or logarithmic axis of values, one line
//!            and one dash for each series, targets as dotted lines.
//! Does not:  lay out text: labels are short.
//! Bounds:    `SERIES_MAX` series have colours of their own.
//! Trusts:    labels, which are ours and need no escaping.
//! Start at:  `Chart::svg`.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 56.0;
const SERIES_MAX: usize = 6;
/// Told apart by people who see colours differently too (Okabe and Ito).
const COLOURS: [&str; SERIES_MAX] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];
/// A logarithmic axis has no zero.
const LEAST: f64 = 0.5;

/// A line: what it shows, and its points.
#[derive(Debug, Clone, Default)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
    pub is_dashed: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Chart {
    pub title: String,
    pub x_label: String,
    pub y_label: String,
    pub is_log: bool,
    pub series: Vec<Series>,
    /// A line that the values should stay below, and its name.
    pub targets: Vec<(String, f64)>,
}

/// How values become places.
struct Scale {
    x: (f64, f64),
    y: (f64, f64),
    is_log: bool,
}

impl Scale {
    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        let part = (x.max(1.0).ln() - self.x.0) / (self.x.1 - self.x.0).max(1e-9);
        let height = self.height(y);
        let across = LEFT + part * (WIDTH - LEFT - RIGHT);
        (across, HEIGHT - BOTTOM - height * (HEIGHT - TOP - BOTTOM))
    }

    fn height(&self, y: f64) -> f64 {
        let y = if self.is_log { y.max(LEAST).ln() } else { y };
        (y - self.y.0) / (self.y.1 - self.y.0).max(1e-9)
    }
}

/// The round number at or above a value: 1, 2 or 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1e-9).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0];
    let step = steps.iter().find(|step| **step * power >= value * 0.999);
    step.unwrap_or(&10.0) * power
}

fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e3 => format!("{}k", v / 1e3),
        v => format!("{v}"),
    }
}

impl Chart {
    fn scale(&self) -> Scale {
        let points = || self.series.iter().flat_map(|series| series.points.iter());
        let xs: Vec<f64> = points().map(|point| point.0.max(1.0).ln()).collect();
        let values = points().map(|point| point.1);
        let most = values.chain(self.targets.iter().map(|target| target.1));
        let most = round_up(most.fold(1.0, f64::max) * 1.05);
        let least = points()
            .map(|point| point.1.max(LEAST))
            .fold(most, f64::min);
        let y = if self.is_log {
            let bottom = 10_f64.powf(least.log10().floor());
            (bottom.max(LEAST).ln(), most.ln())
        } else {
            (0.0, most)
        };
        Scale {
            x: (
                xs.iter().copied().fold(f64::MAX, f64::min).min(12.0),
                xs.iter().copied().fold(0.0, f64::max),
            ),
            y,
            is_log: self.is_log,
        }
    }

    fn ticks(&self, scale: &Scale) -> Vec<f64> {
        if !self.is_log {
            let step = round_up(scale.y.1 / 6.0);
            let rows = (0..=6).map(|row| f64::from(row) * step);
            return rows.filter(|value| *value <= scale.y.1 * 1.001).collect();
        }
        let decades = (-1..10).map(|power| 10_f64.powi(power));
        decades
            .filter(|value| (-0.001..1.001).contains(&scale.height(*value)))
            .collect()
    }

    /// The picture.
    pub fn svg(&self) -> String {
        let scale = self.scale();
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"26\" font-size=\"16\" font-weight=\"bold\">{}</text>\n",
            self.title
        );
        self.axes(&scale, &mut out);
        for (name, value) in &self.targets {
            let (_, y) = scale.place(1.0, *value);
            let right = WIDTH - RIGHT;
            // Its name stands above it, but not above the picture.
            let name_y = if y < TOP + 20.0 { y + 15.0 } else { y - 4.0 };
            let _ = writeln!(
                out,
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#888888\" \
                 stroke-dasharray=\"2 4\" stroke-width=\"1.5\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#666666\" text-anchor=\"end\">{name}</text>",
                right - 4.0,
                name_y
            );
        }
        for (at, series) in self.series.iter().enumerate() {
            self.line(&scale, at, series, &mut out);
        }
        out.push_str("</svg>\n");
        out
    }

    fn axes(&self, scale: &Scale, out: &mut String) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for value in self.ticks(scale) {
            let (_, y) = scale.place(1.0, value);
            let _ = writeln!(
                out,
                "<line x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" \
                 stroke=\"#e4e4e4\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 4.0,
                short(value)
            );
        }
        let mut sizes: Vec<f64> = Vec::new();
        for point in self.series.iter().flat_map(|series| series.points.iter()) {
            if !sizes.contains(&point.0) {
                sizes.push(point.0);
            }
        }
        for size in sizes {
            let (x, _) = scale.place(size, 0.0);
            let _ = writeln!(
                out,
                "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{:.1}\" \
                 stroke=\"#444444\"/>\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 5.0,
                bottom + 20.0,
                short(size)
            );
        }
        let middle = LEFT + (right - LEFT) / 2.0;
        let centre = TOP + (bottom - TOP) / 2.0;
        let _ = writeln!(
            out,
            "<path d=\"M{LEFT} {TOP}V{bottom}H{right}\" fill=\"none\" stroke=\"#444444\"/>\
             <text x=\"{middle:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
             <text x=\"18\" y=\"{centre:.1}\" text-anchor=\"middle\" \
             transform=\"rotate(-90 18 {centre:.1})\">{}</text>",
            bottom + 42.0,
            self.x_label,
            self.y_label
        );
    }

    fn line(&self, scale: &Scale, at: usize, series: &Series, out: &mut String) {
        let colour = COLOURS[at % SERIES_MAX];
        let dash = if series.is_dashed {
            " stroke-dasharray=\"7 4\""
        } else {
            ""
        };
        let places: Vec<String> = series
            .points
            .iter()
            .map(|point| {
                let (x, y) = scale.place(point.0, point.1);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dash}/>",
            places.join(" ")
        );
        for place in &places {
            let (x, y) = place.split_once(',').unwrap_or(("0", "0"));
            let _ = writeln!(
                out,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"3\" fill=\"{colour}\"/>"
            );
        }
        #[allow(clippy::cast_precision_loss)] // a handful of rows
        let y = TOP + 10.0 + at as f64 * 21.0;
        let left = WIDTH - RIGHT + 14.0;
        let _ = writeln!(
            out,
            "<line x1=\"{left}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" \
             stroke-width=\"2\"{dash}/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            left + 24.0,
            left + 30.0,
            y + 4.0,
            series.name
        );
    }
}

//! The drawings, as inline SVG: accuracies as a heat map, accuracy over tasks as curves, and effort against
//! size on logarithmic axes.
//!
//! Colours of curves come from the page's style sheet (classes `s0` to `s7`), so that they follow light
//! and dark. Colour is never the only sign: curves have marks of different shapes, dashes beyond the
//! eighth, and labels; cells have numbers.

use std::fmt::Write;

use cl_metrics::Summary;

use super::view::Drawn;

/// Hues in the style sheet.
const HUES: usize = 8;

/// An SVG under construction. Writing to a String cannot fail.
struct Svg(String);

impl Svg {
    fn new(width: f64, height: f64, class: &str, label: &str) -> Self {
        Self(format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" class="{class}" role="img" aria-label="{}" width="{width}" height="{height}" viewBox="0 0 {width} {height}">"#,
            escape(label)
        ))
    }

    fn text(&mut self, x: f64, y: f64, attributes: &str, text: &str) {
        let _ = write!(self.0, r#"<text x="{x:.1}" y="{y:.1}" {attributes}>{}</text>"#, escape(text));
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        let _ =
            write!(self.0, r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#);
    }

    fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), attributes: &str) {
        let _ = write!(
            self.0,
            r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" {attributes}/>"#
        );
    }

    fn path(&mut self, class: &str, points: impl IntoIterator<Item = (f64, f64)>, closed: bool) {
        let mut d = String::new();
        for (k, (x, y)) in points.into_iter().enumerate() {
            let _ = write!(d, "{}{x:.1} {y:.1}", if k == 0 { 'M' } else { 'L' });
        }
        let _ = write!(self.0, r#"<path class="{class}" d="{d}{}"/>"#, if closed { "Z" } else { "" });
    }

    fn finish(mut self) -> String {
        self.0.push_str("</svg>");
        self.0
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not allowed in XML at all.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// The mean R matrix: rows are training phases, from the untrained network down, columns the tasks
/// tested; in the cells percent. The diagonal, the task just learned, is outlined.
pub fn heat_map(drawn: &Drawn) -> String {
    const LEFT: f64 = 66.0;
    const TOP: f64 = 38.0;
    const GAP: f64 = 5.0;
    let tasks = drawn.r.tasks();
    // Many tasks: smaller cells, whole percents.
    let (cell, height, decimals) = if tasks > 10 { (30.0, 22.0, 0) } else { (44.0, 26.0, 1) };
    let rows = drawn.r.rows();
    let joint = !drawn.r.is_full();
    let (width, bottom) =
        (LEFT + cell * tasks as f64 + 1.0, TOP + GAP + height * (rows.len() + 1) as f64 + 1.0);

    let label = format!("{}: mean accuracy on each task before training and after each phase", drawn.method);
    let mut svg = Svg::new(width, bottom, "heat", &label);
    let middle = r#"class="tick" text-anchor="middle""#;
    svg.text(LEFT + cell * tasks as f64 / 2.0, 12.0, middle, "tested on task");
    for j in 0..tasks {
        svg.text(LEFT + cell * (j as f64 + 0.5), TOP - 7.0, middle, &(j + 1).to_string());
    }
    for (i, row) in std::iter::once(drawn.r.baseline()).chain(rows.iter().map(Vec::as_slice)).enumerate() {
        let y = TOP + height * i as f64 + if i > 0 { GAP } else { 0.0 };
        let name = match i {
            0 => "untrained".into(),
            _ if joint => "joint".into(),
            _ => format!("after {i}"),
        };
        svg.text(LEFT - 7.0, y + height / 2.0 + 4.0, r#"class="tick" text-anchor="end""#, &name);
        for (j, &accuracy) in row.iter().enumerate() {
            let x = LEFT + cell * j as f64;
            let (fill, ink) = shade(accuracy);
            svg.rect((x, y), (cell, height), &format!(r#"class="cell" fill="{fill}""#));
            if !joint && i == j + 1 {
                let outline = format!(r#"fill="none" stroke="{ink}" stroke-width="1.5""#);
                svg.rect((x + 2.0, y + 2.0), (cell - 4.0, height - 4.0), &outline);
            }
            let number = format!("{:.decimals$}", 100.0 * accuracy);
            let attributes = format!(r#"class="number" text-anchor="middle" fill="{ink}""#);
            svg.text(x + cell / 2.0, y + height / 2.0 + 4.0, &attributes, &number);
        }
    }
    svg.finish()
}

/// The colour of a cell, from pale for 0 to dark blue for 1, and of the ink that is read best on it.
fn shade(accuracy: f64) -> (String, &'static str) {
    const STOPS: [[f64; 3]; 4] =
        [[246.0, 248.0, 251.0], [186.0, 211.0, 236.0], [74.0, 137.0, 199.0], [8.0, 48.0, 107.0]];
    let at = accuracy.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let from = (at as usize).min(STOPS.len() - 2);
    let rgb: [f64; 3] =
        std::array::from_fn(|c| STOPS[from][c] + (at - from as f64) * (STOPS[from + 1][c] - STOPS[from][c]));
    let hex =
        format!("#{:02x}{:02x}{:02x}", rgb[0].round() as u8, rgb[1].round() as u8, rgb[2].round() as u8);
    // Relative luminance; 0.18 is where black and white contrast alike (WCAG 2).
    let linear = rgb.map(|c| (c / 255.0).powf(2.2));
    let luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    (hex, if luminance > 0.18 { "#111" } else { "#fff" })
}

/// Average accuracy over the tasks seen so far, after each task: one curve per method, a band of one
/// SEM to either side. A joint run is a level.
pub fn curves(drawn: &[Drawn], width: f64) -> String {
    let tasks = drawn.iter().map(|d| d.r.tasks()).max().unwrap_or(1);
    let labels: Vec<String> = drawn.iter().map(|d| format!("{} {:.1}", d.method, end(d).mean)).collect();
    let longest = labels.iter().map(|l| l.chars().count()).max().unwrap_or(0);
    let right = (longest as f64 * 6.9 + 30.0).min(width * 0.45);
    let (left, top, bottom) = (40.0, 26.0, 40.0);
    let height = (width * 0.46).clamp(270.0, 350.0).max(top + bottom + 15.0 * drawn.len() as f64);

    let (low, high, step) = scale(drawn);
    let x = |task: usize| {
        let along = if tasks > 1 { (task - 1) as f64 / (tasks - 1) as f64 } else { 0.5 };
        left + along * (width - left - right)
    };
    let y = |percent: f64| top + (high - percent.clamp(low, high)) / (high - low) * (height - top - bottom);

    let mut svg =
        Svg::new(width, height, "curves", "Average accuracy over the tasks seen so far, after each task");
    svg.text(0.0, 12.0, r#"class="tick""#, "average accuracy on the tasks seen so far, %");
    for k in 0..=((high - low) / step).round() as usize {
        let percent = low + step * k as f64;
        svg.line("grid", (left, y(percent)), (width - right, y(percent)));
        let decimals = usize::from(step < 1.0);
        svg.text(
            left - 7.0,
            y(percent) + 4.0,
            r#"class="tick" text-anchor="end""#,
            &format!("{percent:.decimals$}"),
        );
    }
    // A label for every task, or for every so many where they would touch.
    let every = (tasks as f64 * 20.0 / (width - left - right)).ceil().max(1.0) as usize;
    for task in (1..=tasks).filter(|t| (t - 1) % every == 0 || *t == tasks) {
        svg.text(x(task), height - bottom + 18.0, r#"class="tick" text-anchor="middle""#, &task.to_string());
    }
    svg.text(
        (left + width - right) / 2.0,
        height - 4.0,
        r#"class="tick" text-anchor="middle""#,
        "tasks learned",
    );

    for (k, d) in drawn.iter().enumerate() {
        let class = |part: &str| format!("{part} s{}{}", k % HUES, if k >= HUES { " dashed" } else { "" });
        let points: Vec<(f64, Summary)> = match d.curve.as_slice() {
            [level] if tasks > 1 => vec![(x(1), *level), (x(tasks), *level)],
            curve => curve.iter().enumerate().map(|(i, s)| (x(i + 1), *s)).collect(),
        };
        let upper = points.iter().filter_map(|(x, s)| Some((*x, y(s.mean + s.sem?))));
        let lower = points.iter().rev().filter_map(|(x, s)| Some((*x, y(s.mean - s.sem?))));
        svg.path(&class("band"), upper.chain(lower), true);
        let level = if d.r.is_full() { "" } else { " level" };
        svg.path(&format!("{}{level}", class("curve")), points.iter().map(|(x, s)| (*x, y(s.mean))), false);
        if d.r.is_full() {
            for (x, s) in &points {
                mark(&mut svg, k, &class("mark"), (*x, y(s.mean)));
            }
        }
    }
    let ends: Vec<_> = drawn.iter().map(|d| (width - right, y(end(d).mean))).collect();
    names(&mut svg, &labels, &ends, (width - right, right), (top, height - bottom));
    svg.finish()
}

/// The names of curves from x on and so wide, near the height of their ends, with a mark and a line to each:
/// a dotted one where the curve ended before.
fn names(
    svg: &mut Svg,
    labels: &[String],
    ends: &[(f64, f64)],
    (x, wide): (f64, f64),
    (top, bottom): (f64, f64),
) {
    let heights: Vec<f64> = ends.iter().map(|end| end.1).collect();
    for (k, at) in spread(&heights, top, bottom).into_iter().enumerate() {
        let level = if ends[k].0 < x - 15.0 { " level" } else { "" };
        svg.line(&format!("leader s{}{level}", k % HUES), (ends[k].0 + 5.0, ends[k].1), (x + 13.0, at));
        mark(svg, k, &format!("mark s{}", k % HUES), (x + 18.0, at));
        svg.text(x + 26.0, at + 4.0, r#"class="name""#, &shortened(&labels[k], wide - 26.0));
    }
}

/// One curve of [`log_log`].
pub struct Series {
    pub name: String,
    /// Nowhere zero or less; x ascends.
    pub points: Vec<Point>,
}

/// A median over runs, between the smallest and the largest.
#[derive(Clone, Copy)]
pub struct Point {
    pub x: f64,
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

/// What grows how fast: medians against a size, both axes logarithmic, a line at every power of ten; a band
/// from the smallest to the largest run. A curve may end early.
pub fn log_log(series: &[Series], (x_axis, y_axis): (&str, &str), width: f64) -> String {
    let labels: Vec<String> = series.iter().map(|s| s.name.clone()).collect();
    let longest = labels.iter().map(|l| l.chars().count()).max().unwrap_or(0);
    let right = (longest as f64 * 6.9 + 34.0).min(width * 0.45);
    let (left, top, bottom) = (40.0, 26.0, 40.0);
    let height = (width * 0.58).clamp(270.0, 430.0).max(top + bottom + 15.0 * series.len() as f64);

    let points = || series.iter().flat_map(|s| &s.points);
    let (x_low, x_high) = extent(points().map(|p| (p.x, p.x)));
    let (y_low, y_high) = extent(points().map(|p| (p.low, p.high)));
    let along = |value: f64, low: f64, high: f64| (value / low).ln() / (high / low).ln();
    let x = |value: f64| left + along(value, x_low, x_high) * (width - left - right);
    let y = |value: f64| height - bottom - along(value, y_low, y_high) * (height - top - bottom);

    let mut svg = Svg::new(width, height, "curves", &format!("{y_axis}, against {x_axis}"));
    svg.text(0.0, 12.0, r#"class="tick""#, y_axis);
    for (power, value) in powers(y_low, y_high) {
        svg.line("grid", (left, y(value)), (width - right, y(value)));
        svg.text(left - 7.0, y(value) + 4.0, r#"class="tick" text-anchor="end""#, &power);
    }
    for (power, value) in powers(x_low, x_high) {
        svg.line("grid", (x(value), top), (x(value), height - bottom));
        svg.text(x(value), height - bottom + 18.0, r#"class="tick" text-anchor="middle""#, &power);
    }
    let middle = r#"class="tick" text-anchor="middle""#;
    svg.text((left + width - right) / 2.0, height - 4.0, middle, x_axis);

    for (k, Series { points, .. }) in series.iter().enumerate().filter(|(_, s)| !s.points.is_empty()) {
        let class = |part: &str| format!("{part} s{}{}", k % HUES, if k >= HUES { " dashed" } else { "" });
        let upper = points.iter().map(|p| (x(p.x), y(p.high)));
        let lower = points.iter().rev().map(|p| (x(p.x), y(p.low)));
        svg.path(&class("band"), upper.chain(lower), true);
        svg.path(&class("curve"), points.iter().map(|p| (x(p.x), y(p.median))), false);
        for p in points {
            mark(&mut svg, k, &class("mark"), (x(p.x), y(p.median)));
        }
    }
    // The name of a curve without points stands at the bottom.
    let end =
        |s: &Series| s.points.last().map_or((width - right, height - bottom), |p| (x(p.x), y(p.median)));
    let ends: Vec<_> = series.iter().map(end).collect();
    names(&mut svg, &labels, &ends, (width - right, right), (top, height - bottom));
    svg.finish()
}

/// The same with linear axes from 0 on.
pub fn linear(series: &[Series], (x_axis, y_axis): (&str, &str), width: f64) -> String {
    let labels: Vec<String> = series.iter().map(|s| s.name.clone()).collect();
    let longest = labels.iter().map(|l| l.chars().count()).max().unwrap_or(0);
    let right = (longest as f64 * 6.9 + 34.0).min(width * 0.45);
    let (left, top, bottom) = (40.0, 26.0, 40.0);
    let height = (width * 0.46).clamp(250.0, 350.0).max(top + bottom + 15.0 * series.len() as f64);

    let points = || series.iter().flat_map(|s| &s.points);
    let (x_most, x_step) = from_zero(points().map(|p| p.x));
    let (y_most, y_step) = from_zero(points().map(|p| p.high));
    let x = |value: f64| left + value / x_most * (width - left - right);
    let y = |value: f64| height - bottom - value / y_most * (height - top - bottom);

    let mut svg = Svg::new(width, height, "curves", &format!("{y_axis}, against {x_axis}"));
    svg.text(0.0, 12.0, r#"class="tick""#, y_axis);
    for k in 0..=(y_most / y_step).round() as usize {
        let value = y_step * k as f64;
        svg.line("grid", (left, y(value)), (width - right, y(value)));
        svg.text(left - 7.0, y(value) + 4.0, r#"class="tick" text-anchor="end""#, &written(value));
    }
    let middle = r#"class="tick" text-anchor="middle""#;
    for k in 0..=(x_most / x_step).round() as usize {
        let value = x_step * k as f64;
        svg.text(x(value), height - bottom + 18.0, middle, &written(value));
    }
    svg.text((left + width - right) / 2.0, height - 4.0, middle, x_axis);

    for (k, Series { points, .. }) in series.iter().enumerate().filter(|(_, s)| !s.points.is_empty()) {
        let class = |part: &str| format!("{part} s{}{}", k % HUES, if k >= HUES { " dashed" } else { "" });
        let upper = points.iter().map(|p| (x(p.x), y(p.high)));
        let lower = points.iter().rev().map(|p| (x(p.x), y(p.low)));
        svg.path(&class("band"), upper.chain(lower), true);
        svg.path(&class("curve"), points.iter().map(|p| (x(p.x), y(p.median))), false);
    }
    let end =
        |s: &Series| s.points.last().map_or((width - right, height - bottom), |p| (x(p.x), y(p.median)));
    let ends: Vec<_> = series.iter().map(end).collect();
    names(&mut svg, &labels, &ends, (width - right, right), (top, height - bottom));
    svg.finish()
}

/// The end of a linear axis from 0 on that holds all values, and the step between its lines: 1, 2 or 5 times a power of ten.
fn from_zero(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let most = values.fold(0.0, f64::max);
    let most = if most > 0.0 { most } else { 1.0 };
    let power = 10f64.powf((most / 5.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| most / step <= 6.0);
    let step = step.unwrap_or(10.0 * power);
    ((most / step).ceil() * step, step)
}

/// Without digits that say nothing.
fn written(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    if rounded >= 10_000.0 { format!("{}k", rounded / 1000.0) } else { rounded.to_string() }
}

/// Weights over time: a column for each step, a row for each slot, the darker the more (percent). One panel under another.
pub fn weights(panels: &[(String, Vec<Vec<u8>>)]) -> String {
    const TOP: f64 = 18.0;
    let slots = panels.iter().flat_map(|p| &p.1).map(Vec::len).max().unwrap_or(0);
    let steps = panels.iter().map(|p| p.1.len()).max().unwrap_or(0);
    let cell = (460.0 / steps.max(1) as f64).clamp(3.0, 14.0).min((260.0 / slots.max(1) as f64).max(3.0));
    let (wide, high) = (cell * steps as f64, cell * slots as f64);
    let panel = TOP + high + 10.0;
    let mut svg = Svg::new(
        wide.max(120.0) + 2.0,
        panel * panels.len() as f64 + 16.0,
        "heat",
        "Weights of the slots of the memory, from step to step",
    );
    for (k, (name, weights)) in panels.iter().enumerate() {
        let top = panel * k as f64 + TOP;
        svg.text(1.0, top - 5.0, r#"class="tick""#, name);
        let outline = r#"fill="none" class="grid""#;
        svg.rect((1.0, top), (wide, high), outline);
        for (t, column) in weights.iter().enumerate() {
            for (slot, &percent) in column.iter().enumerate().filter(|(_, percent)| **percent > 0) {
                let (fill, _) = shade(f64::from(percent) / 100.0);
                let at = (1.0 + cell * t as f64, top + cell * slot as f64);
                svg.rect(at, (cell, cell), &format!(r#"fill="{fill}""#));
            }
        }
    }
    let bottom = panel * panels.len() as f64 + 10.0;
    svg.text(1.0, bottom, r#"class="tick""#, &format!("{slots} slots down, {steps} steps to the right"));
    svg.finish()
}

/// The range of a logarithmic axis for all these intervals, with some room at both ends.
fn extent(intervals: impl Iterator<Item = (f64, f64)>) -> (f64, f64) {
    let all = intervals.fold((f64::INFINITY, 0.0), |all: (f64, f64), i| (all.0.min(i.0), all.1.max(i.1)));
    if all.0 > all.1 { (1.0, 10.0) } else { (all.0 / 1.4, all.1 * 1.4) }
}

/// The powers of ten within a range, as they are written.
fn powers(low: f64, high: f64) -> impl Iterator<Item = (String, f64)> {
    (low.log10().ceil() as i32..=high.log10().floor() as i32).map(|power| {
        let raised = |c: char| match c {
            '-' => '⁻',
            digit => ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'][digit as usize - '0' as usize],
        };
        let written = match power {
            0..=3 => 10_u32.pow(power as u32).to_string(),
            _ => format!("10{}", power.to_string().chars().map(raised).collect::<String>()),
        };
        (written, 10_f64.powi(power))
    })
}

/// The last point of a method's curve.
fn end(drawn: &Drawn) -> Summary {
    *drawn.curve.last().expect("a drawn method has at least one point")
}

/// The lowest and highest percent of the axis, and the step between its lines.
fn scale(drawn: &[Drawn]) -> (f64, f64, f64) {
    let points = || drawn.iter().flat_map(|d| &d.curve);
    let low = points().map(|s| s.mean - s.sem.unwrap_or(0.0)).fold(100.0, f64::min);
    let high = points().map(|s| s.mean + s.sem.unwrap_or(0.0)).fold(0.0, f64::max);
    let steps = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0];
    let step = steps.into_iter().find(|s| (high - low) / s <= 6.0).unwrap_or(20.0);
    let low = ((low / step).floor() * step).max(0.0);
    // Not beyond 100, and never an empty axis.
    let high = ((high / step).ceil() * step).min(100.0);
    if high - low < step {
        ((high - step).max(0.0), (high - step).max(0.0) + step, step)
    } else {
        (low, high, step)
    }
}

/// Places for labels near `wanted`, in the same order, a line's height apart and within the bounds.
fn spread(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    const APART: f64 = 15.0;
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    let mut places = wanted.to_vec();
    let mut free = top;
    for &k in &order {
        places[k] = wanted[k].max(free);
        free = places[k] + APART;
    }
    let mut free = bottom;
    for &k in order.iter().rev() {
        places[k] = places[k].min(free);
        free = places[k] - APART;
    }
    places
}

fn shortened(label: &str, width: f64) -> String {
    let room = (width / 6.9) as usize;
    if label.chars().count() <= room {
        return label.into();
    }
    // The number at the end stays.
    let (name, number) = label.rsplit_once(' ').unwrap_or((label, ""));
    let kept: String = name.chars().take(room.saturating_sub(number.len() + 2)).collect();
    format!("{kept}… {number}")
}

/// A mark whose shape says which curve it is.
fn mark(svg: &mut Svg, k: usize, class: &str, (x, y): (f64, f64)) {
    let polygon: &[(f64, f64)] = match k % 5 {
        0 => {
            let _ = write!(svg.0, r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="3.4"/>"#);
            return;
        }
        1 => &[(-3.1, -3.1), (3.1, -3.1), (3.1, 3.1), (-3.1, 3.1)],
        2 => &[(0.0, -4.2), (4.0, 3.0), (-4.0, 3.0)],
        3 => &[(0.0, -4.4), (4.4, 0.0), (0.0, 4.4), (-4.4, 0.0)],
        _ => &[(0.0, 4.2), (4.0, -3.0), (-4.0, -3.0)],
    };
    svg.path(class, polygon.iter().map(|(dx, dy)| (x + dx, y + dy)), true);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cl_metrics::RMatrix;

    use super::*;

    fn drawn(rows: Vec<Vec<f64>>) -> Drawn {
        let r = RMatrix::new(vec![0.5; rows[0].len()], rows).unwrap();
        let final_accuracy = Summary::of(&[80.0, 82.0]).unwrap();
        let curve = vec![final_accuracy; r.rows().len()];
        Drawn { method: "<EWC> & \"co\"".into(), r, curve }
    }

    #[test]
    fn a_heat_map_is_this() {
        insta::assert_snapshot!(
            heat_map(&drawn(vec![vec![1.0, 0.0], vec![0.25, 0.951]])).replace("><", ">\n<")
        );
    }

    #[test]
    fn a_joint_run_has_one_row_and_no_diagonal() {
        let svg = heat_map(&drawn(vec![vec![0.9, 0.8, 0.7]]));
        assert!(svg.contains(">joint<") && !svg.contains("after 1"));
        assert_eq!(svg.matches("class=\"cell\"").count(), 6);
        assert!(!svg.contains("stroke-width"));
    }

    #[test]
    fn ink_contrasts_with_every_shade() {
        for k in 0..=100 {
            let (fill, ink) = shade(f64::from(k) / 100.0);
            let channel = |at: usize| {
                let c = f64::from(u8::from_str_radix(&fill[at..at + 2], 16).unwrap()) / 255.0;
                if c <= 0.03928 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
            };
            let cell = 0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5);
            let ratio = if ink == "#fff" { 1.05 / (cell + 0.05) } else { (cell + 0.05) / (0.0056 + 0.05) };
            assert!(ratio >= 4.0, "{k} %: {ratio:.2}");
        }
    }

    #[test]
    fn labels_keep_apart_in_order_and_inside() {
        let wanted = [100.0, 101.0, 20.0, 299.0, 300.0, 100.5];
        let places = spread(&wanted, 26.0, 310.0);
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
        for pair in order.windows(2) {
            assert!(places[pair[1]] - places[pair[0]] >= 15.0 - 1e-9, "{places:?}");
        }
        assert!(places.iter().all(|p| (26.0..=310.0).contains(p)), "{places:?}");
    }

    #[test]
    fn the_axis_holds_every_point() {
        let with = |values: &[f64]| Drawn {
            curve: values.iter().map(|&v| Summary { n: 1, mean: v, std: None, sem: None }).collect(),
            ..drawn(vec![vec![1.0]])
        };
        for values in [&[99.9, 99.2][..], &[19.7, 98.0], &[100.0], &[0.0], &[50.0], &[0.0, 100.0], &[37.3]] {
            let (low, high, step) = scale(&[with(values)]);
            assert!(values.iter().all(|v| (low..=high).contains(v)), "{values:?}: {low}..{high}");
            assert!(
                low >= 0.0 && high <= 100.0 + 1e-9 && high - low >= step - 1e-9,
                "{values:?}: {low}..{high}"
            );
            assert!((high - low) / step <= 8.0);
        }
        assert!(scale(&[]).1 > scale(&[]).0);
    }

    fn series(name: &str, points: &[(f64, f64)]) -> Series {
        let point = |&(x, median): &(f64, f64)| Point { x, low: median / 2.0, median, high: median * 2.0 };
        Series { name: name.into(), points: points.iter().map(point).collect() }
    }

    #[test]
    fn a_log_log_chart_is_this() {
        let all = [
            series("square", &[(1.0, 1.0), (10.0, 100.0), (1000.0, 1e6)]),
            series("none", &[]),
            series("<one>", &[(10.0, 5.0)]),
        ];
        insta::assert_snapshot!(log_log(&all, ("size", "effort"), 360.0).replace("><", ">\n<"));
    }

    /// A power law is a straight line, and all that is drawn lies within the picture.
    #[test]
    fn logarithmic_axes_are() {
        let svg =
            log_log(&[series("s", &[(2.0, 3.0), (20.0, 300.0), (2e5, 3e10)])], ("size", "effort"), 760.0);
        let curve = svg.split(r#"<path class="curve s0" d="M"#).nth(1).unwrap().split('"').next().unwrap();
        let at: Vec<f64> = curve.split(['L', ' ']).map(|n| n.parse().unwrap()).collect();
        let slope = |a: usize, b: usize| (at[2 * b + 1] - at[2 * a + 1]) / (at[2 * b] - at[2 * a]);
        assert!((slope(0, 1) / slope(1, 2) - 1.0).abs() < 0.01, "{curve}");
        assert!(at.iter().step_by(2).all(|x| (40.0..760.0).contains(x)), "{curve}");
        assert!(at.iter().skip(1).step_by(2).all(|y| (26.0..430.0).contains(y)), "{curve}");
        let written: Vec<String> = powers(0.5, 2e5).map(|(power, _)| power).collect();
        assert_eq!(written, ["1", "10", "100", "1000", "10⁴", "10⁵"]);
        assert_eq!(powers(2.0, 9.0).count(), 0);
    }

    #[test]
    fn a_linear_axis_holds_every_value() {
        for most in [0.0, 0.003, 0.7, 1.0, 5.0, 6.1, 49.9, 100.0, 20_000.0, 123_456.0] {
            let (end, step) = from_zero([most / 3.0, most].into_iter());
            assert!(
                end >= most && end < most.max(1e-3) * 2.0 + 1.0 && (2.0..=7.0).contains(&(end / step)),
                "{most}: {end}, {step}"
            );
        }
        assert_eq!([0.5, 20.0, 30_000.0].map(written), ["0.5", "20", "30k"]);
    }

    /// A straight line stays one, from the origin, within the picture.
    #[test]
    fn linear_axes_are() {
        let svg =
            linear(&[series("s", &[(0.0, 0.0), (10.0, 20.0), (30.0, 60.0)])], ("steps", "error"), 760.0);
        let curve = svg.split(r#"<path class="curve s0" d="M"#).nth(1).unwrap().split('"').next().unwrap();
        let at: Vec<f64> = curve.split(['L', ' ']).map(|n| n.parse().unwrap()).collect();
        assert_eq!(at[0], 40.0);
        let slope = |a: usize, b: usize| (at[2 * b + 1] - at[2 * a + 1]) / (at[2 * b] - at[2 * a]);
        assert!((slope(0, 1) / slope(1, 2) - 1.0).abs() < 0.01, "{curve}");
    }

    /// A cell for every weight that is not 0, in its own column and row.
    #[test]
    fn weights_are_cells() {
        let svg = weights(&[("written".into(), vec![vec![0, 100], vec![50, 0], vec![0, 0]])]);
        assert_eq!(svg.matches("<rect").count(), 1 + 2);
        assert!(
            svg.contains(r##"<rect x="1.0" y="32.0" width="14.0" height="14.0" fill="#08306b"/>"##),
            "{svg}"
        );
        assert!(svg.contains(r#"<rect x="15.0" y="18.0""#) && svg.contains("2 slots down, 3 steps"), "{svg}");
        assert!(weights(&[]).ends_with("</svg>"));
    }

    #[test]
    fn names_are_escaped_and_shortened() {
        let svg = curves(&[drawn(vec![vec![0.9, 0.1], vec![0.5, 0.5]])], 360.0);
        assert!(svg.contains("&lt;EWC&gt; &amp; &quot;co&quot; 81.0"), "{svg}");
        assert_eq!(shortened("A very long name 98.5", 100.0), "A very l… 98.5");
        assert_eq!(escape("a\u{0}b"), "a b");
    }
}

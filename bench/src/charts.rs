//! Charts as SVG text. The ink and the grid are drawn in two colours that stand for the page's own, so that a
//! style sheet can darken them; the series' colours are readable on light and on dark paper, and each has a
//! marker of its own for print without colour.

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Stands for the colour of the page's text.
pub(crate) const INK: &str = "#010203";
/// Stands for the colour of lines in the background.
pub(crate) const GRID: &str = "#040506";
const INK_COLOR: RGBColor = RGBColor(1, 2, 3);
const GRID_COLOR: RGBColor = RGBColor(4, 5, 6);

/// One colour for each allocator; the first is for the one under test.
const COLORS: [RGBColor; 12] = [
    RGBColor(226, 61, 40),
    RGBColor(42, 125, 200),
    RGBColor(90, 180, 230),
    RGBColor(112, 134, 214),
    RGBColor(44, 160, 70),
    RGBColor(148, 103, 189),
    RGBColor(184, 115, 51),
    RGBColor(222, 110, 190),
    RGBColor(140, 180, 60),
    RGBColor(23, 170, 180),
    RGBColor(128, 128, 128),
    RGBColor(200, 160, 30),
];

/// The colour of a series, as the style sheet writes it.
pub(crate) fn color(series: usize) -> String {
    let RGBColor(r, g, b) = COLORS[series % COLORS.len()];
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// The sign of a series in a legend; [`marker`] draws it.
pub(crate) fn sign(series: usize) -> &'static str {
    ["\u{25cf}", "\u{25b2}", "\u{2715}"][series % 3]
}

/// A series: its number among the allocators, and its points.
pub(crate) type Series = (usize, Vec<(f64, f64)>);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn draw(size: (u32, u32), with: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        with(&area)?;
        area.present().map_err(|e| anyhow!("{e}"))?;
    }
    Ok(text)
}

fn label(size: i32, horizontal: HPos) -> TextStyle<'static> {
    ("sans-serif", size)
        .into_font()
        .color(&INK_COLOR)
        .pos(Pos::new(horizontal, VPos::Center))
}

fn marker(area: &Area<'_>, at: (i32, i32), series: usize) -> Result<()> {
    let size = if series == 0 { 6 } else { 4 };
    let style = COLORS[series % COLORS.len()].filled();
    match series % 3 {
        0 => area.draw(&Circle::new(at, size, style)),
        1 => area.draw(&TriangleMarker::new(at, size + 1, style)),
        _ => area.draw(&Cross::new(at, size, style.stroke_width(2))),
    }
    .map_err(|e| anyhow!("{e}"))
}

/// A tick of a logarithmic axis.
fn tick(v: f64) -> String {
    match v {
        v if v >= 1e6 => format!("{}M", v / 1e6),
        v if v >= 1e4 => format!("{}k", v / 1e3),
        v => format!("{v}"),
    }
}

/// What lies beyond is drawn at the border.
const LEFT: f64 = 0.1;
const RIGHT: f64 = 20.0;

/// A line for each row, a dot for each allocator: its cost over that of the one under test, which is the line at 1.
pub(crate) fn dots(rows: &[(String, Vec<(usize, f64)>)]) -> Result<String> {
    const LINE: u32 = 17;
    let labels = rows.iter().map(|r| r.0.chars().count()).max().unwrap_or(0) as u32 * 6 + 16;
    let height = rows.len() as u32 * LINE + 44;
    draw((labels + 640, height), |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(8)
            .set_label_area_size(LabelAreaPosition::Left, labels)
            .set_label_area_size(LabelAreaPosition::Bottom, 24)
            .build_cartesian_2d((LEFT..RIGHT).log_scale(), -0.5..rows.len() as f64 - 0.5)
            .map_err(|e| anyhow!("{e}"))?;
        let n = rows.len() as f64;
        for x in [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0] {
            let style = if x == 1.0 {
                INK_COLOR.stroke_width(2)
            } else {
                GRID_COLOR.stroke_width(1)
            };
            chart
                .draw_series([PathElement::new(vec![(x, -0.5), (x, n - 0.5)], style)])
                .map_err(|e| anyhow!("{e}"))?;
            let (px, py) = chart.backend_coord(&(x, -0.5));
            let text = Text::new(
                format!("x {}", tick(x)),
                (px, py + 12),
                label(11, HPos::Center),
            );
            root.draw(&text).map_err(|e| anyhow!("{e}"))?;
        }
        for (i, (name, values)) in rows.iter().enumerate() {
            let y = n - 1.0 - i as f64;
            let (px, py) = chart.backend_coord(&(LEFT, y));
            root.draw(&Text::new(
                name.clone(),
                (px - 8, py),
                label(11, HPos::Right),
            ))
            .map_err(|e| anyhow!("{e}"))?;
            chart
                .draw_series([PathElement::new(
                    vec![(LEFT, y), (RIGHT, y)],
                    GRID_COLOR.stroke_width(1),
                )])
                .map_err(|e| anyhow!("{e}"))?;
            for (series, ratio) in values {
                let at = chart.backend_coord(&(ratio.clamp(LEFT, RIGHT), y));
                marker(root, at, *series)?;
            }
        }
        Ok(())
    })
}

/// A horizontal bar for each item: name, series, value.
pub(crate) fn bars(items: &[(String, usize, f64)]) -> Result<String> {
    const LINE: u32 = 24;
    const LABELS: u32 = 130;
    let most = items.iter().map(|i| i.2).fold(1.0, f64::max);
    draw((LABELS + 420, items.len() as u32 * LINE + 16), |root| {
        let chart = ChartBuilder::on(root)
            .margin(8)
            .margin_right(60)
            .set_label_area_size(LabelAreaPosition::Left, LABELS)
            .build_cartesian_2d(0.0..most, 0.0..items.len() as f64)
            .map_err(|e| anyhow!("{e}"))?;
        for (i, (name, series, value)) in items.iter().enumerate() {
            let y = (items.len() - 1 - i) as f64;
            let (left, bottom) = chart.backend_coord(&(0.0, y + 0.12));
            let (right, top) = chart.backend_coord(&(*value, y + 0.88));
            let bar = Rectangle::new(
                [(left, top), (right, bottom)],
                COLORS[series % COLORS.len()].filled(),
            );
            root.draw(&bar).map_err(|e| anyhow!("{e}"))?;
            let middle = (top + bottom) / 2;
            root.draw(&Text::new(
                name.clone(),
                (left - 8, middle),
                label(13, HPos::Right),
            ))
            .map_err(|e| anyhow!("{e}"))?;
            let figure = format!("{value:.2}");
            root.draw(&Text::new(
                figure,
                (right + 6, middle),
                label(13, HPos::Left),
            ))
            .map_err(|e| anyhow!("{e}"))?;
        }
        Ok(())
    })
}

/// How the axes of a line chart are to be read.
pub(crate) struct Axes<'a> {
    /// What x is.
    pub(crate) x: &'a str,
    /// What y is.
    pub(crate) y: &'a str,
    /// Whether y is logarithmic, where that leaves it ticks.
    pub(crate) log: bool,
    /// Names of the whole numbers on x, where they stand for something else.
    pub(crate) names: &'a [String],
}

/// A line for each series.
pub(crate) fn lines(axes: &Axes<'_>, series: &[Series]) -> Result<String> {
    let points = || series.iter().flat_map(|s| s.1.iter());
    let bound = |of: fn(&(f64, f64)) -> f64, pick: fn(f64, f64) -> f64, start: f64| {
        points().map(of).fold(start, pick)
    };
    let (x0, x1) = (
        bound(|p| p.0, f64::min, f64::INFINITY),
        bound(|p| p.0, f64::max, f64::NEG_INFINITY),
    );
    if x0 > x1 {
        return Ok(String::new());
    }
    let x1 = if x1 > x0 { x1 } else { x0 + 1.0 };
    let y1 = bound(|p| p.1, f64::max, 0.0) * 1.08;
    let least = points().map(|p| p.1).filter(|y| *y > 0.0);
    let least = least.fold(f64::INFINITY, f64::min).min(y1).max(1e-9) / 1.3;
    // A logarithmic axis has a tick every power of ten: over less than that it would have none.
    let log = axes.log && y1 / least > 50.0;
    // A point at zero has no logarithm; it is drawn at the bottom.
    let y0 = if log { least } else { 0.0 };
    let y1 = if y1 > y0 { y1 } else { y0 + 1.0 };
    draw((560, 330), |root| {
        let mut builder = ChartBuilder::on(root);
        builder
            .margin(10)
            .set_label_area_size(LabelAreaPosition::Left, 62)
            .set_label_area_size(LabelAreaPosition::Bottom, 40);
        macro_rules! plot {
            ($y:expr) => {{
                let mut chart = builder
                    .build_cartesian_2d(x0..x1, $y)
                    .map_err(|e| anyhow!("{e}"))?;
                let name = |x: &f64| match axes.names.get((x.round() - x0) as usize) {
                    Some(name) if (x - x.round()).abs() < 1e-6 => name.clone(),
                    Some(_) => String::new(),
                    None if axes.names.is_empty() => format!("{}", (x * 1e3).round() / 1e3),
                    None => String::new(),
                };
                let ticks = if axes.names.is_empty() {
                    9
                } else {
                    axes.names.len()
                };
                chart
                    .configure_mesh()
                    .light_line_style(TRANSPARENT)
                    .bold_line_style(GRID_COLOR)
                    .axis_style(INK_COLOR)
                    .label_style(("sans-serif", 12).into_font().color(&INK_COLOR))
                    .axis_desc_style(("sans-serif", 13).into_font().color(&INK_COLOR))
                    .x_labels(ticks)
                    .y_labels(7)
                    .x_label_formatter(&name)
                    .y_label_formatter(&|y| tick((*y * 1000.0).round() / 1000.0))
                    .x_desc(axes.x)
                    .y_desc(axes.y)
                    .draw()
                    .map_err(|e| anyhow!("{e}"))?;
                // The one under test last: on top.
                for (number, points) in series.iter().rev() {
                    let width = if *number == 0 { 3 } else { 1 };
                    let style = COLORS[number % COLORS.len()].stroke_width(width);
                    chart
                        .draw_series(LineSeries::new(
                            points.iter().map(|(x, y)| (*x, y.max(y0))),
                            style,
                        ))
                        .map_err(|e| anyhow!("{e}"))?;
                    // Markers some way apart, so that a dense curve stays a line.
                    let every = (points.len() / 8).max(1);
                    for (x, y) in points.iter().step_by(every) {
                        let at = chart.backend_coord(&(*x, y.max(y0)));
                        marker(root, at, *number)?;
                    }
                }
            }};
        }
        if log {
            plot!((y0..y1).log_scale());
        } else {
            plot!(y0..y1);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_are_svg_in_the_colours_that_a_page_replaces() {
        let dots = dots(&[("a row".into(), vec![(0, 1.0), (1, 2.5), (2, 1e9)])]).expect("a chart");
        assert!(dots.starts_with("<svg") && dots.contains(INK) && dots.contains(GRID));
        let bars = bars(&[("hakmem".into(), 0, 1.0), ("other".into(), 1, 1.3)]).expect("a chart");
        assert!(bars.contains("1.30"));
        let axes = Axes {
            x: "second",
            y: "ns",
            log: true,
            names: &[],
        };
        let lines = lines(
            &axes,
            &[(0, vec![(0.0, 0.0), (1.0, 100.0)]), (1, vec![(0.0, 5.0)])],
        )
        .expect("a chart");
        assert!(lines.contains("polyline"));
    }

    #[test]
    fn nothing_to_draw_is_no_chart() {
        let axes = Axes {
            x: "",
            y: "",
            log: false,
            names: &[],
        };
        assert_eq!(lines(&axes, &[]).expect("no chart"), "");
    }
}

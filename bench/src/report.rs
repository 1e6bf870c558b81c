//! Reports from saved results: a page that needs nothing but itself, and a summary in Markdown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::Result;

use crate::catalog;
use crate::charts::{self, Axes, Series};
use crate::record::Results;
use crate::stats::{self, Typical};
use crate::table::{self, LEFT_OUT, Row};

/// What a row's unit measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measure {
    Time,
    Memory,
    Faults,
    Instructions,
    Other,
}

fn measure(unit: &str) -> Measure {
    match unit {
        "MiB" | "KiB" | "x asked" => Measure::Memory,
        "instructions" => Measure::Instructions,
        "s" | "us" | "ns" => Measure::Time,
        u if u.starts_with("ns/") || u.starts_with("us/") || u.ends_with("op/s") => Measure::Time,
        u if u.starts_with("faults") => Measure::Faults,
        _ => Measure::Other,
    }
}

/// Rows by group, in the catalogue's order.
fn grouped(rows: Vec<Row>) -> Vec<(String, Vec<Row>)> {
    let groups: BTreeMap<String, &str> = catalog::all()
        .into_iter()
        .map(|b| (b.name, b.group))
        .collect();
    let mut order: Vec<&str> = Vec::new();
    for bench in catalog::all() {
        if !order.contains(&bench.group) {
            order.push(bench.group);
        }
    }
    order.push("other");
    let mut parts: Vec<(String, Vec<Row>)> =
        order.iter().map(|g| (g.to_string(), Vec::new())).collect();
    for row in rows {
        let group = groups.get(&row.bench).copied().unwrap_or("other");
        if let Some(part) = parts.iter_mut().find(|p| p.0 == group) {
            part.1.push(row);
        }
    }
    parts.retain(|p| !p.1.is_empty());
    parts
}

/// What a group's rows are about.
fn title(group: &str) -> &str {
    match group {
        "instructions" => "Instructions",
        "hot" => "Hot loops: everything in the cache",
        "live" => "Large heaps: many live blocks",
        "handoff" => "Blocks freed by another thread than the one that took them",
        "larson" => "A server's threads (larson)",
        "private" => "Threads that keep to their own blocks",
        "sharing" => "False sharing",
        "start" => "Start-up, threads that come and go",
        "cycle" => "Take, touch, give: page faults",
        "grow" => "Growing by realloc",
        "memory" => "Resident memory, and latencies over time",
        "app" => "Application-like workloads",
        "program" => "Real programs under preload",
        other => other,
    }
}

/// Each allocator's cost over the best allocator's.
struct Means {
    /// Rows that count, and those of the same measure that do not.
    rows: usize,
    left_out: usize,
    /// The best first.
    of: Vec<(String, Typical)>,
}

/// Over the rows in which all allocators have a figure to compare.
fn means(rows: &[Row], names: &[String], of: Measure) -> Means {
    let mut ratios: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let (mut count, mut left_out) = (0, 0);
    for row in rows.iter().filter(|r| measure(&r.unit) == of) {
        let costs = names
            .iter()
            .map(|n| row.cells.get(n).map(|s| s.median).filter(|m| *m > 0.0))
            .collect::<Option<Vec<f64>>>()
            .filter(|_| row.is_in_means());
        let Some(costs) = costs else {
            left_out += 1;
            continue;
        };
        count += 1;
        let best = if stats::higher_is_better(&row.unit) {
            costs.iter().copied().fold(0.0, f64::max)
        } else {
            costs.iter().copied().fold(f64::INFINITY, f64::min)
        };
        for (name, cost) in names.iter().zip(&costs) {
            ratios
                .entry(name)
                .or_default()
                .extend(stats::cost_ratio(*cost, best, &row.unit));
        }
    }
    let mut means: Vec<(String, Typical)> = names
        .iter()
        .filter_map(|n| Some((n.clone(), stats::typical(ratios.get(n.as_str())?)?)))
        .collect();
    means.sort_by(|a, b| a.1.mean.total_cmp(&b.1.mean));
    Means {
        rows: count,
        left_out,
        of: means,
    }
}

fn circumstances(results: &Results) -> Vec<(&'static str, String)> {
    let c = &results.circumstances;
    let versions: Vec<String> = c
        .allocators
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let mut lines = vec![
        ("commit", c.commit.clone()),
        (
            "machine",
            format!("{}, {} processors, {} GiB", c.cpu, c.cpus, c.memory >> 30),
        ),
        ("kernel", c.kernel.clone()),
        ("transparent huge pages", c.thp.clone()),
        ("load when it began", format!("{:.2}", c.load)),
        ("scale", c.scale.clone()),
        ("allocators", versions.join(", ")),
    ];
    if let Some(missing) = not_measured(results) {
        lines.push(("not measured", missing));
    }
    if !c.knobs.is_empty() {
        let knobs: Vec<String> = c.knobs.iter().map(|(k, v)| format!("{k}={v}")).collect();
        lines.push(("knobs", knobs.join(" ")));
    }
    lines
}

/// The groups of the catalogue of which nothing, or not all, was measured.
fn not_measured(results: &Results) -> Option<String> {
    let all = catalog::all();
    let measured: BTreeSet<&str> = results.samples.iter().map(|s| s.bench.as_str()).collect();
    let mut groups: Vec<(&str, usize, usize)> = Vec::new();
    for bench in &all {
        if groups.iter().all(|g| g.0 != bench.group) {
            groups.push((bench.group, 0, 0));
        }
        for group in groups.iter_mut().filter(|g| g.0 == bench.group) {
            group.1 += usize::from(!measured.contains(bench.name.as_str()));
            group.2 += 1;
        }
    }
    let missing: Vec<String> = groups
        .iter()
        .filter(|(_, missing, _)| *missing > 0)
        .map(|(group, missing, all)| match all - missing {
            0 => (*group).to_string(),
            _ => format!("{missing} of {all} in {group}"),
        })
        .collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

/// The summary for docs/.
pub(crate) fn markdown(results: &Results, names: &[String]) -> String {
    let subject = table::subject(names);
    let rows = table::rows(results);
    let mut text = String::from(
        "<!-- Generated by `hakmem-bench report --markdown`. -->\n\n# Measurements\n\n",
    );
    for (what, value) in circumstances(results) {
        let _ = writeln!(text, "- {what}: {value}");
    }
    let _ = write!(
        text,
        "\nA figure is the median over the processes of its row, n for each allocator; \u{b1} is half the range over \
         the median where it is above 5 %. Means are of an allocator's cost over that of the best one of each row: 1 is \
         to be the best everywhere; {LEFT_OUT}.\n"
    );
    for (of, what) in KINDS {
        let means = means(&rows, names, of);
        if means.of.is_empty() {
            continue;
        }
        let _ = write!(
            text,
            "\n## {what}: {} rows, and {} left out\n\n| allocator | geometric mean | median |\n|---|---:|---:|\n",
            means.rows, means.left_out
        );
        for (name, of) in means.of {
            let _ = writeln!(text, "| {name} | {:.2} | {:.2} |", of.mean, of.median);
        }
    }
    let mut lost = Vec::new();
    for (group, rows) in grouped(rows) {
        let _ = write!(text, "\n## {}\n\n| row | unit | n |", title(&group));
        for name in names {
            let _ = write!(text, " {name} |");
        }
        let _ = write!(text, " {subject} / best other |\n|---|---|---:|");
        text.push_str(&"---:|".repeat(names.len() + 1));
        text.push('\n');
        for row in rows {
            let n = row.repetitions();
            let _ = write!(
                text,
                "| {}: {} | {} | {n} |",
                row.bench, row.metric, row.unit
            );
            for name in names {
                let _ = write!(text, " {} |", row.cell(name));
            }
            let _ = writeln!(text, " {} |", row.comparison(&subject));
            let best = row.against_best(&subject);
            if let Some((name, ratio)) = best.filter(|(_, ratio)| *ratio > 1.0) {
                lost.push((ratio, name.to_string(), row.clone()));
            }
        }
    }
    lost.sort_by(|a, b| b.0.total_cmp(&a.0));
    let _ = write!(
        text,
        "\n## Where {subject} is not the best: {} rows\n\n",
        lost.len()
    );
    for (ratio, name, row) in lost {
        let times = if ratio.is_finite() {
            format!("x {ratio:.2} of {name}")
        } else {
            format!("the best, {name}, has 0")
        };
        let _ = writeln!(
            text,
            "- {}: {}: {times} ({} and {} {})",
            row.bench,
            row.metric,
            table::figure(row.cells[&subject].median),
            table::figure(row.cells[&name].median),
            row.unit
        );
    }
    let voids = results.voids();
    if !voids.is_empty() {
        text.push_str("\n## Void\n\n");
        for line in voids {
            let _ = writeln!(text, "- {line}");
        }
    }
    text
}

const KINDS: [(Measure, &str); 4] = [
    (Measure::Time, "Time"),
    (Measure::Memory, "Memory"),
    (Measure::Faults, "Page faults"),
    (Measure::Instructions, "Instructions"),
];

pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// Light and dark paper from the reader's setting, light for print. The colours that charts.rs draws ink and
/// grid in are replaced by the page's.
fn style() -> String {
    let (ink, grid) = (charts::INK, charts::GRID);
    format!(
        ":root {{ color-scheme: light dark; --paper: #fff; --ink: #1c2024; --grid: #dde1e6; --mark: #fff3ee; }}\n\
         @media screen and (prefers-color-scheme: dark) {{ :root {{ --paper: #15181c; --ink: #e2e6ea; --grid: #343a42; --mark: #3a211b; }} }}\n\
         body {{ background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }}\n\
         h1, h2, h3 {{ line-height: 1.2; }} h2 {{ margin-top: 2.5rem; border-bottom: 1px solid var(--grid); }}\n\
         svg {{ max-width: 100%; height: auto; }}\n\
         svg [fill=\"{ink}\"] {{ fill: var(--ink); }} svg [stroke=\"{ink}\"] {{ stroke: var(--ink); }}\n\
         svg [fill=\"{grid}\"] {{ fill: var(--grid); }} svg [stroke=\"{grid}\"] {{ stroke: var(--grid); }}\n\
         .charts {{ display: flex; flex-wrap: wrap; gap: 1rem; }} .charts figure {{ margin: 0; max-width: 100%; }} figcaption {{ font-weight: 600; }}\n\
         .legend {{ position: sticky; top: 0; background: var(--paper); padding: .4rem 0; font-size: 13px; }} .legend span {{ margin-right: 1rem; white-space: nowrap; }} .legend b {{ margin-right: .3em; }}\n\
         .wide {{ overflow-x: auto; }} table {{ border-collapse: collapse; font-size: 12px; font-variant-numeric: tabular-nums; }}\n\
         td, th {{ padding: .15rem .5rem; border-bottom: 1px solid var(--grid); text-align: right; white-space: nowrap; }} td:first-child, th:first-child {{ text-align: left; }}\n\
         td.own {{ background: var(--mark); }} td.best {{ font-weight: 700; }} dt {{ font-weight: 600; }} dd {{ margin: 0 0 .3rem 0; }}\n\
         @media print {{ body {{ max-width: none; margin: 0; font-size: 11px; }} .legend {{ position: static; }} table {{ font-size: 7px; }} td, th {{ padding: 0 .2rem; }} figure, tr {{ break-inside: avoid; }} h2, h3 {{ break-after: avoid; }} .charts {{ gap: 0; }} .charts figure {{ width: 50%; }} }}\n"
    )
}

/// The head of a page, its title and the circumstances.
pub(crate) fn begin(title: &str, results: &Results) -> String {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>\n{}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<dl>\n",
        style()
    );
    for (what, value) in circumstances(results) {
        let _ = writeln!(page, "<dt>{what}</dt><dd>{}</dd>", escape(&value));
    }
    page.push_str("</dl>\n");
    page
}

/// What a series looks like, and its name.
pub(crate) fn key(page: &mut String, series: usize, name: &str) {
    let _ = write!(
        page,
        "<span><b style=\"color:{}\">{}</b>{}</span>",
        charts::color(series),
        charts::sign(series),
        escape(name)
    );
}

/// The page.
pub(crate) fn html(results: &Results, names: &[String]) -> Result<String> {
    let subject = table::subject(names);
    // The subject is series 0, whatever its place in the list.
    let mut order = vec![subject.clone()];
    order.extend(names.iter().filter(|n| **n != subject).cloned());
    let series = |name: &str| order.iter().position(|n| n == name).unwrap_or(0);
    let rows = table::rows(results);
    let mut page = begin("hakmem: measurements", results);
    page.push_str("<p class=\"legend\">");
    for (i, name) in order.iter().enumerate() {
        key(&mut page, i, name);
    }
    let _ = write!(
        page,
        "</p>\n<h2>Geometric means</h2>\n<p>Cost over the best allocator of each row: 1 is to be the best everywhere; \
         {LEFT_OUT}.</p>\n<div class=\"charts\">\n"
    );
    for (of, what) in KINDS {
        let means = means(&rows, &order, of);
        let (mut items, mut medians) = (Vec::new(), Vec::new());
        for (name, of) in means.of {
            medians.push(format!("{name} {:.2}", of.median));
            let series = series(&name);
            items.push((name, series, of.mean));
        }
        if !items.is_empty() {
            let caption = format!(
                "{what}, {} rows, {} left out; medians: {}",
                means.rows,
                means.left_out,
                medians.join(", ")
            );
            figure(&mut page, &caption, &charts::bars(&items)?);
        }
    }
    page.push_str("</div>\n");
    scaling(&mut page, &rows, &order)?;
    over_time(&mut page, results, &order)?;
    percentiles(&mut page, &rows, &order)?;

    let _ = write!(
        page,
        "<h2>Row by row</h2>\n<p>In the charts each dot is an allocator's cost over that of {subject}: right of the line it costs more \
         than {subject}, left of it less. Beyond x 0.1 and x 20 a dot stays at the border. In the tables the best of a row is bold; \
         \u{b1} is half the range over the median where it is above 5 %.</p>\n"
    );
    for (group, rows) in grouped(rows) {
        let _ = writeln!(page, "<h3>{}</h3>", escape(title(&group)));
        let chart = ratios(&rows, &subject, &order);
        if !chart.is_empty() {
            let _ = writeln!(page, "{}", charts::dots(&chart)?);
        }
        tabulate(&mut page, &rows, &subject, &order);
    }
    let usage = table::usage_rows(results);
    page.push_str("<h2>Peak resident memory of each measurement</h2>\n");
    let peaks: Vec<Row> = usage
        .iter()
        .filter(|r| r.metric == "peak")
        .cloned()
        .collect();
    let chart = ratios(&peaks, &subject, &order);
    if !chart.is_empty() {
        let _ = writeln!(page, "{}", charts::dots(&chart)?);
    }
    page.push_str("<details><summary>Wall and CPU time, peak resident memory and minor faults of each process</summary>\n");
    tabulate(&mut page, &usage, &subject, &order);
    page.push_str("</details>\n");
    let voids = results.voids();
    if !voids.is_empty() {
        page.push_str("<h2>Void</h2>\n<p>These runs do not count.</p>\n<ul>\n");
        for line in voids {
            let _ = writeln!(page, "<li>{}</li>", escape(&line));
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</body>\n</html>\n");
    Ok(page)
}

pub(crate) fn figure(page: &mut String, caption: &str, svg: &str) {
    let _ = writeln!(
        page,
        "<figure><figcaption>{}</figcaption>{svg}</figure>",
        escape(caption)
    );
}

/// Each allocator's cost over the subject's.
fn ratios(rows: &[Row], subject: &str, order: &[String]) -> Vec<(String, Vec<(usize, f64)>)> {
    let mut chart = Vec::new();
    for row in rows {
        let Some(own) = row.cells.get(subject) else {
            continue;
        };
        let dots: Vec<(usize, f64)> = order
            .iter()
            .enumerate()
            .rev()
            .filter_map(|(i, name)| {
                let other = row.cells.get(name)?;
                Some((i, stats::cost_ratio(other.median, own.median, &row.unit)?))
            })
            .collect();
        if dots.len() > 1 {
            chart.push((format!("{}: {}", row.bench, row.metric), dots));
        }
    }
    chart
}

fn tabulate(page: &mut String, rows: &[Row], subject: &str, order: &[String]) {
    page.push_str("<div class=\"wide\"><table>\n<tr><th>row</th><th>unit</th>");
    for name in order {
        let _ = write!(page, "<th>{}</th>", escape(name));
    }
    let _ = writeln!(page, "<th>{} / best other</th></tr>", escape(subject));
    for row in rows {
        let _ = write!(
            page,
            "<tr><td>{}: {}</td><td>{}</td>",
            escape(&row.bench),
            escape(&row.metric),
            escape(&row.unit)
        );
        let best = row.best_peer("").map(|b| b.1);
        for name in order {
            let own = if name == subject { "own" } else { "" };
            let is_best = row.cells.get(name).is_some_and(|s| Some(s.median) == best);
            let bold = if is_best { "best" } else { "" };
            let _ = write!(page, "<td class=\"{own} {bold}\">{}</td>", row.cell(name));
        }
        let _ = writeln!(page, "<td>{}</td></tr>", escape(&row.comparison(subject)));
    }
    page.push_str("</table></div>\n");
}

/// Throughput over threads: the measurements that differ in nothing but their number.
fn scaling(page: &mut String, rows: &[Row], order: &[String]) -> Result<()> {
    let mut charts_of: Vec<(String, BTreeMap<u32, &Row>)> = Vec::new();
    for row in rows.iter().filter(|r| r.unit == "Mop/s") {
        let mut threads = None;
        let words: Vec<&str> = row
            .bench
            .split('-')
            .map(|w| match w.strip_suffix('t').and_then(|n| n.parse().ok()) {
                Some(n) => {
                    threads = Some(n);
                    "N"
                }
                None => w,
            })
            .collect();
        let (name, Some(threads)) = (words.join("-"), threads) else {
            continue;
        };
        match charts_of.iter_mut().find(|c| c.0 == name) {
            Some(chart) => {
                chart.1.insert(threads, row);
            }
            None => charts_of.push((name, [(threads, row)].into())),
        }
    }
    charts_of.retain(|c| c.1.len() > 1);
    if charts_of.is_empty() {
        return Ok(());
    }
    page.push_str("<h2>Scaling over threads</h2>\n<p>Throughput; higher is better.</p>\n<div class=\"charts\">\n");
    for (name, by_threads) in charts_of {
        let names: Vec<String> = by_threads.keys().map(u32::to_string).collect();
        let series: Vec<Series> = order
            .iter()
            .enumerate()
            .map(|(i, allocator)| {
                let points = by_threads.values().enumerate();
                let points = points
                    .filter_map(|(x, row)| Some((x as f64, row.cells.get(allocator)?.median)));
                (i, points.collect())
            })
            .collect();
        let axes = Axes {
            x: "threads",
            y: "Mop/s",
            log: false,
            names: &names,
        };
        figure(page, &name, &charts::lines(&axes, &series)?);
    }
    page.push_str("</div>\n");
    Ok(())
}

/// The curves that workloads followed.
fn over_time(page: &mut String, results: &Results, order: &[String]) -> Result<()> {
    let mut found: Vec<(String, String, String)> = Vec::new();
    for sample in results.samples.iter().filter(|s| s.void.is_none()) {
        for curve in &sample.curves {
            let key = (sample.bench.clone(), curve.name.clone(), curve.unit.clone());
            // A median of a few nanoseconds says nothing over time.
            if !found.contains(&key) && !curve.name.ends_with("p50") {
                found.push(key);
            }
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    page.push_str("<h2>Over time</h2>\n<p>The phases of <em>curve</em>: 0 fill, 1 idle, 2 free nine of ten at random, 3 idle, \
                   4 fill up with blocks twice as large, 5 idle, 6 free all, 7 idle, 8 a trickle of small work. An idle program \
                   makes no call: memory goes back when it is freed, or not at all.</p>\n<div class=\"charts\">\n");
    for (bench, name, unit) in found {
        let series: Vec<Series> = order
            .iter()
            .enumerate()
            .filter_map(|(i, allocator)| {
                let sample = results
                    .samples
                    .iter()
                    .find(|s| s.void.is_none() && s.bench == bench && s.allocator == *allocator)?;
                let curve = sample.curves.iter().find(|c| c.name == name)?;
                Some((i, curve.points.clone()))
            })
            .collect();
        let axes = Axes {
            x: if bench == "curve" { "phase" } else { "second" },
            y: &unit,
            log: unit == "ns",
            names: &[],
        };
        figure(
            page,
            &format!("{bench}: {name}"),
            &charts::lines(&axes, &series)?,
        );
    }
    page.push_str("</div>\n");
    Ok(())
}

/// Latencies of single calls.
fn percentiles(page: &mut String, rows: &[Row], order: &[String]) -> Result<()> {
    const STEPS: [&str; 4] = ["p50", "p99", "p99.9", "max"];
    let names = STEPS.map(String::from);
    let mut begun = false;
    for operation in ["malloc", "free"] {
        let series: Vec<Series> = order
            .iter()
            .enumerate()
            .map(|(i, allocator)| {
                let points = STEPS.iter().enumerate().filter_map(|(x, step)| {
                    let row = rows
                        .iter()
                        .find(|r| r.bench == "soak" && r.metric == format!("{operation} {step}"))?;
                    Some((x as f64, row.cells.get(allocator)?.median.max(1.0)))
                });
                (i, points.collect())
            })
            .collect();
        let axes = Axes {
            x: "percentile",
            y: "ns",
            log: true,
            names: &names,
        };
        let svg = charts::lines(&axes, &series)?;
        if svg.is_empty() {
            continue;
        }
        if !begun {
            page.push_str("<h2>Latency percentiles</h2>\n<p>Of single calls in <em>soak</em>. The maximum contains what the kernel did with the thread meanwhile.</p>\n<div class=\"charts\">\n");
            begun = true;
        }
        figure(page, operation, &svg);
    }
    if begun {
        page.push_str("</div>\n");
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::launch::{Curve, Metric, Usage};
    use crate::record::Sample;

    fn results() -> Results {
        let sample = |bench: &str, allocator: &str, name: &str, value, unit: &str| Sample {
            bench: bench.into(),
            allocator: allocator.into(),
            repetition: 0,
            metrics: vec![Metric {
                name: name.into(),
                value,
                unit: unit.into(),
            }],
            curves: vec![Curve {
                name: "resident".into(),
                unit: "MiB".into(),
                points: vec![(0.0, 1.0), (1.0, value)],
            }],
            usage: Some(Usage::default()),
            void: None,
        };
        let mut results = Results::default();
        for (allocator, factor) in [("hakmem", 1.0), ("x<y", 2.0)] {
            results
                .samples
                .push(sample("pair", allocator, "16 B", 5.0 * factor, "ns/pair"));
            results.samples.push(sample(
                "larson-2t-small",
                allocator,
                "2 threads",
                9.0,
                "Mop/s",
            ));
            results.samples.push(sample(
                "larson-4t-small",
                allocator,
                "4 threads",
                8.0,
                "Mop/s",
            ));
            results
                .samples
                .push(sample("curve", allocator, "all freed", 8.0 / factor, "MiB"));
            results
                .samples
                .push(sample("soak", allocator, "malloc p99", 90.0, "ns"));
            results
                .circumstances
                .allocators
                .insert(allocator.into(), "1".into());
        }
        results
    }

    /// A page about an allocator named `x<y` has these parts, and needs nothing but itself.
    pub(crate) fn stands_alone(page: &str, parts: &[&str]) {
        for part in parts.iter().chain(&["x&lt;y"]) {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("x<y"), "names are escaped");
        assert!(
            !page.contains("src=") && !page.contains("href="),
            "nothing is loaded"
        );
    }

    #[test]
    fn the_page_has_every_chart_and_needs_nothing_else() {
        let page = html(&results(), &["hakmem".into(), "x<y".into()]).expect("a page");
        stands_alone(
            &page,
            &[
                "Geometric means",
                "Scaling over threads",
                "Over time",
                "Latency percentiles",
                "pair: 16 B",
                "Time, 4 rows, 0 left out; medians: hakmem 1.00, x&lt;y 1.00",
            ],
        );
    }

    #[test]
    fn the_summary_names_the_rows_that_are_lost() {
        let names = ["hakmem".into(), "x<y".into()];
        let mut results = results();
        let text = markdown(&results, &names);
        assert!(text.contains("not the best: 1 rows"), "{text}");
        assert!(text.contains("curve: all freed: x 2.00"), "{text}");
        // Against 0 there is no ratio, but a loss, and the worst.
        for sample in &mut results.samples {
            if sample.bench == "pair" && sample.allocator != "hakmem" {
                sample.metrics[0].value = 0.0;
            }
        }
        let text = markdown(&results, &names);
        assert!(
            text.contains(
                "not the best: 2 rows\n\n- pair: 16 B: the best, x<y, has 0 (5.00 and 0 ns/pair)"
            ),
            "{text}"
        );
        assert!(text.contains("| 5.00 | 0 | best 0: x<y |"), "{text}");
    }

    #[test]
    fn the_summary_says_how_often_was_measured_how_far_it_spread_and_what_was_not() {
        let mut results = results();
        let mut again = results.samples[0].clone();
        again.repetition = 1;
        again.metrics[0].value = 6.0;
        results.samples.push(again);
        let text = markdown(&results, &["hakmem".into(), "x<y".into()]);
        assert!(
            text.contains("| pair: 16 B | ns/pair | 2 | 5.50 \u{b1}9% | 10.0 |"),
            "{text}"
        );
        let missing = text.lines().find(|l| l.starts_with("- not measured: "));
        let missing = missing.expect("a line");
        assert!(missing.contains("instructions, ") && missing.contains("18 of 20 in larson"));
    }

    #[test]
    fn means_say_how_many_rows_they_leave_out() {
        let mut results = results();
        for sample in &mut results.samples {
            if sample.bench == "pair" {
                sample.metrics[0].name = "bare".into();
            }
        }
        let text = markdown(&results, &["hakmem".into(), "x<y".into()]);
        // Left are two of larson and one of soak, in which both are the same.
        assert!(text.contains("## Time: 3 rows, and 1 left out"), "{text}");
        assert!(text.contains("| hakmem | 1.00 | 1.00 |"), "{text}");
        assert!(
            text.contains("| hakmem | 2.00 | 2.00 |"),
            "the curve: {text}"
        );
    }
}

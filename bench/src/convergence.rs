//! The page of `hakmem-bench learning`: the verdicts, every setting's cost, and for each workload what the allocator
//! decided over time, what that cost, and what was resident, beside fixed settings.

use std::fmt::Write as _;

use anyhow::Result;

use crate::charts::{self, Axes, Series};
use crate::learning::{self, SUBJECT};
use crate::record::{Results, Sample};
use crate::report;
use crate::verdict::{self, Figures, Settled, Words};

/// The curves that are drawn: name, title, logarithmic. All but the last are the allocator's own account.
const CURVES: [(&str, &str, bool); 4] = [
    ("decision", "what may stay resident when it is free", true),
    (
        "cost",
        "cost of the last window, by the allocator's account",
        false,
    ),
    ("rent", "of that, rent for free memory that stayed", false),
    ("resident", "resident memory as the system counts it", false),
];

/// The page.
pub(crate) fn html(results: &Results, figures: &Figures, settled: &[Settled]) -> Result<String> {
    let mut page = report::begin("hakmem: what learning is worth", results);
    let _ = writeln!(
        page,
        "<h2>Against the best fixed setting of each workload</h2>\n<p>CPU time and resident byte-seconds, medians; \
         the best setting is the one with the smallest root of time x memory.</p>"
    );
    tabulate(&mut page, &verdict::verdicts(figures));
    let _ = writeln!(
        page,
        "<p><strong>{}</strong></p>",
        report::escape(&verdict::conclusion(figures))
    );
    let _ = writeln!(page, "<h2>How soon learning settles</h2>");
    if settled.is_empty() {
        page.push_str("<p>The library does not tell its decisions.</p>\n");
    } else {
        page.push_str(
            "<p>A window is the allocator's own measure of time. <em>decision after</em>: windows until what may be \
             kept was within a factor of two of what was kept for most of the phase's second half; <em>cost after</em>: \
             until its cost was at most a quarter above the median there.</p>\n",
        );
        tabulate(&mut page, &verdict::settling(settled));
    }
    for workload in &figures.workloads {
        draw(&mut page, results, figures, workload)?;
    }
    for (title, of) in verdict::PARTS {
        let _ = writeln!(
            page,
            "<h2>{}: over learning's</h2>\n<p>* at the best fixed setting of a workload</p>",
            report::escape(title)
        );
        tabulate(&mut page, &verdict::matrix(figures, of));
    }
    if !figures.voids.is_empty() {
        page.push_str("<h2>Void</h2>\n<p>These processes do not count.</p>\n<ul>\n");
        for line in &figures.voids {
            let _ = writeln!(page, "<li>{}</li>", report::escape(line));
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</body>\n</html>\n");
    Ok(page)
}

/// Learning first, then the best fixed setting, then those that keep least and most.
fn drawn_settings<'a>(figures: &'a Figures, workload: &str) -> Vec<&'a str> {
    let mut names = vec![SUBJECT];
    let fixed: Vec<&str> = figures
        .settings
        .iter()
        .map(String::as_str)
        .filter(|s| learning::is_fixed(s) && figures.used(workload, s).is_some())
        .collect();
    let best = figures.best(workload);
    let best = fixed.iter().copied().find(|s| Some(*s) == best);
    let by_kept = |a: &&&str, b: &&&str| {
        let kept = |s: &str| learning::kept(s).unwrap_or(0.0);
        kept(a).total_cmp(&kept(b))
    };
    let least = fixed.iter().min_by(by_kept).copied();
    // The first of those that keep as much: the one without a suffix.
    let most = fixed.iter().rev().max_by(by_kept).copied();
    for name in [best, least, most].into_iter().flatten() {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The charts of a workload.
fn draw(page: &mut String, results: &Results, figures: &Figures, workload: &str) -> Result<()> {
    let names = drawn_settings(figures, workload);
    let sample = |setting: &str| -> Option<&Sample> {
        results.samples.iter().find(|s| {
            s.bench == workload
                && s.allocator == setting
                && s.void.is_none()
                && !s.curves.is_empty()
        })
    };
    let _ = write!(
        page,
        "<h2>{}</h2>\n<p class=\"legend\">",
        report::escape(workload)
    );
    for (i, name) in names.iter().enumerate() {
        report::key(page, i, name);
    }
    page.push_str("</p>\n<div class=\"charts\">\n");
    for (curve, title, log) in CURVES {
        let mut unit = "";
        let mut series: Vec<Series> = Vec::new();
        for (i, name) in names.iter().enumerate() {
            // Without a window the allocator has no account to give.
            let told = |s: &Sample| {
                let windows = verdict::curve(s, "window").and_then(|w| w.last());
                !["cost", "rent"].contains(&curve) || windows.is_some_and(|w| w.1 > 0.0)
            };
            let found = sample(name)
                .filter(|s| told(s))
                .and_then(|s| s.curves.iter().find(|c| c.name == curve));
            if let Some(found) = found {
                unit = &found.unit;
                let points = if curve == "decision" {
                    steps(&found.points)
                } else {
                    found.points.clone()
                };
                series.push((i, points));
            }
        }
        let axes = Axes {
            x: "second",
            y: unit,
            log,
            names: &[],
        };
        let svg = charts::lines(&axes, &series)?;
        if !svg.is_empty() {
            report::figure(page, title, &svg);
        }
    }
    page.push_str("</div>\n");
    Ok(())
}

/// What holds until it is changed is no slope.
fn steps(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for &(x, y) in points {
        if let Some(&(_, before)) = steps.last().filter(|last| last.1 != y) {
            steps.push((x, before));
        }
        steps.push((x, y));
    }
    steps
}

fn tabulate(page: &mut String, (head, lines): &Words) {
    page.push_str("<div class=\"wide\"><table>\n<tr>");
    for word in head {
        let _ = write!(page, "<th>{}</th>", report::escape(word));
    }
    page.push_str("</tr>\n");
    for line in lines {
        let own = line.first().is_some_and(|w| w == SUBJECT);
        page.push_str("<tr>");
        for word in line {
            let class = match (own, word.starts_with("NO")) {
                (_, true) => " class=\"own best\"",
                (true, false) => " class=\"own\"",
                (false, false) => "",
            };
            let _ = write!(page, "<td{class}>{}</td>", report::escape(word));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Curve;
    use crate::verdict::tests::{sample, two_workloads};

    #[test]
    fn the_page_draws_decision_and_cost_of_each_workload() {
        let mut results = two_workloads();
        for s in &mut results.samples {
            for (name, unit) in [
                ("window", "windows"),
                ("decision", "KiB kept"),
                ("cost", "us/ms"),
                ("resident", "MiB"),
            ] {
                let kept = learning::kept(&s.allocator).unwrap_or(512.0);
                let y = if name == "decision" { kept } else { 5.0 };
                s.curves.push(Curve {
                    name: name.into(),
                    unit: unit.into(),
                    points: vec![(0.0, y), (1.0, y)],
                });
            }
        }
        results.samples.push(sample("giants", "x<y", 1.0, 1.0));
        let figures = Figures::of(&results);
        let page = html(&results, &figures, &verdict::settled(&results)).expect("a page");
        // Three curves for each of two workloads.
        assert_eq!(page.matches("<svg").count(), 6);
        let parts = ["KiB kept", "us/ms", "keep-32768K", "over all workloads"];
        crate::report::tests::stands_alone(&page, &parts);
    }

    #[test]
    fn a_decision_holds_until_the_next() {
        let points = [(0.0, 5.0), (1.0, 5.0), (2.0, 9.0)];
        let drawn = [(0.0, 5.0), (1.0, 5.0), (2.0, 5.0), (2.0, 9.0)];
        assert_eq!(steps(&points), drawn);
    }

    #[test]
    fn a_setting_is_drawn_once() {
        let figures = Figures::of(&two_workloads());
        assert_eq!(
            drawn_settings(&figures, "giants"),
            [SUBJECT, "keep-512K", "keep-32768K"]
        );
    }
}

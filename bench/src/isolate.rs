//! What each feature of hakmem is worth: the same measurement with one feature switched off at a time.

use anyhow::{Result, bail};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use crate::allocators::{Allocator, Ready};
use crate::record::Results;
use crate::stats;
use crate::table::{self, Row};

/// The name of the column with everything switched on.
const DEFAULT: &str = "default";

/// Each feature: its name in the table, and the variable that takes it away; behind a `+`, one that is off,
/// and the variable that brings it.
const FEATURES: &[(&str, &[(&str, &str)])] = &[
    (DEFAULT, &[]),
    ("MAGAZINE", &[("HAKMEM_DISABLE_MAGAZINE", "1")]),
    ("OUTBOX", &[("HAKMEM_DISABLE_OUTBOX", "1")]),
    ("BIGCACHE", &[("HAKMEM_DISABLE_BIGCACHE", "1")]),
    ("WHALE", &[("HAKMEM_DISABLE_WHALE", "1")]),
    ("BATCH", &[("HAKMEM_DISABLE_BATCH", "1")]),
    ("POPULATE", &[("HAKMEM_DISABLE_POPULATE", "1")]),
    ("THP", &[("HAKMEM_DISABLE_THP", "1")]),
    ("HOLE_PURGE", &[("HAKMEM_DISABLE_HOLE_PURGE", "1")]),
    ("SITES", &[("HAKMEM_DISABLE_SITES", "1")]),
    ("CREDIT", &[("HAKMEM_DISABLE_CREDIT", "1")]),
    ("DENSITY", &[("HAKMEM_DISABLE_DENSITY", "1")]),
    ("GROWTH", &[("HAKMEM_DISABLE_GROWTH", "1")]),
    ("DEMAND", &[("HAKMEM_DISABLE_DEMAND", "1")]),
    ("PACE", &[("HAKMEM_DISABLE_PACE", "1")]),
    ("ELO", &[("HAKMEM_DISABLE_ELO", "1")]),
    ("EVO", &[("HAKMEM_EVO", "off")]),
    ("SUPERSLAB", &[("HAKMEM_TINY_USE_SUPERSLAB", "0")]),
    ("all (MINIMAL)", &[("HAKMEM_MINIMAL", "1")]),
    ("+GUARD", &[("HAKMEM_GUARD", "1")]),
];

/// The name by which `--feature` knows one.
fn word(name: &str) -> &str {
    let name = name.trim_start_matches('+');
    name.split(' ').next().unwrap_or(name)
}

/// hakmem as it is, and without each feature; all of them when none is asked for.
pub(crate) fn variants(ready: &Ready, asked: &[String]) -> Result<Vec<Ready>> {
    let features = &FEATURES[1..];
    let is = |name: &str, asked: &String| word(name).eq_ignore_ascii_case(asked);
    for unknown in asked {
        if !features.iter().any(|f| is(f.0, unknown)) {
            let names: Vec<_> = features.iter().map(|f| word(f.0)).collect();
            bail!(
                "no feature is called {unknown:?}; there are {}",
                names.join(", ")
            );
        }
    }
    let wanted =
        |name: &str| name == DEFAULT || asked.is_empty() || asked.iter().any(|a| is(name, a));
    let variants = FEATURES
        .iter()
        .filter(|(name, _)| wanted(name))
        .map(|(name, env)| Ready {
            allocator: Allocator {
                name: (*name).into(),
                env,
                ..ready.allocator.clone()
            },
            ..ready.clone()
        });
    Ok(variants.collect())
}

/// What a row costs without a feature, over what it costs with all; and whether that is beyond the spread.
fn effect(row: &Row, feature: &str) -> Option<(f64, bool)> {
    let (with, without) = (row.cells.get(DEFAULT)?, row.cells.get(feature)?);
    let ratio = stats::cost_ratio(without.median, with.median, &row.unit)?;
    Some((
        ratio,
        (ratio - 1.0).abs() > stats::noise(row.is_exact(), with, without),
    ))
}

/// The table: a row a metric, a column a feature.
pub(crate) fn render(results: &Results, variants: &[Ready]) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Disabled);
    let features: Vec<&str> = variants.iter().skip(1).map(Ready::name).collect();
    let mut header = vec!["row".to_string(), "unit".into(), DEFAULT.into()];
    header.extend(features.iter().map(|f| match f.strip_prefix('+') {
        Some(brought) => format!("with {brought}"),
        None => format!("without {f}"),
    }));
    table.set_header(header);
    let rows = table::rows(results);
    for row in &rows {
        let mut cells = vec![
            Cell::new(format!("{}: {}", row.bench, row.metric)),
            Cell::new(&row.unit),
            Cell::new(
                row.cells
                    .get(DEFAULT)
                    .map_or("-".into(), |s| table::figure(s.median)),
            )
            .set_alignment(CellAlignment::Right),
        ];
        for feature in &features {
            let text = match effect(row, feature) {
                Some((ratio, true)) => format!("x {ratio:.2}"),
                Some((_, false)) => "·".into(),
                None if row.cells.contains_key(*feature) => "from 0".into(),
                None => "-".into(),
            };
            cells.push(Cell::new(text).set_alignment(CellAlignment::Right));
        }
        table.add_row(cells);
    }
    let mut mean = vec![Cell::new("geometric mean"), Cell::new(""), Cell::new("")];
    for feature in &features {
        let ratios: Vec<f64> = rows
            .iter()
            .filter_map(|r| effect(r, feature).map(|e| e.0))
            .collect();
        let text = stats::geometric_mean(&ratios).map_or("-".into(), |m| format!("x {m:.3}"));
        mean.push(Cell::new(text).set_alignment(CellAlignment::Right));
    }
    table.add_row(mean);
    format!(
        "{table}\nx 1.20: without the feature the row costs 20 % more, so the feature is worth that; below 1 the feature\ncosts something there; · is within the spread; SUPERSLAB is HAKMEM_TINY_USE_SUPERSLAB=0;\n`with` shows what a feature costs that is off by default\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::allocators::tests::ready;
    use crate::stats::Summary;
    use std::collections::BTreeMap;

    #[test]
    fn features_are_known_by_one_word_each() {
        let names = |words: &[&str]| -> Result<Vec<String>> {
            let words: Vec<String> = words.iter().map(|w| (*w).into()).collect();
            let variants = variants(&ready("glibc"), &words)?;
            Ok(variants.into_iter().map(|v| v.allocator.name).collect())
        };
        assert_eq!(names(&[]).expect("all").len(), FEATURES.len());
        let some = names(&["all", "guard", "OUTBOX"]).expect("known ones");
        assert_eq!(some, [DEFAULT, "OUTBOX", "all (MINIMAL)", "+GUARD"]);
        assert!(names(&["OUTBOX", "TYPO"]).is_err());
    }

    #[test]
    fn an_effect_within_the_spread_is_none() {
        let summary = |median, spread| Summary {
            median,
            spread,
            count: 3,
        };
        let row = Row {
            bench: "b".into(),
            metric: "m".into(),
            unit: "ns".into(),
            cells: [
                (DEFAULT.to_string(), summary(10.0, 0.03)),
                ("OUTBOX".to_string(), summary(10.4, 0.03)),
                ("WHALE".to_string(), summary(20.0, 0.03)),
            ]
            .into(),
            processes: BTreeMap::new(),
        };
        assert_eq!(effect(&row, "OUTBOX").map(|e| e.1), Some(false));
        assert_eq!(effect(&row, "WHALE"), Some((2.0, true)));
        assert_eq!(effect(&row, "THP"), None);
    }
}

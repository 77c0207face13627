//! The HTML pages: the templates `report.html` and `study.html`, filled.

use cl_core::{Error, Result};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value, context};

use super::study::{Chart, Picture, Study};
use super::svg;
use super::view::{Grid, Section, View};

/// The widths for which the curves are drawn; the page shows the one that fits. Scaling one drawing
/// down would make its letters unreadable on a small screen.
const WIDE: f64 = 760.0;
const NARROW: f64 = 360.0;

pub fn render(view: &View<'_>) -> Result<String> {
    let sections: Vec<_> = view.sections.iter().map(section).collect();
    let glossary: Vec<_> = cl_metrics::METRICS
        .iter()
        .map(|m| context! { name => m.name, formula => m.formula, source => m.source })
        .collect();
    let page = context! {
        title => &view.report.title,
        suite => &view.report.suite,
        source => &view.report.source,
        headline => &view.headline,
        protocol => &view.report.protocol,
        notes => &view.report.notes,
        sections,
        glossary,
    };
    fill("report.html", page)
}

/// A report without matrices.
pub fn study(study: &Study) -> Result<String> {
    let sections = study.sections.iter().map(|section| {
        let chart = |chart: &Chart| {
            let drawn = |width| svg::chart(&chart.series, &chart.axes, width);
            context! { caption => chart.caption, wide => drawn(WIDE), narrow => drawn(NARROW) }
        };
        let picture = |picture: &Picture| context! { caption => &picture.caption, svg => &picture.svg };
        context! {
            heading => section.heading,
            grid => grid(&section.grid),
            chart => section.chart.as_ref().map(chart),
            pictures => section.pictures.iter().map(picture).collect::<Vec<_>>(),
        }
    });
    let page = context! {
        title => study.title,
        suite => study.suite,
        source => study.source,
        headline => study.headline(),
        claims => grid(&study.claims_grid()),
        sections => sections.collect::<Vec<_>>(),
        protocol => &study.protocol,
        notes => &study.notes,
    };
    fill("study.html", page)
}

fn fill(name: &str, page: Value) -> Result<String> {
    let template = |e: minijinja::Error| Error::invalid("report template", format!("{e:#}"));
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(template)?;
    environment.set_syntax(syntax);
    // Names end in .html, which turns escaping on.
    for (name, source) in [
        ("report.html", include_str!("report.html")),
        ("study.html", include_str!("study.html")),
        ("grid.html", include_str!("grid.html")),
        ("style.html", include_str!("style.html")),
    ] {
        environment.add_template(name, source).map_err(template)?;
    }
    environment.get_template(name).and_then(|t| t.render(page)).map_err(template)
}

fn section(section: &Section) -> Value {
    let heat_maps: Vec<_> =
        section.drawn.iter().map(|d| context! { method => &d.method, svg => svg::heat_map(d) }).collect();
    context! {
        scenario => &section.scenario,
        comparison => grid(&section.comparison),
        wide => svg::curves(&section.drawn, WIDE),
        narrow => svg::curves(&section.drawn, NARROW),
        heat_maps,
        metrics => section.metrics.iter().map(grid).collect::<Vec<_>>(),
        cost => grid(&section.cost),
    }
}

fn grid(grid: &Grid) -> Value {
    let columns: Vec<_> =
        grid.columns.iter().map(|c| context! { name => &c.name, numeric => c.numeric }).collect();
    let lines: Vec<_> =
        grid.lines.iter().map(|l| context! { status => l.status, cells => &l.cells }).collect();
    context! { caption => &grid.caption, columns, lines }
}

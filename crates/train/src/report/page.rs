//! The page around the plots.

use std::fmt::Write;

use super::plot::{Axes, Plot, bars, escaped, number};
use super::{CalibrationBin, Report};

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2430;--dim:#667080;--line:#2563c9;--grid:#d8dde5;--paper:#fff}\
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ee;--dim:#98a2b0;--line:#7cb0ff;--grid:#38414e;--paper:#14181e}}\
body{margin:2rem auto;max-width:60rem;padding:0 1rem;font:15px/1.5 system-ui,sans-serif;color:var(--ink);\
background:var(--paper)}h1{font-size:1.4rem;margin-bottom:0}p{color:var(--dim);margin:.2rem 0 1rem}\
.grid-of{display:grid;grid-template-columns:repeat(auto-fit,minmax(22rem,1fr));gap:1.5rem;margin-top:1.5rem}figure{margin:0}\
figcaption{font-weight:600;margin-bottom:.3rem}svg{width:100%;height:auto}svg text{font-size:11px;fill:var(--dim)}\
.grid{stroke:var(--grid);fill:none}.line{stroke:var(--line);stroke-width:2;fill:none}\
.chance{stroke:var(--dim);stroke-dasharray:4 4;fill:none}.dot{fill:var(--line)}.whisker{stroke:var(--line)}\
table{border-collapse:collapse;width:100%}th{text-align:left;font-weight:400}td{text-align:right;\
font-variant-numeric:tabular-nums}.bars th{white-space:nowrap;padding-right:.6rem}.bars .bar{width:50%;text-align:left}.bars td:last-child{white-space:nowrap;padding-left:.6rem}\
.bar span{display:block;height:.7rem;background:var(--line)}.figures td,.figures th{border-bottom:1px solid var(--grid);\
padding:.2rem 0}.refused{border-left:4px solid #c33;padding-left:.8rem;color:var(--ink)}";

/// Predictions and outcomes beyond so much of the largest are not shown.
const ROOM: f64 = 1.1;

pub(super) fn page(report: &Report) -> String {
    format!(
        "<!doctype html><html lang='en'><meta charset='utf-8'>\
         <meta name='viewport' content='width=device-width'><title>Bundle {short}</title>\
         <style>{STYLE}</style><h1>Bundle {short}</h1><p>{about}</p>{verdict}{figures}\
         <div class='grid-of'>{roc}{calibration}{gain}{positions}{importance}{drift}</div></html>\n",
        short = &report.bundle[..report.bundle.len().min(16)],
        about = about(report),
        verdict = verdict(report),
        figures = figures(report),
        roc = roc(report),
        calibration = calibration(&report.calibration),
        gain = gain(report),
        positions = positions(report),
        importance = importance(report),
        drift = drift(report),
    )
}

fn about(report: &Report) -> String {
    let kinds: Vec<_> = report
        .manifest
        .stages
        .iter()
        .map(|stage| format!("{:?}", stage.kind).to_lowercase())
        .collect();
    let mut text = format!("{}.", kinds.join(", then for the best "));
    if let Some(training) = &report.manifest.training {
        let _ = write!(text, " Learned from {} rows, {} clicked.", training.rows, training.clicks);
    }
    let of = &report.evaluation;
    let _ = write!(text, " Judged by {} later rows, {} clicked.", of.rows, of.clicks);
    text
}

fn verdict(report: &Report) -> String {
    let Some(verdict) = &report.verdict else { return String::new() };
    if verdict.is_accepted() {
        return String::new();
    }
    let reasons: Vec<_> = verdict.refusals.iter().map(|one| escaped(&one.to_string())).collect();
    format!("<p class='refused'><b>Refused.</b> {}</p>", reasons.join("; "))
}

fn figures(report: &Report) -> String {
    let of = &report.evaluation;
    let maybe = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.5}"));
    let champion = report.verdict.as_ref().and_then(|verdict| verdict.comparison);
    let theirs = |value: Option<f64>| match (champion, value) {
        (Some(_), Some(value)) => format!("<td>{value:.5}</td>"),
        (Some(_), None) => "<td></td>".to_owned(),
        (None, _) => String::new(),
    };
    let of_champion = champion.map(|one| one.champion);
    let rows = [
        ("AUC", maybe(of.auc), of_champion.map(|it| it.auc)),
        ("smallest AUC difference that is not noise", maybe(of.noise_floor), None),
        ("log loss", format!("{:.5}", of.log_loss), of_champion.map(|it| it.log_loss)),
        ("log loss of the click rate alone", format!("{:.5}", of.log_loss_constant), None),
        (
            "expected calibration error",
            format!("{:.5}", of.ece),
            of_champion.map(|it| it.calibration_error),
        ),
        (
            "predicted clicks / clicks",
            maybe(of.calibration_ratio),
            of_champion.map(|it| it.calibration_ratio),
        ),
    ];
    let head =
        if champion.is_some() { "<tr><th></th><td>this</td><td>champion</td></tr>" } else { "" };
    let line = |(name, value, champion): &(&str, String, Option<f64>)| {
        format!("<tr><th>{name}</th><td>{value}</td>{}</tr>", theirs(*champion))
    };
    format!("<table class='figures'>{head}{}</table>", rows.iter().map(line).collect::<String>())
}

fn roc(report: &Report) -> String {
    let axes = Axes {
        title: "Receiver operating characteristic",
        x: "other rows",
        y: "clicked rows",
        x_max: 1.0,
        y_max: 1.0,
    };
    let mut plot = Plot::new(axes);
    plot.line("chance", &[[0.0, 0.0], [1.0, 1.0]]);
    plot.line("line", &report.roc);
    plot.svg()
}

fn gain(report: &Report) -> String {
    let axes = Axes {
        title: "Clicks among the best rows",
        x: "share of rows",
        y: "share of clicks",
        x_max: 1.0,
        y_max: 1.0,
    };
    let mut plot = Plot::new(axes);
    plot.line("chance", &[[0.0, 0.0], [1.0, 1.0]]);
    plot.line("line", &report.gain);
    plot.svg()
}

fn calibration(bins: &[CalibrationBin]) -> String {
    let most = bins.iter().map(|bin| bin.predicted.max(bin.interval[1])).fold(1e-6, f64::max);
    let max = (most * ROOM).min(1.0);
    let axes = Axes {
        title: "Calibration, with intervals of 95 %",
        x: "predicted",
        y: "clicked",
        x_max: max,
        y_max: max,
    };
    let mut plot = Plot::new(axes);
    plot.line("chance", &[[0.0, 0.0], [max, max]]);
    bins.iter().for_each(|bin| plot.dot(bin.predicted, bin.observed, bin.interval));
    plot.svg()
}

fn positions(report: &Report) -> String {
    let rows: Vec<_> =
        report.evaluation.positions.iter().filter(|(place, _)| **place > 0).collect();
    if rows.is_empty() {
        return String::new();
    }
    let bar = |(place, slice): &(&u16, &crate::Slice)| {
        let rate = slice.clicks as f64 / slice.rows.max(1) as f64;
        let predicted = slice.predicted / slice.rows.max(1) as f64;
        (format!("{place}"), rate, format!("{} ({} predicted)", number(rate), number(predicted)))
    };
    bars("Click rate by position", &rows.iter().take(30).map(bar).collect::<Vec<_>>())
}

fn importance(report: &Report) -> String {
    if report.importance.is_empty() {
        return String::new();
    }
    let bar = |one: &super::ImportanceShare| {
        (one.name.clone(), one.share, format!("{:.1} %", one.share * 100.0))
    };
    bars("Importance", &report.importance.iter().map(bar).collect::<Vec<_>>())
}

fn drift(report: &Report) -> String {
    let bar = |one: &super::Moved| (one.name.clone(), one.index, number(one.index));
    bars(
        "Drift from training to test (stability index; above 0.25 is much)",
        &report.drift.iter().map(bar).collect::<Vec<_>>(),
    )
}

//! The page for people: one file, no scripts, nothing loaded from elsewhere.

use std::io::Write;

use konclave_ledger::Filter;

use super::chart::Chart;
use super::{ExportError, Proven, Source};
use crate::text::html;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1rem;color:#1d2329}\
h1{font-size:1.4rem}table{border-collapse:collapse;width:100%;font-size:.86rem}\
th,td{text-align:left;vertical-align:top;padding:.3rem .5rem;border-bottom:1px solid #dde2e6}\
th{position:sticky;top:0;background:#fff}td.n{text-align:right;font-variant-numeric:tabular-nums}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1rem}dt{font-weight:600}dd{margin:0;overflow-wrap:anywhere}\
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:#f5f7f8;padding:.6rem;font-size:.8rem}\
svg{width:100%;height:auto}svg text{font-size:11px;fill:#444}\
.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;padding:0;list-style:none}\
.legend i{display:inline-block;width:.8em;height:.8em;margin-right:.4em}details summary{cursor:pointer;color:#2f6f9f}";

pub(super) fn write(
    source: &Source<'_>,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<u64, ExportError> {
    // The drawing stands above the table, so that the entries are gone through twice.
    let mut chart = Chart::default();
    let count = source.each(&mut |done, total| progress(done / 2, total), |entry| {
        if let Ok(time) = entry.found.leaf.timestamp() {
            chart.count(time, &entry.found.leaf.action);
        }
        Ok(())
    })?;
    head(source, count, &chart, out)?;
    source.each(&mut |done, total| progress(total / 2 + done / 2, total), |entry| row(entry, out))?;
    write!(out, "</tbody></table>")?;
    proof_note(source, out)?;
    writeln!(out, "</body></html>")?;
    Ok(count)
}

fn head(source: &Source<'_>, count: u64, chart: &Chart, out: &mut dyn Write) -> Result<(), ExportError> {
    let origin = html(source.head.origin.as_str());
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Ledger {origin}</title>\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\n\
         <h1>Audit ledger {origin}</h1>\n<dl>"
    )?;
    let mut item = |name: &str, value: &str| write!(out, "<dt>{name}</dt><dd>{}</dd>", html(value));
    let which = if source.takes_all() { "all".to_owned() } else { conditions(source.filter) };
    item("Entries", &format!("{count} of {} ({which})", source.head.size))?;
    let time =
        |time: Option<konclave_ledger::Timestamp>| time.map_or_else(String::new, |time| time.to_string());
    item("Time", &format!("{} to {}", time(chart.first), time(chart.last)))?;
    item("Root", &source.head.root.to_string())?;
    item("Log key", &source.key.to_string())?;
    write!(out, "</dl>\n{}\n", chart.svg())?;
    writeln!(
        out,
        "<table><thead><tr><th>Entry</th><th>Time</th><th>Actor</th><th>Action</th><th>Object</th><th>Site</th>\
         <th>Reason</th><th>Details</th></tr></thead><tbody>"
    )?;
    Ok(())
}

fn conditions(filter: &Filter) -> String {
    let time = |millis: Option<u64>| {
        millis
            .and_then(|millis| konclave_ledger::Timestamp::from_unix_millis(millis).ok())
            .map(|time| time.to_string())
    };
    let parts = [
        ("site", filter.site.clone()),
        ("actor", filter.actor.clone()),
        ("action", filter.action.clone()),
        ("object", filter.object.clone()),
        ("job", filter.job.clone()),
        ("round", filter.round.map(|round| round.to_string())),
        ("since", time(filter.since)),
        ("until", time(filter.until)),
    ];
    let given = parts.into_iter().filter_map(|(name, value)| Some(format!("{name} {}", value?)));
    given.collect::<Vec<_>>().join(", ")
}

fn row(entry: &Proven<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
    let leaf = entry.found.leaf;
    write!(out, "<tr id=\"e{0}\"><td class=\"n\">{0}</td>", entry.index)?;
    let site = leaf.site.as_deref().unwrap_or_default();
    for cell in [&leaf.time, &leaf.actor, &leaf.action, &leaf.object, site, &leaf.reason] {
        write!(out, "<td>{}</td>", html(cell))?;
    }
    let pretty = serde_json::to_string_pretty(leaf).unwrap_or_default();
    let lines: Vec<String> = pretty.lines().map(html).collect();
    write!(out, "<td><details><summary>entry and proof</summary><pre>{}</pre>", lines.join("\n"))?;
    write!(out, "<pre>leaf hash {}\nproof", entry.found.leaf_hash)?;
    entry.proof.iter().try_for_each(|hash| write!(out, "\n  {hash}"))?;
    writeln!(out, "</pre></details></td></tr>")?;
    Ok(())
}

fn proof_note(source: &Source<'_>, out: &mut dyn Write) -> Result<(), ExportError> {
    let note = source.note.to_string();
    let lines: Vec<String> = note.lines().map(html).collect();
    write!(
        out,
        "<h2>Checkpoint</h2><p>Each entry's hashes lead from its leaf hash to this root (RFC 6962). The page can be \
         changed by whoever sends it: <code>konclave-audit check</code> verifies an export in JSON, \
         <code>konclave-audit verify</code> a copy of the ledger.</p><pre>{}</pre>",
        lines.join("\n")
    )?;
    Ok(())
}

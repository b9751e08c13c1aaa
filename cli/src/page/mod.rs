//! One self-contained HTML page that shows a verdict as a graph a person can read: who signed what, which digest flows where,
//! what is broken, in red. No script, nothing fetched.

mod graph;

use assay_core::edge::{EdgeState, Finding};
use assay_core::verdict::{Outcome, Verdict};

/// Escapes text for HTML content and attribute values.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in crate::output::printable(text).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

const fn class(state: EdgeState) -> &'static str {
    match state {
        EdgeState::Ok => "ok",
        EdgeState::Broken => "broken",
        EdgeState::NotRequired => "off",
        EdgeState::Unknown => "unknown",
    }
}

const STYLE: &str = "
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--dim:#68717c;--line:#d5dae0;--box:#f6f8fa;--ok:#1a7f37;--broken:#cf222e;--unknown:#9a6700;--off:#8c959f}
@media(prefers-color-scheme:dark){:root{--bg:#0f1419;--fg:#e4e8ec;--dim:#9aa4af;--line:#2f3841;--box:#171d24;--ok:#4ac26b;--broken:#ff6a69;--unknown:#d4a72c;--off:#6e7781}}
body{margin:2rem auto;max-width:76rem;padding:0 1rem;background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.3rem;margin:0;overflow-wrap:anywhere}h2{font-size:1.05rem;margin:2rem 0 .6rem}
.head{display:flex;gap:1rem;align-items:baseline;flex-wrap:wrap}.badge{font-weight:700;padding:.1rem .7rem;border-radius:1rem;border:2px solid currentColor}
.meta{color:var(--dim);margin:.3rem 0 1rem}code,.mono{font:13px/1.45 ui-monospace,monospace;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.35rem .6rem;border-bottom:1px solid var(--line)}
th{color:var(--dim);font-weight:600}.ok{color:var(--ok)}.broken{color:var(--broken)}.unknown{color:var(--unknown)}.off{color:var(--off)}
tr.broken td,tr.unknown td{color:inherit}tr.broken{background:color-mix(in srgb,var(--broken) 9%,transparent)}tr.unknown{background:color-mix(in srgb,var(--unknown) 9%,transparent)}
.graph{width:100%;height:auto;display:block}.graph rect{fill:var(--box);stroke:var(--line);stroke-width:1.5}
.graph .title{font:600 13px system-ui,sans-serif;fill:var(--fg)}.graph .fact{font:11px ui-monospace,monospace;fill:var(--dim)}
.graph path{fill:none;stroke-width:2.5}.graph .edge.ok{stroke:var(--ok)}.graph .edge.broken{stroke:var(--broken);stroke-width:4}
.graph .edge.unknown{stroke:var(--unknown);stroke-dasharray:7 4}.graph .edge.off{stroke:var(--off);stroke-dasharray:2 5;stroke-width:1.5}
.graph circle{fill:var(--bg);stroke-width:2}.graph circle.ok{stroke:var(--ok)}.graph circle.broken{stroke:var(--broken);fill:var(--broken)}
.graph circle.unknown{stroke:var(--unknown)}.graph circle.off{stroke:var(--off)}
.graph .label{font:700 11px system-ui,sans-serif;text-anchor:middle}.graph .label.ok{fill:var(--ok)}.graph .label.broken{fill:#fff}
.graph .label.unknown{fill:var(--unknown)}.graph .label.off{fill:var(--off)}.graph g.unused rect{stroke-dasharray:4 4}.graph g.unused text{fill:var(--off)}
.graph g.bad rect{stroke:var(--broken);stroke-width:2.5}
";

/// The page for a verdict under a policy of this name.
pub(crate) fn render(verdict: &Verdict, policy: &str) -> String {
    let (word, state) = match verdict.outcome() {
        Outcome::Verified => ("Verified", EdgeState::Ok),
        Outcome::Rejected => ("Rejected", EdgeState::Broken),
        Outcome::Unknown => ("Unknown", EdgeState::Unknown),
    };
    let image = format!("{}@{}", verdict.repository(), verdict.digest());
    let mut page = String::with_capacity(32 * 1024);
    page.push_str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">");
    page.push_str("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">");
    page.push_str(&format!("<title>{word}: {}</title><style>{STYLE}</style></head><body>", escape(&image)));
    page.push_str(&format!(
        "<div class=\"head\"><span class=\"badge {}\">{word}</span><h1 class=\"mono\">{}</h1></div>",
        class(state),
        escape(&image)
    ));
    page.push_str(&format!(
        "<p class=\"meta\">Policy <b>{}</b> <code>{}</code>, judged {}.</p>",
        escape(policy),
        verdict.policy_digest(),
        verdict.time()
    ));
    page.push_str(&graph::svg(verdict));
    page.push_str("<h2>Edges</h2>");
    page.push_str(&findings(verdict.edges()));
    for child in verdict.children() {
        page.push_str(&format!("<h2>Platform {} <code>{}</code></h2>", escape(&child.platform), child.digest));
        page.push_str(&findings(&child.edges));
    }
    page.push_str("<h2>Evidence</h2><table><tr><th>Document</th><th>Digest</th><th>Signed by</th><th>Says</th></tr>");
    for used in verdict.evidence() {
        let facts: Vec<String> =
            used.facts.iter().map(|(name, value)| format!("{} <code>{}</code>", escape(name), escape(value))).collect();
        page.push_str(&format!(
            "<tr><td>{}</td><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
            escape(used.kind),
            used.digest,
            escape(&used.signed_by.join(", ")),
            facts.join("<br>")
        ));
    }
    page.push_str("</table>");
    if !verdict.notes().is_empty() {
        page.push_str("<h2>Notes</h2><ul>");
        for note in verdict.notes() {
            page.push_str(&format!("<li>{}</li>", escape(note)));
        }
        page.push_str("</ul>");
    }
    page.push_str("</body></html>\n");
    page
}

fn findings(findings: &[Finding]) -> String {
    let mut table = String::from("<table><tr><th>Edge</th><th>State</th><th>Expected</th><th>Found</th><th>Reason</th></tr>");
    for finding in findings {
        let reason = match finding.state {
            EdgeState::Broken | EdgeState::Unknown => format!("<b>{}</b><br>{}", finding.reason, escape(&finding.remedy)),
            EdgeState::Ok | EdgeState::NotRequired => String::new(),
        };
        table.push_str(&format!(
            "<tr class=\"{0}\"><td><b>{1}</b> {2}</td><td class=\"{0}\">{3}</td><td><code>{4}</code></td><td><code>{5}</code></td><td>{6}</td></tr>",
            class(finding.state),
            finding.edge,
            finding.edge.name(),
            finding.state.word(),
            escape(&finding.expected),
            escape(&finding.found),
            reason
        ));
    }
    table.push_str("</table>");
    table
}

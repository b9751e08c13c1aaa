//! The chain as a drawing: boxes are documents and people, lines are edges.

use assay_core::edge::{Edge, EdgeState};
use assay_core::verdict::{Used, Verdict};

use super::{class, escape};

const WIDTH: i32 = 178;
const HEIGHT: i32 = 92;
const LINES: usize = 4;

/// A box: where it stands, its title, the kind of document it shows, and the edges that touch it.
struct Place {
    title: &'static str,
    kind: &'static str,
    x: i32,
    y: i32,
}

const AUTHOR: Place = Place { title: "Authors", kind: "", x: 10, y: 20 };
const SOURCE: Place = Place { title: "Source SBOM", kind: "source SBOM", x: 265, y: 20 };
const COMMIT: Place = Place { title: "Commit", kind: "", x: 520, y: 20 };
const BEFORE: Place = Place { title: "Admitted before", kind: "", x: 775, y: 20 };
const PUBLISHER: Place = Place { title: "Publishers", kind: "", x: 10, y: 190 };
const DEFINITION: Place = Place { title: "Definition SBOM", kind: "definition SBOM", x: 265, y: 190 };
const RUN: Place = Place { title: "Build", kind: "provenance", x: 520, y: 190 };
const IMAGE: Place = Place { title: "Image", kind: "", x: 775, y: 190 };
const NODE: Place = Place { title: "Node", kind: "", x: 1030, y: 190 };
const GATE: Place = Place { title: "Gate", kind: "VSA", x: 265, y: 360 };
const INPUTS: Place = Place { title: "Inputs", kind: "", x: 520, y: 360 };
const CONTENTS: Place = Place { title: "Result SBOM", kind: "result SBOM", x: 775, y: 360 };
const REBUILDERS: Place = Place { title: "Rebuilders", kind: "", x: 1030, y: 360 };

/// An edge from the side of one box to the side of another; an offset keeps lines apart.
const LINKS: [(Edge, &Place, &Place, i32); 13] = [
    (Edge::E2, &AUTHOR, &SOURCE, 0),
    (Edge::E1, &SOURCE, &COMMIT, 0),
    (Edge::E11, &BEFORE, &COMMIT, 0),
    (Edge::E3, &PUBLISHER, &DEFINITION, -16),
    (Edge::E4, &PUBLISHER, &DEFINITION, 16),
    (Edge::E5, &DEFINITION, &RUN, 0),
    (Edge::E6, &COMMIT, &RUN, 0),
    (Edge::E7, &RUN, &IMAGE, 0),
    (Edge::E9, &GATE, &RUN, 0),
    (Edge::E13, &INPUTS, &RUN, 0),
    (Edge::E8, &CONTENTS, &IMAGE, 0),
    (Edge::E10, &REBUILDERS, &IMAGE, 0),
    (Edge::E12, &NODE, &IMAGE, 0),
];

/// The whole drawing.
pub(super) fn svg(verdict: &Verdict) -> String {
    let mut out =
        String::from("<svg class=\"graph\" viewBox=\"0 0 1220 470\" role=\"img\" aria-label=\"The chain of provenance\">");
    for (edge, from, to, offset) in LINKS {
        let state = state(verdict, edge);
        let (path, x, y) = line(from, to, offset);
        out.push_str(&format!(
            "<path class=\"edge {}\" d=\"{path}\"><title>{edge} {}: {}</title></path>",
            class(state),
            edge.name(),
            state.word()
        ));
        out.push_str(&format!(
            "<circle class=\"{0}\" cx=\"{x}\" cy=\"{y}\" r=\"13\"/><text class=\"label {0}\" x=\"{x}\" y=\"{1}\">{edge}</text>",
            class(state),
            y + 4
        ));
    }
    for place in
        [&AUTHOR, &SOURCE, &COMMIT, &BEFORE, &PUBLISHER, &DEFINITION, &RUN, &IMAGE, &NODE, &GATE, &INPUTS, &CONTENTS, &REBUILDERS]
    {
        out.push_str(&draw(verdict, place));
    }
    out.push_str("</svg>");
    out
}

/// An edge's state; for an index, the worst of its platforms.
fn state(verdict: &Verdict, edge: Edge) -> EdgeState {
    let findings = verdict.edges().iter().chain(verdict.children().iter().flat_map(|child| &child.edges));
    let states: Vec<EdgeState> = findings.filter(|finding| finding.edge == edge).map(|finding| finding.state).collect();
    [EdgeState::Broken, EdgeState::Unknown, EdgeState::Ok]
        .into_iter()
        .find(|state| states.contains(state))
        .unwrap_or(EdgeState::NotRequired)
}

/// A line between two boxes that stand beside, above or diagonally of each other, and the middle of it for the label.
fn line(from: &Place, to: &Place, offset: i32) -> (String, i32, i32) {
    let ((x1, y1), (x2, y2)) = if from.y == to.y {
        let y = from.y + HEIGHT / 2 + offset;
        if from.x < to.x { ((from.x + WIDTH, y), (to.x, y)) } else { ((from.x, y), (to.x + WIDTH, y)) }
    } else {
        let lean = (to.x - from.x).signum() * (WIDTH / 2 - 12);
        let (y1, y2) = if from.y < to.y { (from.y + HEIGHT, to.y) } else { (from.y, to.y + HEIGHT) };
        ((from.x + WIDTH / 2 + lean, y1), (to.x + WIDTH / 2 - lean, y2))
    };
    (format!("M{x1} {y1} L{x2} {y2}"), (x1 + x2) / 2, (y1 + y2) / 2)
}

fn draw(verdict: &Verdict, place: &Place) -> String {
    let touching = |wanted: EdgeState| {
        LINKS.iter().any(|(edge, from, to, _)| {
            (std::ptr::eq(*from, place) || to.title == place.title || from.title == place.title)
                && state(verdict, *edge) == wanted
        })
    };
    let used = touching(EdgeState::Ok) || touching(EdgeState::Broken) || touching(EdgeState::Unknown);
    let class = match (used, touching(EdgeState::Broken)) {
        (false, _) => "unused",
        (true, true) => "bad",
        (true, false) => "",
    };
    let mut out = format!(
        "<g class=\"{class}\"><rect x=\"{}\" y=\"{}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/><text class=\"title\" x=\"{}\" y=\"{}\">{}</text>",
        place.x,
        place.y,
        place.x + 10,
        place.y + 20,
        place.title
    );
    let facts = if used { facts(verdict, place) } else { vec!["not required".to_owned()] };
    for (row, fact) in facts.iter().take(LINES).enumerate() {
        let y = place.y + 38 + 15 * i32::try_from(row).unwrap_or(0);
        out.push_str(&format!("<text class=\"fact\" x=\"{}\" y=\"{y}\">{}</text>", place.x + 10, escape(&fit(fact))));
    }
    out.push_str("</g>");
    out
}

/// What a box says.
fn facts(verdict: &Verdict, place: &Place) -> Vec<String> {
    let of = |kind: &str| verdict.evidence().iter().find(|used| used.kind == kind);
    let fact = |used: Option<&Used>, name: &str| {
        used.and_then(|used| used.facts.iter().find(|(key, _)| key == name)).map(|(_, value)| value.clone())
    };
    let found = |edge: Edge| verdict.edge(edge).map(|finding| finding.found.clone()).into_iter().collect::<Vec<_>>();
    match place.title {
        "Authors" => of("source SBOM").map(|used| used.signed_by.clone()).unwrap_or_default(),
        "Publishers" => of("definition SBOM").map(|used| used.signed_by.clone()).unwrap_or_default(),
        "Commit" => [fact(of("provenance"), "commit"), fact(of("source SBOM"), "ref"), fact(of("source SBOM"), "repository")]
            .into_iter()
            .flatten()
            .collect(),
        "Image" => {
            vec![verdict.digest().to_string(), verdict.repository().path().to_owned(), verdict.repository().host().to_owned()]
        }
        "Admitted before" => found(Edge::E11),
        "Node" => found(Edge::E12),
        "Inputs" => {
            let inputs = of("provenance")
                .map(|used| {
                    used.facts
                        .iter()
                        .filter(|(name, _)| name.starts_with("input "))
                        .map(|(name, _)| name.trim_start_matches("input ").to_owned())
                        .collect::<Vec<_>>()
                })
                .unwrap_or_default();
            if inputs.is_empty() { found(Edge::E13) } else { inputs }
        }
        "Rebuilders" => found(Edge::E10),
        "Build" => [
            of("provenance").map(|used| used.signed_by.join(", ")),
            fact(of("provenance"), "builder"),
            fact(of("provenance"), "tree"),
            fact(of("provenance"), "started"),
        ]
        .into_iter()
        .flatten()
        .collect(),
        "Gate" => [
            of("VSA").map(|used| used.signed_by.join(", ")),
            fact(of("VSA"), "verifier"),
            fact(of("VSA"), "levels"),
            fact(of("VSA"), "time"),
        ]
        .into_iter()
        .flatten()
        .collect(),
        _ => of(place.kind)
            .map(|used| {
                vec![
                    used.digest.to_string(),
                    fact(Some(used), "tree")
                        .or_else(|| fact(Some(used), "packages").map(|count| format!("{count} packages")))
                        .unwrap_or_default(),
                ]
            })
            .unwrap_or_default(),
    }
}

/// Cuts a digest, a URL or a name to the width of a box.
fn fit(text: &str) -> String {
    const CHARACTERS: usize = 23;
    let text = text.strip_prefix("https://").unwrap_or(text);
    if text.chars().count() <= CHARACTERS {
        return text.to_owned();
    }
    if text.starts_with("sha256:") || text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return text.chars().take(CHARACTERS - 1).chain(['…']).collect();
    }
    // Of a sentence the beginning says more, of a URL or path the end.
    if text.contains(' ') {
        return text.chars().take(CHARACTERS - 1).chain(['…']).collect();
    }
    let skip = text.chars().count() - (CHARACTERS - 1);
    std::iter::once('…').chain(text.chars().skip(skip)).collect()
}

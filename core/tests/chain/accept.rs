//! Chains that hold.

use assay_core::edge::{Edge, EdgeState};
use assay_core::verdict::Outcome;

use super::world::Draft;

#[test]
fn an_honest_chain_is_verified_edge_by_edge() {
    let verdict = Draft::default().verdict();
    for finding in verdict.edges() {
        let expected = match finding.edge {
            Edge::E3 | Edge::E4 | Edge::E5 | Edge::E10 | Edge::E12 => EdgeState::NotRequired,
            _ => EdgeState::Ok,
        };
        assert_eq!(finding.state, expected, "{finding:?}");
    }
    assert_eq!(verdict.outcome(), Outcome::Verified);
    assert!(verdict.verified().is_some());
    let kinds: Vec<&str> = verdict.evidence().iter().map(|used| used.kind).collect();
    assert_eq!(kinds, ["provenance", "VSA", "source SBOM", "result SBOM"]);
}

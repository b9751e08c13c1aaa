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

#[test]
fn a_verdict_becomes_a_vsa_that_says_no_more_than_it() {
    let (subject, summary) = assay_core::vsa::of_verdict(&Draft::default().verdict(), "https://arbiter.example.com").unwrap();
    assert_eq!(summary.verification_result, "PASSED");
    assert_eq!(summary.verified_levels, ["E1", "E2", "E6", "E7", "E8", "E9", "E11", "E13"].map(|edge| format!("ASSAY_{edge}")));
    assert_eq!(subject.sha256(), Some(Draft::default().build().evidence.digest));
    let mut world = Draft::default().build();
    world.evidence.sboms.clear();
    let (_, failed) = assay_core::vsa::of_verdict(&world.verdict(), "https://arbiter.example.com").unwrap();
    assert_eq!((failed.verification_result.as_str(), failed.verified_levels), ("FAILED", vec!["FAILED".to_owned()]));
    world.evidence.incomplete.push("timeout".into());
    assert!(assay_core::vsa::of_verdict(&world.verdict(), "https://arbiter.example.com").is_none());
}

//! E12: the node that will run it is attested now.

use super::{Placement, State};
use crate::edge::{Edge, Finding};
use crate::policy::Policy;
use crate::reason::Reason;
use crate::time::Timestamp;

pub(super) fn judge(policy: &Policy, state: &State<'_>, now: Timestamp) -> Finding {
    let Some(required) = &policy.spec().node else { return Finding::not_required(Edge::E12) };
    let node = match &state.placement {
        Placement::NotPlaced => {
            let mut finding = Finding::not_required(Edge::E12);
            finding.found = "judged when a node is chosen".into();
            return finding;
        }
        Placement::Node(node) => node,
    };
    let expected = format!("node {:?} attested within {} s", node.name, required.max_age_seconds);
    if node.failed {
        return Finding::refused(Edge::E12, Reason::NodeNotAttested, expected, "its last attestation failed");
    }
    let Some(passed) = node.last_passed else {
        return Finding::refused(Edge::E12, Reason::NodeStale, expected, "no passing attestation is known");
    };
    let age = now.seconds() - passed.seconds();
    if age < 0 || age > i64::from(required.max_age_seconds) {
        return Finding::refused(Edge::E12, Reason::NodeStale, expected, format!("last passed at {passed}, it is {now}"));
    }
    if let Err(shortfall) = required.wanted().check(&node.checked) {
        return Finding::refused(Edge::E12, Reason::NodeNotChecked, expected, shortfall.to_string());
    }
    Finding::ok(Edge::E12, expected, format!("passed at {passed}"))
}

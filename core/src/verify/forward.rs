//! E11: not older than what was admitted before for this source repository, image repository and namespace, unless people the policy
//! names signed that it may be.

use super::Chain;
use super::gate::Gate;
use super::source::Source;
use super::word::Listener;
use crate::edge::{Edge, EdgeState, Finding};
use crate::reason::Reason;

pub(super) fn judge(chain: &mut Chain<'_>, gate: &Gate, source: &Source) -> Finding {
    let Some(forward_only) = &chain.policy.spec().forward_only else {
        return Finding::not_required(Edge::E11);
    };
    let finding = order(chain, gate, source);
    let (Some(authority), Some(before)) = (&forward_only.rollback_authority, &chain.state.high_water) else {
        return finding;
    };
    // What is missing, rather than older, no rollback can mend.
    if finding.state == EdgeState::Ok || finding.reason == Reason::EarlierEdgeBroken {
        return finding;
    }
    let listener = Listener { evidence: chain.evidence, state: chain.state, revoked: chain.revoked, now: chain.now };
    let rollbacks = listener.rollbacks(authority);
    let Some(names) = rollbacks.lifted(&before.commit) else { return finding };
    chain.used.extend(rollbacks.used);
    Finding::ok(Edge::E11, finding.expected, format!("{}; rollback from {} signed by {names}", finding.found, before.commit))
}

fn order(chain: &Chain<'_>, gate: &Gate, source: &Source) -> Finding {
    let Some(known) = &source.known else {
        return Finding::refused(Edge::E11, Reason::EarlierEdgeBroken, "", "see E1");
    };
    let Some(before) = &chain.state.high_water else {
        return Finding::ok(Edge::E11, "nothing older than what was admitted", "nothing was admitted before");
    };
    let commit = chain.facts.commit;
    let expected = format!("{} or a descendant of it", before.commit);
    if before.commit == commit {
        return Finding::ok(Edge::E11, expected, "the same commit");
    }
    if known.commits.find(&before.commit).is_some() {
        return Finding::ok(Edge::E11, expected, format!("{commit} descends from it"));
    }
    let order = gate.summary.as_ref().and_then(|summary| summary.order.as_ref());
    let (Some(order), Some(depth)) = (order, before.depth) else {
        return Finding::refused(
            Edge::E11,
            Reason::OrderUnknown,
            expected,
            format!("{} ancestors carried, it is not among them", known.commits.ancestors.len()),
        );
    };
    if order.reference != before.reference {
        return Finding::refused(Edge::E11, Reason::HistoryDiverged, expected, format!("another ref: {}", order.reference));
    }
    let found = format!("{commit} at depth {}, admitted was depth {depth}", order.depth);
    if order.depth < depth {
        return Finding::refused(Edge::E11, Reason::OlderThanAdmitted, expected, found);
    }
    // As deep, but another commit; or deeper, with all its ancestors down to that depth carried and none of them it.
    if order.depth == depth || order.depth - depth <= first_parents(known) {
        return Finding::refused(Edge::E11, Reason::HistoryDiverged, expected, found);
    }
    Finding::ok(Edge::E11, expected, found)
}

/// How many first parents of the commit were carried.
fn first_parents(known: &crate::spdx::source::Replay) -> u64 {
    let mut count = 0;
    let mut next = known.commits.head.commit.parents.first();
    while let Some(object) = next.and_then(|id| known.commits.ancestors.iter().find(|object| object.id == *id)) {
        count += 1;
        next = object.commit.parents.first();
    }
    count
}

//! E11: not older than what was admitted before for this source repository, image repository and namespace.

use super::Chain;
use super::gate::Gate;
use super::source::Source;
use crate::edge::{Edge, Finding};
use crate::reason::Reason;

pub(super) fn judge(chain: &Chain<'_>, gate: &Gate, source: &Source) -> Finding {
    if chain.policy.spec().forward_only.is_none() {
        return Finding::not_required(Edge::E11);
    }
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

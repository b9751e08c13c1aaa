//! What to do next for one repository: which runs start, which are superseded, and which commits were missed.
//!
//! Pure: the caller brings what git and the cluster say, and carries out what is planned. Git's answer decides what is newest; the order
//! in which webhooks came decides nothing, since they overtake each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::digest::GitOid;
use crate::spdx::source::RefName;
use crate::time::Timestamp;

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// Created, and held until it is started.
    Pending,
    /// Started.
    Running,
    /// Ended, whatever the outcome.
    Done,
}

/// A run of one repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Name of the PipelineRun.
    pub name: String,
    /// The ref it builds for.
    pub reference: RefName,
    /// The commit it builds.
    pub commit: GitOid,
    /// When it was created.
    pub created: Timestamp,
    /// How far it is.
    pub state: RunState,
}

/// How much of a repository may be under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Most runs at once.
    pub running: usize,
    /// Most runs that wait. What comes above is not lost: git still has it, and it is caught up with later.
    pub pending: usize,
}

/// Why a run that has not started never will.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Superseded {
    /// Its ref has a newer commit.
    Newer,
    /// Its ref does not exist any more.
    Gone,
}

/// What to do, in order: cancel, start, ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Runs that wait in vain.
    pub cancel: Vec<(String, Superseded)>,
    /// Runs to start now.
    pub start: Vec<String>,
    /// Heads that nothing builds: refs and commits to send an event for.
    pub missed: Vec<(RefName, GitOid)>,
    /// What is now known of each ref, for the record.
    pub seen: BTreeMap<RefName, GitOid>,
}

/// What is known about a repository.
#[derive(Debug, Clone)]
pub struct Known<'a> {
    /// Heads of the refs that are built, as git says now; `None` if git was not asked or did not answer.
    pub heads: Option<&'a BTreeMap<RefName, GitOid>>,
    /// Its runs.
    pub runs: &'a [Run],
    /// For each ref the commit that was last built or passed over on purpose.
    pub seen: &'a BTreeMap<RefName, GitOid>,
}

/// Plans the next turn.
#[must_use]
pub fn plan(known: &Known<'_>, bounds: Bounds) -> Plan {
    let mut plan = Plan { seen: known.seen.clone(), ..Plan::default() };
    let waiting = waiting(known, &mut plan);
    let running = known.runs.iter().filter(|run| run.state == RunState::Running).count();
    let free = bounds.running.saturating_sub(running);
    plan.start = waiting.iter().take(free).map(|run| run.name.clone()).collect();
    let mut room = bounds.pending.saturating_sub(waiting.len().saturating_sub(plan.start.len()));
    if let Some(heads) = known.heads {
        // A ref that is gone is forgotten, so that it counts as new if it comes back.
        plan.seen.retain(|reference, _| heads.contains_key(reference));
        let built: BTreeSet<(&RefName, &GitOid)> = known.runs.iter().map(|run| (&run.reference, &run.commit)).collect();
        for (reference, commit) in heads {
            if built.contains(&(reference, commit)) {
                plan.seen.insert(reference.clone(), *commit);
            } else if plan.seen.get(reference) != Some(commit) && room > 0 {
                // Not recorded as seen: only a run that exists is.
                plan.missed.push((reference.clone(), *commit));
                room -= 1;
            }
        }
    }
    plan
}

/// Runs worth starting, oldest first, one for each ref; the others are cancelled.
fn waiting<'a>(known: &Known<'a>, plan: &mut Plan) -> Vec<&'a Run> {
    let mut by_ref: BTreeMap<&RefName, Vec<&Run>> = BTreeMap::new();
    for run in known.runs.iter().filter(|run| run.state == RunState::Pending) {
        by_ref.entry(&run.reference).or_default().push(run);
    }
    let mut waiting = Vec::new();
    for (reference, mut runs) in by_ref {
        // Newest last; the name only makes the order total.
        runs.sort_by_key(|run| (run.created, &run.name));
        let head = known.heads.map(|heads| heads.get(reference));
        let is_branch = reference.as_str().starts_with("refs/heads/");
        let keep = match head {
            Some(Some(head)) => runs.iter().rposition(|run| run.commit == *head),
            // A branch that git does not have any more. Other refs, such as those of pull requests, are not always listed.
            Some(None) if is_branch => None,
            Some(None) | None => runs.len().checked_sub(1),
        };
        for (index, run) in runs.into_iter().enumerate() {
            if Some(index) == keep {
                waiting.push(run);
            } else {
                let gone = matches!(head, Some(None)) && is_branch;
                plan.cancel.push((run.name.clone(), if gone { Superseded::Gone } else { Superseded::Newer }));
            }
        }
    }
    waiting.sort_by_key(|run| (run.created, &run.name));
    waiting
}

/// At first sight of a repository every head counts as seen: what was there before is nobody's missed event.
#[must_use]
pub fn first_sight(heads: &BTreeMap<RefName, GitOid>) -> BTreeMap<RefName, GitOid> {
    heads.clone()
}

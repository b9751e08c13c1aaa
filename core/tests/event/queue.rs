//! Which runs start, which are superseded, and which commits were missed.

use std::collections::BTreeMap;

use assay_core::digest::GitOid;
use assay_core::event::naming::{label, run_name};
use assay_core::event::queue::{Bounds, Known, Plan, Run, RunState, Superseded, plan};
use assay_core::git::RepositoryUrl;
use assay_core::spdx::source::RefName;
use assay_core::time::Timestamp;
use proptest::prelude::*;

const BOUNDS: Bounds = Bounds { running: 2, pending: 5 };

fn commit(number: u8) -> GitOid {
    GitOid::Sha1([number; 20])
}

fn reference(name: &str) -> RefName {
    format!("refs/{name}").parse().unwrap()
}

fn run(name: &str, at: &str, number: u8, created: i64, state: RunState) -> Run {
    Run {
        name: name.into(),
        reference: reference(at),
        commit: commit(number),
        created: Timestamp::from_seconds(created).unwrap(),
        state,
    }
}

fn heads(list: &[(&str, u8)]) -> BTreeMap<RefName, GitOid> {
    list.iter().map(|(name, number)| (reference(name), commit(*number))).collect()
}

fn planned(heads: Option<&BTreeMap<RefName, GitOid>>, runs: &[Run], seen: &BTreeMap<RefName, GitOid>) -> Plan {
    plan(&Known { heads, runs, seen }, BOUNDS)
}

#[test]
fn of_concurrent_pushes_the_one_git_has_is_built_whatever_came_last() {
    // Created in the same second, and the newer one first: only git tells.
    let runs = [
        run("a", "heads/main", 2, 100, RunState::Pending),
        run("b", "heads/main", 1, 100, RunState::Pending),
        run("c", "heads/main", 3, 101, RunState::Pending),
    ];
    let plan = planned(Some(&heads(&[("heads/main", 2)])), &runs, &BTreeMap::new());
    assert_eq!(plan.start, ["a"]);
    assert_eq!(plan.cancel, [("b".to_owned(), Superseded::Newer), ("c".to_owned(), Superseded::Newer)]);
    assert!(plan.missed.is_empty());
}

/// A replayed webhook about an old commit costs no pod: git does not have it as head any more.
#[test]
fn threat_a_run_for_a_commit_that_is_no_head_never_starts() {
    let runs = [run("old", "heads/main", 1, 100, RunState::Pending)];
    let plan = planned(Some(&heads(&[("heads/main", 9)])), &runs, &BTreeMap::new());
    assert_eq!(plan.cancel, [("old".to_owned(), Superseded::Newer)]);
    assert!(plan.start.is_empty());
    assert_eq!(plan.missed, [(reference("heads/main"), commit(9))], "and the head is built instead");
}

#[test]
fn runs_of_deleted_branches_never_start_and_other_refs_are_kept() {
    let runs = [run("gone", "heads/gone", 1, 100, RunState::Pending), run("pull", "pull/7/head", 1, 100, RunState::Pending)];
    let plan = planned(Some(&heads(&[])), &runs, &BTreeMap::new());
    assert_eq!(plan.cancel, [("gone".to_owned(), Superseded::Gone)]);
    assert_eq!(plan.start, ["pull"]);
}

#[test]
fn without_git_the_newest_by_creation_starts_and_nothing_is_missed() {
    let runs = [run("a", "heads/main", 1, 100, RunState::Pending), run("b", "heads/main", 2, 101, RunState::Pending)];
    let seen = heads(&[("heads/main", 1)]);
    let plan = planned(None, &runs, &seen);
    assert_eq!((plan.start, plan.missed), (vec!["b".to_owned()], Vec::new()));
    assert_eq!(plan.seen, seen);
}

#[test]
fn what_runs_is_bounded_and_the_oldest_starts_first() {
    let runs = [
        run("r", "heads/r", 1, 50, RunState::Running),
        run("x", "heads/x", 1, 103, RunState::Pending),
        run("y", "heads/y", 1, 101, RunState::Pending),
        run("z", "heads/z", 1, 102, RunState::Pending),
    ];
    assert_eq!(planned(None, &runs, &BTreeMap::new()).start, ["y"]);
}

#[test]
fn a_lost_webhook_loses_no_commit_and_the_same_commit_is_not_built_twice() {
    let seen = heads(&[("heads/main", 1), ("heads/old", 4)]);
    let now = heads(&[("heads/main", 2), ("heads/new", 7)]);
    let plan = planned(Some(&now), &[], &seen);
    assert_eq!(plan.missed, [(reference("heads/main"), commit(2)), (reference("heads/new"), commit(7))]);
    assert_eq!(plan.seen, heads(&[("heads/main", 1)]), "asked for is not built, and a branch that is gone is forgotten");
    // Once the runs exist, in whatever state, nothing more is asked for.
    for state in [RunState::Pending, RunState::Running, RunState::Done] {
        let runs = [run("m", "heads/main", 2, 100, state), run("n", "heads/new", 7, 100, state)];
        let plan = planned(Some(&now), &runs, &seen);
        assert!(plan.missed.is_empty());
        assert_eq!(plan.seen, now);
        // Nor when they have been pruned.
        assert!(planned(Some(&now), &[], &plan.seen).missed.is_empty());
    }
}

#[test]
fn what_waits_is_bounded_and_what_found_no_room_is_asked_for_later() {
    let many: Vec<(String, u8)> = (0..20).map(|index| (format!("heads/b{index:02}"), index)).collect();
    let many: Vec<(&str, u8)> = many.iter().map(|(name, number)| (name.as_str(), *number)).collect();
    let now = heads(&many);
    let mut runs: Vec<Run> = Vec::new();
    let mut seen = BTreeMap::new();
    let mut rounds = 0;
    while seen.len() < 20 {
        let plan = planned(Some(&now), &runs, &seen);
        assert!(plan.missed.len() <= BOUNDS.pending);
        for run in &mut runs {
            if run.state == RunState::Running {
                run.state = RunState::Done;
            }
            if plan.start.contains(&run.name) {
                run.state = RunState::Running;
            }
        }
        for (reference, commit) in &plan.missed {
            let name = format!("run-{}", reference.as_str());
            runs.push(Run {
                name,
                reference: reference.clone(),
                commit: *commit,
                created: Timestamp::from_seconds(rounds).unwrap(),
                state: RunState::Pending,
            });
        }
        assert!(runs.iter().filter(|run| run.state == RunState::Pending).count() <= BOUNDS.pending + BOUNDS.running);
        assert!(runs.iter().filter(|run| run.state == RunState::Running).count() <= BOUNDS.running);
        seen = plan.seen;
        rounds += 1;
        assert!(rounds < 100, "every head is built in the end");
    }
    assert_eq!(runs.len(), 20, "each once");
}

#[test]
fn names_of_runs_are_the_same_for_the_same_build_and_fit_kubernetes() {
    let url: RepositoryUrl = "https://github.com/Team/Some_very-long.Repository-name-".parse().unwrap();
    let name = run_name(&url, &reference("heads/main"), &commit(0xab));
    assert_eq!(name, run_name(&url, &reference("heads/main"), &commit(0xab)));
    assert!(name.starts_with("some-very-long-repos-abababababab-"), "{name}");
    assert!(name.len() <= 46, "{name}");
    assert_ne!(name, run_name(&url, &reference("heads/next"), &commit(0xab)));
    assert_ne!(
        name,
        run_name(
            &"https://github.com/x/Some_very-long.Repository-name-".parse().unwrap(),
            &reference("heads/main"),
            &commit(0xab)
        )
    );
    assert!(run_name(&"https://h/12".parse().unwrap(), &reference("heads/main"), &commit(1)).starts_with("run-"));
    assert_eq!(label(&reference("heads/feature/x+y")), "heads_feature_x_y");
    let long = format!("heads/{}", "x/".repeat(60) + "end");
    assert!(label(&reference(&long)).len() <= 63);
}

proptest! {
    /// Whatever comes: nothing is both started and cancelled, at most one run starts for each ref, and bounds hold.
    #[test]
    fn plans_keep_their_bounds(
        runs in proptest::collection::vec((0u8..4, 0u8..4, 0i64..5, 0u8..3), 0..30),
        head in proptest::option::of(proptest::collection::btree_map(0u8..4, 0u8..4, 0..4)),
        bounds in (0usize..4, 0usize..6),
    ) {
        let runs: Vec<Run> = runs.iter().enumerate().map(|(index, (at, number, created, state))| {
            let state = [RunState::Pending, RunState::Running, RunState::Done][usize::from(*state)];
            run(&format!("r{index}"), &format!("heads/b{at}"), *number, *created, state)
        }).collect();
        let now = head.map(|head| head.iter().map(|(at, number)| (reference(&format!("heads/b{at}")), commit(*number))).collect::<BTreeMap<_, _>>());
        let bounds = Bounds { running: bounds.0, pending: bounds.1 };
        let plan = plan(&Known { heads: now.as_ref(), runs: &runs, seen: &BTreeMap::new() }, bounds);
        let running = runs.iter().filter(|run| run.state == RunState::Running).count();
        prop_assert!(plan.start.len() <= bounds.running.saturating_sub(running));
        prop_assert!(plan.missed.len() <= bounds.pending);
        let mut refs = std::collections::BTreeSet::new();
        for name in &plan.start {
            prop_assert!(!plan.cancel.iter().any(|(other, _)| other == name));
            let run = runs.iter().find(|run| run.name == *name).unwrap();
            prop_assert!(refs.insert(run.reference.clone()));
            if let Some(now) = &now {
                prop_assert_eq!(now.get(&run.reference), Some(&run.commit));
            }
        }
        for (reference, commit) in &plan.missed {
            prop_assert!(!runs.iter().any(|run| run.reference == *reference && run.commit == *commit));
        }
    }
}

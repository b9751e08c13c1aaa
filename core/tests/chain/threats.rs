//! The threats of the design that need no cluster, and the lessons of how others were bypassed, each by name.

use assay_core::digest::{Digest, GitOid};
use assay_core::edge::{Edge, EdgeState};
use assay_core::evidence::Attestation;
use assay_core::keylime::Checked;
use assay_core::reason::Reason;
use assay_core::statement::{ResourceDescriptor, render};
use assay_core::time::Timestamp;
use assay_core::verdict::{Outcome, Verdict};
use assay_core::verify::{HighWater, NodeState, Placement, RevocationList, RevocationTarget, Revoked, State};
use serde_json::json;

use super::world::{Draft, NOW, World, author, builder, completion, gate, identity, now, oid_of_commit, rebuilder, stranger};

pub(crate) fn broken(verdict: &Verdict, edge: Edge, reason: Reason) {
    let finding = verdict.edge(edge).unwrap();
    assert_eq!((finding.state, finding.reason), (EdgeState::Broken, reason), "{finding:?}\nall: {:#?}", verdict.edges());
    assert!(verdict.verified().is_none());
}

fn unknown(verdict: &Verdict, edge: Edge, reason: Reason) {
    let finding = verdict.edge(edge).unwrap();
    assert_eq!((finding.state, finding.reason), (EdgeState::Unknown, reason), "{finding:?}");
    assert_eq!(verdict.outcome(), Outcome::Unknown);
}

pub(crate) fn with_policy(more: String) -> Draft {
    Draft { policy: Box::new(move |policy| policy.push_str(&more)), ..Draft::default() }
}

#[test]
fn threat_valid_signature_by_a_person_not_allowed() {
    broken(&Draft { source_signers: vec![stranger()], ..Draft::default() }.verdict(), Edge::E2, Reason::TooFewSignatures);
}

#[test]
fn threat_old_signed_tree_committed_again_on_top_of_main() {
    let elsewhere = vec![oid_of_commit(
        b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\nauthor A <a@b> 1 +0000\ncommitter A <a@b> 1 +0000\n\nx\n",
    )];
    broken(&Draft { commit_parents: Some(elsewhere), ..Draft::default() }.verdict(), Edge::E1, Reason::ParentsMismatch);
}

#[test]
fn threat_authors_other_repository() {
    let draft = Draft {
        place: Box::new(|place| place.url = "https://git.example.com/team/other.git".parse().unwrap()),
        ..Draft::default()
    };
    broken(&draft.verdict(), Edge::E1, Reason::RepositoryNotAllowed);
}

#[test]
fn threat_author_of_another_ref() {
    let draft = Draft { place: Box::new(|place| place.reference = "refs/heads/experiment".parse().unwrap()), ..Draft::default() };
    broken(&draft.verdict(), Edge::E1, Reason::RefNotAllowed);
}

#[test]
fn threat_extra_missing_renamed_or_changed_file() {
    let honest = Draft::default().build();
    let other_files: [Vec<(&'static str, Vec<u8>)>; 4] = [
        vec![("assay.toml", b"[image]\n".to_vec()), ("src/main.c", b"int main(void){return 0;}\n".to_vec()), ("evil.sh", vec![])],
        vec![("assay.toml", b"[image]\n".to_vec())],
        vec![("assay.toml", b"[image]\n".to_vec()), ("src/Main.c", b"int main(void){return 0;}\n".to_vec())],
        vec![("assay.toml", b"[image]\n".to_vec()), ("src/main.c", b"int main(void){return 1;}\n".to_vec())],
    ];
    for files in other_files {
        // The commit of another tree, with the SBOM and signature of the honest one.
        let mut world = Draft { files, ..Draft::default() }.build();
        let commits = std::mem::take(&mut world.evidence.sources[0].commits);
        world.evidence.sources[0] = honest.evidence.sources[0].clone();
        world.evidence.sources[0].commits = commits;
        let (commit, source) = (world.commit, Digest::of(&honest.source_sbom));
        let lying = Draft { facts: Box::new(move |facts| (facts.commit, facts.source) = (commit, source)), ..Draft::default() };
        let mut built = lying.build();
        built.evidence.sources = world.evidence.sources;
        broken(&built.verdict(), Edge::E1, Reason::TreeMismatch);
    }
}

#[test]
fn threat_evidence_of_image_a_attached_to_image_b() {
    let mut world = Draft::default().build();
    world.evidence.manifest =
        String::from_utf8(world.evidence.manifest).unwrap().replace("\"size\":5", "\"size\":6").into_bytes();
    world.evidence.digest = Digest::of(&world.evidence.manifest);
    broken(&world.verdict(), Edge::E7, Reason::ProvenanceMissing);
}

#[test]
fn threat_copied_image_in_another_repository() {
    let mut world = Draft::default().build();
    world.evidence.repository = "registry.example.com/team/app/copy".parse().unwrap();
    broken(&world.verdict(), Edge::E7, Reason::ImageNotCovered);
    let draft =
        Draft { facts: Box::new(|facts| facts.repository = "registry.example.com/team/elsewhere".into()), ..Draft::default() };
    broken(&draft.verdict(), Edge::E7, Reason::OtherRepository);
}

#[test]
fn threat_registry_returns_other_bytes() {
    let mut world = Draft::default().build();
    world.evidence.manifest.push(b' ');
    broken(&world.verdict(), Edge::E7, Reason::ImageInvalid);
}

#[test]
fn threat_failed_run_is_signed_too() {
    let draft = Draft {
        provenance: Box::new(|value| {
            value["predicate"]["runDetails"]["byproducts"]
                .as_array_mut()
                .unwrap()
                .retain(|byproduct| byproduct["name"] != "complete");
        }),
        ..Draft::default()
    };
    broken(&draft.verdict(), Edge::E7, Reason::RunNotComplete);
}

#[test]
fn threat_parameters_point_at_another_commit_than_the_gate_saw() {
    let other = Draft { files: vec![("assay.toml", b"[image]\n".to_vec()), ("b", vec![1])], ..Draft::default() }.build();
    let (commit, source) = (other.commit, Digest::of(&other.source_sbom));
    let tree = other.facts.tree_digest;
    let mut world = Draft {
        facts: Box::new(move |facts| (facts.commit, facts.source, facts.tree_digest) = (commit, source, tree)),
        ..Draft::default()
    }
    .build();
    world.evidence.sources = other.evidence.sources;
    broken(&world.verdict(), Edge::E9, Reason::GateMismatch);
}

#[test]
fn threat_vsa_of_another_run() {
    broken(
        &Draft { facts: Box::new(|facts| facts.run = "run-2".into()), ..Draft::default() }.verdict(),
        Edge::E9,
        Reason::GateOtherRun,
    );
}

#[test]
fn threat_vsa_replayed_after_a_policy_change() {
    let draft = Draft {
        summary: Box::new(|summary| summary.policy = ResourceDescriptor::new("", "", Digest::of(b"an older policy"))),
        ..Draft::default()
    };
    broken(&draft.verdict(), Edge::E9, Reason::GatePolicyNotAccepted);
}

#[test]
fn threat_stale_vsa_or_one_made_after_the_run() {
    for seconds in [NOW - 590 - 3601, NOW - 589] {
        let draft = Draft {
            summary: Box::new(move |summary| summary.time_verified = Timestamp::from_seconds(seconds).unwrap()),
            ..Draft::default()
        };
        broken(&draft.verdict(), Edge::E9, Reason::GateStale);
    }
}

#[test]
fn threat_recipe_from_outside_the_signed_source() {
    let draft =
        Draft { facts: Box::new(|facts| facts.recipe = Some(("assay.toml".into(), Digest::of(b"other")))), ..Draft::default() };
    broken(&draft.verdict(), Edge::E6, Reason::RecipeMismatch);
}

#[test]
fn threat_result_sbom_of_another_image_or_source() {
    let other =
        Draft { result_sbom: Box::new(|sbom| sbom.packages[0].checksums[0].checksum_value = "0".repeat(64)), ..Draft::default() };
    broken(&other.verdict(), Edge::E8, Reason::ResultSbomOtherImage);
    let other = Draft {
        result_sbom: Box::new(|sbom| sbom.external_document_refs[0].checksum.checksum_value = "0".repeat(64)),
        ..Draft::default()
    };
    broken(&other.verdict(), Edge::E8, Reason::ResultSbomOtherSource);
    let none = Draft { result_sbom: Box::new(|sbom| drop(sbom.relationships.pop())), ..Draft::default() };
    broken(&none.verdict(), Edge::E8, Reason::ResultSbomOtherSource);
}

#[test]
fn denied_packages_licences_and_conditions_are_refused_by_name() {
    let package = Draft {
        result_sbom: Box::new(|sbom| sbom.packages[1].external_refs[0].reference_locator = "pkg:npm/event-stream@3.3.6".into()),
        ..Draft::default()
    };
    broken(&package.verdict(), Edge::E8, Reason::PackageDenied);
    let swap = |sbom: &'static str| Draft {
        policy: Box::new(move |policy| {
            let start = policy.find("  sbom:").unwrap();
            let end = start + policy[start..].find('\n').unwrap();
            policy.replace_range(start..end, sbom);
        }),
        result_sbom: Box::new(|document| document.packages[1].license_declared = Some("MIT OR GPL-3.0-only".into())),
        ..Draft::default()
    };
    broken(&swap("  sbom: {deniedLicenses: [GPL-3.0-only]}").verdict(), Edge::E8, Reason::LicenseDenied);
    broken(&swap("  sbom: {requiredRelationships: [BUILD_TOOL_OF]}").verdict(), Edge::E8, Reason::RelationshipMissing);
    let condition = "  sbom: {conditions: [{name: no zlib, message: zlib is not allowed, cel: \"!sbom.packages.exists(p, p.name == 'zlib')\"}]}";
    broken(&swap(condition).verdict(), Edge::E8, Reason::ConditionNotMet);
    let wrong = "  sbom: {conditions: [{name: typo, message: m, cel: \"build.hermetics\"}]}";
    unknown(&swap(wrong).verdict(), Edge::E8, Reason::ConditionFailed);
}

#[test]
fn threat_input_that_nobody_vouches_for() {
    let draft = Draft {
        facts: Box::new(|facts| facts.inputs.push(ResourceDescriptor::new("tool", "r.io/tool", Digest::of(b"tool")))),
        ..Draft::default()
    };
    broken(&draft.verdict(), Edge::E13, Reason::InputNotAllowed);
    let world = draft.build();
    let state = State { verified_inputs: [Digest::of(b"tool")].into(), ..State::first_look() };
    assert_eq!(world.verdict_with(&state).edge(Edge::E13).unwrap().state, EdgeState::Ok);
    let hermetic = Draft { facts: Box::new(|facts| facts.hermetic = None), ..Draft::default() };
    broken(&hermetic.verdict(), Edge::E13, Reason::NotHermetic);
}

#[test]
fn threat_older_commit_after_a_newer_one() {
    let world = Draft::default().build();
    let water = |commit: GitOid, depth: Option<u64>| State {
        high_water: Some(HighWater { commit, reference: "refs/heads/main".into(), depth }),
        ..State::first_look()
    };
    let newer = GitOid::sha1_of("commit", b"newer");
    broken(&world.verdict_with(&water(newer, Some(3))), Edge::E11, Reason::OlderThanAdmitted);
    broken(&world.verdict_with(&water(newer, Some(2))), Edge::E11, Reason::HistoryDiverged);
    broken(&world.verdict_with(&water(newer, Some(1))), Edge::E11, Reason::HistoryDiverged);
    unknown(&world.verdict_with(&water(newer, None)), Edge::E11, Reason::OrderUnknown);
    assert!(world.verdict_with(&water(world.parent, Some(1))).verified().is_some());
    assert!(world.verdict_with(&water(world.commit, Some(2))).verified().is_some());
}

#[test]
fn threat_node_that_failed_or_whose_verifier_is_down_or_answers_with_old_news() {
    let world = with_policy("  node: {maxAgeSeconds: 60}\n".into()).build();
    let on = |last: Option<i64>, failed| State {
        placement: Placement::Node(NodeState {
            name: "n1".into(),
            last_passed: last.map(|seconds| Timestamp::from_seconds(seconds).unwrap()),
            failed,
            checked: Checked { pcrs: [0, 7].into(), ..Checked::default() },
        }),
        ..State::first_look()
    };
    assert!(world.verdict_with(&on(Some(NOW - 60), false)).verified().is_some());
    broken(&world.verdict_with(&on(Some(NOW - 1), true)), Edge::E12, Reason::NodeNotAttested);
    unknown(&world.verdict_with(&on(Some(NOW - 61), false)), Edge::E12, Reason::NodeStale);
    unknown(&world.verdict_with(&on(Some(NOW + 1), false)), Edge::E12, Reason::NodeStale);
    unknown(&world.verdict_with(&on(None, false)), Edge::E12, Reason::NodeStale);
    let asks = |what: &str| with_policy(format!("  node: {{maxAgeSeconds: 60, {what}}}\n")).build();
    assert!(asks("pcrs: [0, 7]").verdict_with(&on(Some(NOW), false)).verified().is_some());
    for more in ["pcrs: [0, 1]", "measuredBoot: Required", "runtimePolicy: Required"] {
        broken(&asks(more).verdict_with(&on(Some(NOW), false)), Edge::E12, Reason::NodeNotChecked);
    }
}

pub(crate) fn rebuilds_policy(threshold: u8) -> String {
    let (one, two) = (identity("org-one", &rebuilder(1)), identity("org-two", &rebuilder(2)));
    format!("  rebuilds: {{threshold: {threshold}, identities: [{one}, {two}]}}\n")
}

/// What a rebuilder publishes: a statement, and with a match provenance of its own. `n` chooses the key; tens make it another statement.
pub(crate) fn rebuild(world: &World, n: u8, result: &str) -> Vec<Attestation> {
    super::rebuilds::Rebuild::of(world, n, result).attestations()
}

/// Lesson L6: thresholds count distinct identities, not attestations.
#[test]
fn lesson_l6_threat_a_rebuilder_counted_twice() {
    let draft = with_policy(rebuilds_policy(2));
    let mut world = draft.build();
    broken(&world.verdict(), Edge::E10, Reason::TooFewRebuilds);
    for n in [1, 11, 21] {
        let attestations = rebuild(&world, n, "MATCH");
        world.evidence.attestations.extend(attestations);
    }
    broken(&world.verdict(), Edge::E10, Reason::TooFewRebuilds);
    let second = rebuild(&world, 2, "MATCH");
    world.evidence.attestations.extend(second);
    assert!(world.verdict().verified().is_some());
    let mismatch = rebuild(&world, 1, "MISMATCH");
    world.evidence.attestations.extend(mismatch);
    broken(&world.verdict(), Edge::E10, Reason::RebuildMismatch);
}

#[test]
fn a_policy_of_rebuilds_alone_needs_no_builder() {
    let policy = format!(
        "apiVersion: assay.dev/v1alpha1\nkind: TrustPolicy\nmetadata: {{name: r}}\nspec:\n  mode: Enforce\n  images: [{{host: registry.example.com, path: team/app}}]\n{}",
        rebuilds_policy(1)
    );
    let mut world = Draft { policy: Box::new(move |text| text.clone_from(&policy)), ..Draft::default() }.build();
    broken(&world.verdict(), Edge::E10, Reason::TooFewRebuilds);
    let one = rebuild(&world, 2, "MATCH");
    world.evidence.attestations.extend(one);
    assert!(world.verdict().verified().is_some());
}

pub(crate) fn revocations(number: u64, revoked: Vec<Revoked>) -> Vec<u8> {
    let list = RevocationList {
        number,
        issued: Timestamp::from_seconds(NOW - 10).unwrap(),
        expires: Timestamp::from_seconds(NOW + 10).unwrap(),
        revoked,
    };
    let subject = [ResourceDescriptor::new("revocations", "", Digest::of(b"revocations"))];
    gate().attestation(&render(&subject, assay_core::verify::REVOCATIONS_TYPE, &list).unwrap()).bytes
}

#[test]
fn threat_revoked_key_commit_or_image() {
    let world = with_policy(format!("  revocations: {{identities: [{}]}}\n", identity("security", &gate()))).build();
    let verdict = |number, target: Option<RevocationTarget>, since: Option<i64>| {
        let since = since.map(|seconds| Timestamp::from_seconds(seconds).unwrap());
        let list =
            revocations(number, target.into_iter().map(|target| Revoked { target, since, reason: "stolen".into() }).collect());
        world.verdict_with(&State { revocations: Some((&list, 7)), ..State::first_look() })
    };
    assert!(verdict(7, None, None).verified().is_some());
    unknown(&verdict(6, None, None), Edge::E7, Reason::RevocationsStale);
    unknown(&world.verdict(), Edge::E7, Reason::RevocationsStale);
    broken(&verdict(7, Some(RevocationTarget::Key(author().public().id())), None), Edge::E2, Reason::TooFewSignatures);
    broken(&verdict(7, Some(RevocationTarget::Identity("alice".into())), None), Edge::E2, Reason::TooFewSignatures);
    broken(&verdict(7, Some(RevocationTarget::Commit(world.commit)), None), Edge::E1, Reason::Revoked);
    broken(&verdict(7, Some(RevocationTarget::Image(world.evidence.digest)), None), Edge::E7, Reason::Revoked);
    broken(&verdict(7, Some(RevocationTarget::Key(builder().public().id())), None), Edge::E7, Reason::ProvenanceMissing);
    // The gate saw the author's signature before `since`: it still counts. After it, not.
    assert!(verdict(7, Some(RevocationTarget::Key(author().public().id())), Some(NOW - 500)).verified().is_some());
    broken(&verdict(7, Some(RevocationTarget::Key(author().public().id())), Some(NOW - 700)), Edge::E2, Reason::TooFewSignatures);
}

/// Lesson L9: good evidence is found behind any amount of bad evidence, within the caps.
#[test]
fn lesson_l9_good_evidence_is_found_behind_junk() {
    let mut world = Draft::default().build();
    let good = std::mem::take(&mut world.evidence.attestations);
    for n in 0..900_u32 {
        let payload = render(
            &[ResourceDescriptor::new("", "", world.evidence.digest)],
            "https://slsa.dev/provenance/v1",
            &json!({ "n": n }),
        )
        .unwrap();
        world.evidence.attestations.push(stranger().attestation(&payload));
    }
    world.evidence.attestations.extend(good);
    assert!(world.verdict().verified().is_some());
}

/// Withheld or unreachable evidence is Unknown where it may exist, never a pass.
#[test]
fn lesson_l5_what_could_not_be_fetched_is_unknown() {
    let mut world = Draft::default().build();
    world.evidence.sboms.clear();
    broken(&world.verdict(), Edge::E8, Reason::ResultSbomMissing);
    world.evidence.incomplete.push("referrers: the registry answered 503".into());
    unknown(&world.verdict(), Edge::E8, Reason::EvidenceIncomplete);
}

/// A second, honest provenance neither hides nor replaces the first; a broken one does no harm.
#[test]
fn several_provenances_are_judged_each_on_its_own() {
    let mut world = Draft::default().build();
    let wrong = Draft { facts: Box::new(|facts| facts.run = "run-2".into()), ..Draft::default() }.build();
    world.evidence.attestations.insert(0, wrong.evidence.attestations[1].clone());
    assert!(world.verdict().verified().is_some());
    world.evidence.attestations.pop();
    broken(&world.verdict(), Edge::E9, Reason::GateOtherRun);
}

#[test]
fn the_completion_record_covers_every_fact() {
    let world = Draft::default().build();
    let honest = completion(&world.facts, &world.evidence.digest);
    assert_eq!(honest, world.facts.completion(&world.evidence.digest));
    let changes: [fn(&mut assay_core::provenance::BuildFacts); 8] = [
        |facts| facts.repository.push('x'),
        |facts| facts.url.push('x'),
        |facts| facts.commit = GitOid::sha1_of("commit", b""),
        |facts| facts.tree_digest = Digest::of(b"x"),
        |facts| facts.source = Digest::of(b"x"),
        |facts| facts.definition = Some(Digest::of(b"x")),
        |facts| facts.vsa = None,
        |facts| facts.sboms.clear(),
    ];
    for change in changes {
        let mut facts = world.facts.clone();
        change(&mut facts);
        assert_ne!(facts.completion(&world.evidence.digest), honest);
    }
    assert_ne!(world.facts.completion(&Digest::of(b"another image")), honest);
}

#[test]
fn git_is_asked_where_the_policy_says_so() {
    let draft =
        Draft { policy: Box::new(|policy| *policy = policy.replace("binding: Provenance", "binding: Git")), ..Draft::default() };
    let world = draft.build();
    unknown(&world.verdict(), Edge::E1, Reason::GitNotConsulted);
    let says = |tree_digest| State {
        git: Some(assay_core::verify::GitSays { commit: world.commit, tree_digest }),
        ..State::first_look()
    };
    assert!(world.verdict_with(&says(world.facts.tree_digest)).verified().is_some());
    broken(&world.verdict_with(&says(Digest::of(b"x"))), Edge::E1, Reason::TreeMismatch);
    assert_eq!(now().seconds(), NOW);
}

//! A real PipelineRun as Tekton Chains signed it, verified as a whole; and what an editor of its namespace made Chains sign.

use assay_core::digest::Digest;
use assay_core::edge::{Edge, EdgeState};
use assay_core::evidence::{Attestation, DefinitionEvidence, Evidence, Output, Sbom, SignatureDocument, SourceEvidence};
use assay_core::git::commit::write_commits;
use assay_core::policy::Policy;
use assay_core::provenance::{slsa, tekton};
use assay_core::reason::Reason;
use assay_core::signature::{Identity, PublicKey, SignatureFormat, verify_attestation};
use assay_core::time::Timestamp;
use assay_core::verdict::Verdict;
use assay_core::verify::{State, verify};
use serde_json::Value;

macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!("../../testdata/tekton-run/", $name)).as_slice()
    };
}

const IMAGE: &[u8] = recorded!("image.dsse.json");
const BUILD: &[u8] = recorded!("build.dsse.json");

fn facts() -> Value {
    serde_json::from_slice(recorded!("recorded.json")).unwrap()
}

fn text(name: &str) -> String {
    facts()[name].as_str().unwrap().to_owned()
}

fn signature(name: &str, bytes: &[u8]) -> SignatureDocument {
    let media_type = SignatureFormat::Bundle.media_type().to_owned();
    SignatureDocument { media_type, file_name: name.to_owned(), bytes: bytes.to_vec() }
}

fn evidence(closing: &[&[u8]], build: &[&[u8]]) -> Evidence {
    let manifest = recorded!("image.manifest.json").to_vec();
    let mut evidence = Evidence::of_image(text("image").parse().unwrap(), Digest::of(&manifest), manifest);
    evidence.sources.push(SourceEvidence {
        sbom: recorded!("source.spdx.json").to_vec(),
        commits: write_commits([recorded!("commit")]),
        signatures: vec![signature("alice.sigstore.json", recorded!("source-alice.sigstore.json"))],
    });
    evidence.definitions.push(DefinitionEvidence {
        documents: vec![recorded!("definition-assay-image").to_vec(), recorded!("definition-assay-command").to_vec()],
        sbom: recorded!("definition.spdx.json").to_vec(),
        signatures: vec![signature("", recorded!("definition.sigstore.json"))],
    });
    evidence.sboms.push(Sbom { media_type: "application/spdx+json".into(), bytes: recorded!("result.spdx.json").to_vec() });
    let attestation = |bytes: &[u8]| Attestation { bytes: bytes.to_vec() };
    evidence.attestations.push(attestation(recorded!("vsa.sigstore.json")));
    evidence.attestations.extend(closing.iter().map(|bytes| attestation(bytes)));
    let attestations = build.iter().map(|bytes| attestation(bytes)).collect();
    evidence.outputs.push(Output { digest: text("output").parse().unwrap(), attestations });
    evidence
}

fn policy(change: impl Fn(&mut String)) -> Policy {
    let key = |pem: &[u8]| Value::from(std::str::from_utf8(pem).unwrap()).to_string();
    let images: Vec<String> = facts()["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| format!("{{name: step, digest: \"{}\"}}", image.as_str().unwrap().rsplit_once('@').unwrap().1))
        .collect();
    let mut policy = format!(
        "apiVersion: assay.dev/v1alpha1
kind: TrustPolicy
metadata: {{name: recorded}}
spec:
  mode: Enforce
  images: [{{host: \"10.87.0.10:5000\", path: record/app}}]
  sources: {{repositories: [\"{}\"], refs: [refs/heads/main], binding: Provenance}}
  authors: {{threshold: 1, identities: [{{name: alice, keys: [{{key: {}}}]}}]}}
  definitions: {{threshold: 1, identities: [{{name: publisher, keys: [{{key: {}}}]}}]}}
  gates: {{verifierId: https://gate.example.com, identities: [{{name: gate, keys: [{{key: {}}}]}}], policyDigests: [\"sha256:{}\"], maxAgeSeconds: 600}}
  builders: [{{id: {}, buildTypes: [https://tekton.dev/chains/v2/slsa-tekton], identities: [{{name: chains, keys: [{{key: {}}}]}}]}}]
  run: {{serviceAccounts: [build]}}
  inputs: {{images: [{}], hermetic: NotRequired, contents: NotRequired}}
  sbom: {{deniedPackages: [{{purl: \"pkg:npm/event-stream\"}}]}}
",
        text("url"),
        key(recorded!("author.pub")),
        key(recorded!("publisher.pub")),
        key(recorded!("gate.pub")),
        "ab".repeat(32),
        text("chainsBuilder"),
        key(recorded!("chains.pub")),
        images.join(", "),
    );
    change(&mut policy);
    Policy::parse(policy.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{policy}"))
}

fn judge(closing: &[&[u8]], build: &[&[u8]]) -> Verdict {
    judge_by(&policy(|_| ()), &evidence(closing, build))
}

fn judge_by(policy: &Policy, evidence: &Evidence) -> Verdict {
    verify(evidence, policy, &State::first_look(), Timestamp::from_seconds(1_900_000_000).unwrap())
}

fn broken(verdict: &Verdict, edge: Edge, reason: Reason, threat: &str) {
    let finding = verdict.edge(edge).unwrap();
    let all: Vec<_> = verdict.refusals().collect();
    assert_eq!((finding.state, finding.reason), (EdgeState::Broken, reason), "{threat}: {finding:?}\nall: {all:#?}");
    assert!(verdict.verified().is_none(), "{threat}");
}

/// What each of Tekton's resolvers leaves in provenance.
#[test]
fn origins_of_tasks_are_read_from_what_chains_recorded() {
    let chains = [Identity::with_key("chains", PublicKey::from_pem(text_of(recorded!("chains.pub"))).unwrap())];
    let origin = |bytes: &[u8]| {
        let signed = verify_attestation(bytes, &chains, None, Timestamp::EPOCH).unwrap();
        let provenance: slsa::Provenance = signed.statement.predicate().unwrap();
        tekton::task_run(&provenance).unwrap().task
    };
    let hex = |digest: Option<Digest>| digest.map(|digest| digest.hex()).unwrap_or_default();
    let bundle = origin(recorded!("resolver-bundles.dsse.json"));
    assert_eq!((bundle.uri.as_str(), bundle.path.as_str()), ("10.87.0.10:5000/record/tasks", "assay-image"));
    assert_eq!(hex(bundle.digest), "d2527ea591636eb411c0e44d478ecaa00c480355dc6c1e1af7254aa0f883f6e9");
    let http = origin(recorded!("resolver-http.dsse.json"));
    assert_eq!((http.uri.as_str(), http.path.as_str()), ("http://10.87.0.1:18099/task/assay-image.yaml", ""));
    assert_eq!(hex(http.digest), "17bfc85d6f01ea4be825208278152ff76ba8b5d15709843caaffd80d54e29e85");
    let hub = origin(recorded!("resolver-hub.dsse.json"));
    assert_eq!(hub.uri, "http://10.87.0.1:18099/api/v1/packages/tekton-task/assay/assay-image/0.1.0");
    assert_eq!((hub.digest, hub.path.as_str()), (http.digest, ""));
    let git = origin(recorded!("resolver-git.dsse.json"));
    assert_eq!((git.uri.as_str(), git.path.as_str()), ("git+http://10.87.0.10:3000/record-tasks.git", "task/assay-image.yaml"));
    assert_eq!((git.digest, git.commit.unwrap().to_string()), (None, "a7009aae4712ee2931914d79c417e14993d1bf9b".to_owned()));
    let cluster = origin(IMAGE);
    assert_eq!(cluster.uri, "/apis/tekton.dev/v1/namespaces/assay-record/task/assay-image");
}

fn text_of(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn what_chains_signed_about_a_whole_run_is_verified() {
    let verdict = judge(&[IMAGE], &[BUILD]);
    assert!(verdict.verified().is_some(), "{:#?}", verdict.refusals().collect::<Vec<_>>());
    for edge in [Edge::E1, Edge::E2, Edge::E3, Edge::E4, Edge::E5, Edge::E6, Edge::E7, Edge::E8, Edge::E9, Edge::E13] {
        assert_eq!(verdict.edge(edge).unwrap().state, EdgeState::Ok, "{edge}");
    }
    // Twice the same says no more, and no less.
    assert!(judge(&[IMAGE, IMAGE], &[BUILD, BUILD]).verified().is_some());
}

#[test]
fn threat_recorded_task_runs_of_an_editor_are_refused_each_by_its_edge() {
    let hostile: [(&str, &[u8], Edge, Reason); 10] = [
        ("podTemplate with env", recorded!("hostile-env.dsse.json"), Edge::E6, Reason::RunNotClosed),
        ("an undeclared parameter", recorded!("hostile-extra-parameter.dsse.json"), Edge::E6, Reason::RunNotClosed),
        ("a parameter left to its default", recorded!("hostile-defaulted-parameter.dsse.json"), Edge::E6, Reason::RunNotClosed),
        ("no PipelineRun", recorded!("hostile-no-labels.dsse.json"), Edge::E9, Reason::GateOtherRun),
        ("a VSA of somebody else's gate", recorded!("hostile-others-vsa.dsse.json"), Edge::E9, Reason::GateMissing),
        ("another Task of that name", recorded!("hostile-swapped-task.dsse.json"), Edge::E5, Reason::OtherDefinitionRan),
        ("the Task embedded", recorded!("hostile-embedded.dsse.json"), Edge::E5, Reason::OtherDefinitionRan),
        ("the Task by bare name", recorded!("hostile-bare-name.dsse.json"), Edge::E5, Reason::OtherDefinitionRan),
        ("a child planted under the predicted name", recorded!("hostile-planted.dsse.json"), Edge::E6, Reason::RunNotClosed),
        // A build step wrote the image's digest into the results of its own Task, and the run failed: Chains signed that too.
        (
            "a failed build that claims the image",
            recorded!("hostile-failed-build-claims-image.dsse.json"),
            Edge::E6,
            Reason::FactMissing,
        ),
    ];
    for (threat, statement, edge, reason) in hostile {
        broken(&judge(&[statement], &[BUILD]), edge, reason, threat);
        // It takes nothing away from the honest run either.
        assert!(judge(&[statement, IMAGE], &[BUILD]).verified().is_some(), "{threat}, beside the honest one");
    }
}

#[test]
fn threat_recorded_evidence_missing_or_of_another_builder_or_image() {
    broken(&judge(&[], &[BUILD]), Edge::E7, Reason::ProvenanceMissing, "no provenance");
    broken(&judge(&[IMAGE], &[]), Edge::E6, Reason::OutputNotProved, "no provenance of the output");
    broken(&judge(&[IMAGE], &[IMAGE]), Edge::E6, Reason::OutputNotProved, "the image's provenance for the output's");
    broken(&judge(&[BUILD], &[BUILD]), Edge::E7, Reason::ProvenanceMissing, "the output's provenance for the image's");
    let other_key = policy(|policy| {
        let pem = |pem: &[u8]| Value::from(std::str::from_utf8(pem).unwrap()).to_string();
        *policy = policy.replace(&pem(recorded!("chains.pub")), &pem(recorded!("other-gate.pub")));
    });
    broken(&judge_by(&other_key, &evidence(&[IMAGE], &[BUILD])), Edge::E7, Reason::ProvenanceMissing, "another builder's key");
    let other_id = policy(|policy| *policy = policy.replace(&text("chainsBuilder"), "https://builds.example.com/other"));
    broken(&judge_by(&other_id, &evidence(&[IMAGE], &[BUILD])), Edge::E7, Reason::BuilderNotAllowed, "another builder's id");
    let other_account = policy(|policy| *policy = policy.replace("[build]", "[release]"));
    broken(&judge_by(&other_account, &evidence(&[IMAGE], &[BUILD])), Edge::E6, Reason::RunNotClosed, "another service account");
    let fewer = policy(|policy| {
        let from = policy.find("images: [{name: step").unwrap();
        let to = policy[from..].find(", {name: step").unwrap() + from;
        policy.replace_range(from..to + 2, "images: [");
    });
    broken(
        &judge_by(&fewer, &evidence(&[IMAGE], &[BUILD])),
        Edge::E13,
        Reason::InputNotAllowed,
        "a step image that nobody listed",
    );
    let mut moved = evidence(&[IMAGE], &[BUILD]);
    moved.manifest.push(b'\n');
    moved.digest = Digest::of(&moved.manifest);
    broken(&judge_by(&policy(|_| ()), &moved), Edge::E7, Reason::ProvenanceMissing, "evidence of another image");
}

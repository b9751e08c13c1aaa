//! Chains whose build was a TaskRun signed by Tekton Chains: recorded ones, good and hostile, and made ones that can be changed.

use assay_core::digest::{Digest, Sha1};
use assay_core::edge::{Edge, EdgeState};
use assay_core::evidence::{DefinitionEvidence, SignatureDocument};
use assay_core::provenance;
use assay_core::reason::Reason;
use assay_core::signature::{Identity, PublicKey, SignatureFormat, SignedStatement, verify_attestation};
use assay_core::spdx::{Checksum, Document, File, Package, Relationship};
use assay_core::time::Timestamp;
use assay_core::verdict::Verdict;
use assay_core::vsa::RunIdentity;
use base64::Engine as _;
use serde_json::{Value, json};

use super::world::{Draft, Key, NOW, REF, REPOSITORY, URL, World, completion, identity};

const CHAINS_KEY: &str = include_str!("../../testdata/tekton-chains/cosign.pub");
const CLOSING: &[u8] = include_bytes!("../../testdata/tekton-chains/att/layer-1.dsse.json");
const BY_HAND: &[u8] = include_bytes!("../../testdata/tekton-chains/att/layer-3.dsse.json");
const FAILED_RUN: &[u8] = include_bytes!("../../testdata/tekton-chains/att/hostile-results.dsse.json");

fn recorded(bytes: &[u8]) -> SignedStatement {
    let chains = [Identity::with_key("chains", PublicKey::from_pem(CHAINS_KEY).unwrap())];
    verify_attestation(bytes, &chains, None, Timestamp::EPOCH).unwrap()
}

#[test]
fn what_chains_recorded_is_read_into_facts() {
    let facts = provenance::read(&recorded(CLOSING).statement).unwrap();
    assert_eq!(facts.url, "https://git.example.test/team/app.git");
    assert_eq!(facts.commit.to_string(), "4b825dc642cb6eb9a060e54bf8d69288fbee4904");
    assert_eq!(facts.run, "4ba71de6-61b7-48e1-90f8-8a49e80b8763");
    assert_eq!(facts.source.hex(), "1".repeat(64));
    assert_eq!(facts.sboms, [Digest::from_hex(&"2".repeat(64)).unwrap()]);
    let run = facts.tekton.unwrap();
    // The object's UID is not part of the URI: applying the same Task again changes it.
    assert_eq!(run.task.uri, "/apis/tekton.dev/v1/namespaces/default/task/assay-image");
    assert_eq!(run.task.digest.unwrap().hex(), "72bcba6809878a91dd77ae8ae2124f60dda96e1fa887c41c040f187cd9f5b11d");
    assert_eq!(run.service_account, "default");
}

/// Chains signed this: a TaskRun of the trusted Task made by hand, with environment and a parameter of its maker's choice.
#[test]
fn threat_recorded_task_run_made_by_hand_shows_its_pod_template_and_parameter() {
    let run = provenance::read(&recorded(BY_HAND).statement).unwrap().tekton.unwrap();
    assert!(run.pod_template.is_some());
    assert!(run.params.contains_key("undeclared-extra"));
}

/// Chains signed this too: a failed run with an inline Task that wrote another image's digest into its results.
#[test]
fn threat_recorded_failed_run_with_forged_results_has_no_facts() {
    let refusal = provenance::read(&recorded(FAILED_RUN).statement).unwrap_err();
    assert_eq!((refusal.edge, refusal.reason), (Edge::E6, Reason::FactMissing));
}

const TASK_URI: &str = "/apis/tekton.dev/v1/namespaces/builds/task/assay-image";

fn publisher() -> Key {
    Key::new(4)
}

fn task_document() -> Vec<u8> {
    let image = format!("registry.example.com/assay/push@{}", Digest::of(b"push image"));
    let names = ["url", "commit", "ref", "tree-digest", "vsa-digest", "image", "mode", "CHAINS-GIT_URL", "CHAINS-GIT_COMMIT"];
    let params: Vec<Value> = names.iter().map(|name| json!({"name": name, "type": "string"})).collect();
    let task = json!({
        "apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "assay-image"},
        "spec": {"params": params, "steps": [{"name": "push", "image": image}]},
    });
    serde_json::to_vec(&task).unwrap()
}

fn task_digest() -> Digest {
    let namespace = TASK_URI.split('/').nth(5).unwrap();
    assay_core::tekton::Document::parse(&task_document()).unwrap().checksums_in(namespace).unwrap()[0]
}

fn definition_sbom(change: &dyn Fn(&mut Document)) -> Document {
    let mut document =
        Document::new("definition", "https://assay.dev/spdx/definition/1", Timestamp::from_seconds(NOW - 5_000).unwrap());
    let mut task = Package::new("SPDXRef-Task", "Task/assay-image", "NOASSERTION");
    task.checksums = vec![Checksum::sha256(&task_digest())];
    task.source_info = Some(TASK_URI.into());
    document.packages.push(task);
    let mut image =
        Package::new("SPDXRef-Image", format!("registry.example.com/assay/push@{}", Digest::of(b"push image")), "NOASSERTION");
    image.primary_package_purpose = Some("CONTAINER".into());
    document.packages.push(image);
    document.files.push(File {
        spdx_id: "SPDXRef-File".into(),
        file_name: "./task.yaml".into(),
        checksums: vec![Checksum::new("SHA1", Sha1::hex_of(&task_document())), Checksum::sha256(&Digest::of(&task_document()))],
        ..File::default()
    });
    document.relationships.push(Relationship::new("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Task"));
    document.relationships.push(Relationship::new("SPDXRef-Task", "CONTAINS", "SPDXRef-File"));
    change(&mut document);
    document
}

fn definition(change: &dyn Fn(&mut Document), signer: &Key) -> DefinitionEvidence {
    signed_definition(definition_sbom(change).to_bytes().unwrap(), signer)
}

fn signed_definition(sbom: Vec<u8>, signer: &Key) -> DefinitionEvidence {
    let signature = SignatureDocument {
        media_type: SignatureFormat::Bundle.media_type().into(),
        file_name: String::new(),
        bytes: signer.bundle_of_document(&sbom),
    };
    DefinitionEvidence { documents: vec![task_document()], sbom, signatures: vec![signature] }
}

fn byproduct(name: &str, value: &Value) -> Value {
    let content = base64::engine::general_purpose::STANDARD.encode(serde_json::to_vec(value).unwrap());
    json!({"name": format!("taskRunResults/build-1-image/{name}"), "mediaType": "application/json", "content": content})
}

/// The honest closing TaskRun over the documents of an honest chain.
fn statement(world: &World, definition: &DefinitionEvidence) -> Value {
    let facts = &world.facts;
    let mut complete = facts.clone();
    complete.definition = Some(Digest::of(&definition.sbom));
    let artifact = |digest: Digest| json!({"uri": REPOSITORY, "digest": digest.to_string()});
    let params: Vec<Value> = [
        ("url", URL.to_owned()),
        ("commit", facts.commit.to_string()),
        ("ref", REF.to_owned()),
        ("tree-digest", facts.tree_digest.to_string()),
        ("vsa-digest", facts.vsa.unwrap().to_string()),
        ("image", REPOSITORY.to_owned()),
        ("mode", "release".to_owned()),
        ("CHAINS-GIT_URL", URL.to_owned()),
        ("CHAINS-GIT_COMMIT", facts.commit.to_string()),
    ]
    .iter()
    .map(|(name, value)| json!({"name": name, "value": value}))
    .collect();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": REPOSITORY, "digest": {"sha256": world.evidence.digest.hex()}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "https://tekton.dev/chains/v2/slsa-tekton",
                "externalParameters": {
                    "buildConfigSource": {"path": "", "ref": task_digest().to_string(), "repository": format!("{TASK_URI}@uid")},
                    "runSpec": {
                        "params": params, "serviceAccountName": "build", "timeout": "1h0m0s",
                        "taskRef": {"resolver": "cluster", "params": [{"name": "kind", "value": "task"}, {"name": "name", "value": "assay-image"}]},
                    },
                },
                "internalParameters": {
                    "labels": {"tekton.dev/pipelineRunUID": "run-1"},
                    "tekton-pipelines-feature-flags": {"enableAPIFields": "beta"},
                },
                "resolvedDependencies": [
                    {"name": "task", "uri": format!("{TASK_URI}@uid"), "digest": {"sha256": task_digest().hex()}},
                    {"uri": "oci://registry.example.com/assay/push", "digest": {"sha256": Digest::of(b"push image").hex()}},
                ],
            },
            "runDetails": {
                "builder": {"id": "https://builds.example.com/cluster-1"},
                "metadata": {"invocationId": "task-run-uid", "startedOn": facts.started.to_string(), "finishedOn": facts.started.to_string()},
                "byproducts": [
                    byproduct("source_ARTIFACT_INPUTS", &artifact(facts.source)),
                    byproduct("definition_ARTIFACT_INPUTS", &artifact(Digest::of(&definition.sbom))),
                    byproduct("sbom_ARTIFACT_OUTPUTS", &artifact(facts.sboms[0])),
                    byproduct("ASSAY_COMPLETE", &Value::from(completion(&complete, &world.evidence.digest).to_string())),
                ],
            },
        },
    })
}

/// A chain through Tekton; `change` edits the statement before Chains signs it, `definition_change` the definition SBOM before its
/// publisher does.
fn verdict(change: impl Fn(&mut Value), definition_change: impl Fn(&mut Document), publisher_key: &Key) -> Verdict {
    verdict_of(change, definition(&definition_change, publisher_key))
}

/// The definition SBOM of the honest chain.
pub(super) fn honest_definition() -> Document {
    definition_sbom(&|_| ())
}

/// A chain through Tekton whose publisher signed this definition SBOM.
pub(super) fn verdict_of_definition(sbom: Vec<u8>) -> Verdict {
    verdict_of(|_| (), signed_definition(sbom, &publisher()))
}

fn verdict_of(change: impl Fn(&mut Value), definition: DefinitionEvidence) -> Verdict {
    let chains = Key::new(5);
    let sbom_digest = Digest::of(&definition.sbom);
    let (publisher, builder) = (identity("publisher", &publisher()), identity("chains", &chains));
    let draft = Draft {
        summary: Box::new(move |summary| {
            summary.verified_levels.extend(["ASSAY_E3".to_owned(), "ASSAY_E4".to_owned()]);
            summary.input_attestations.push(assay_core::statement::ResourceDescriptor::new("definition", "", sbom_digest));
            summary.build_parameters = Some([("mode".to_owned(), json!("release"))].into());
            summary.run = Some(RunIdentity { namespace: "builds".into(), pipeline_run: "build-1".into(), uid: "run-1".into() });
        }),
        policy: Box::new(move |policy| {
            let (start, inputs) = (policy.find("  builders:").unwrap(), policy.find("  inputs:").unwrap());
            policy.replace_range(
                start..inputs,
                &format!("  builders: [{{id: https://builds.example.com/cluster-1, buildTypes: [https://tekton.dev/chains/v2/slsa-tekton], identities: [{builder}]}}]\n"),
            );
            *policy = policy
                .replace("hermetic: Required", "hermetic: NotRequired")
                .replace(&Digest::of(b"the base image").to_string(), &Digest::of(b"push image").to_string());
            policy.push_str(&format!("  definitions: {{threshold: 1, identities: [{publisher}]}}\n  run: {{serviceAccounts: [build], featureFlags: {{enableAPIFields: beta}}}}\n"));
        }),
        ..Draft::default()
    };
    let mut world = draft.build();
    let mut statement = statement(&world, &definition);
    change(&mut statement);
    world.evidence.attestations.truncate(1);
    world.evidence.attestations.push(chains.attestation(&assay_core::json::canonical(&statement).unwrap()));
    world.evidence.definitions.push(definition);
    world.verdict()
}

fn changed(change: impl Fn(&mut Value)) -> Verdict {
    verdict(change, |_| (), &publisher())
}

fn broken(verdict: &Verdict, edge: Edge, reason: Reason) {
    let finding = verdict.edge(edge).unwrap();
    assert_eq!((finding.state, finding.reason), (EdgeState::Broken, reason), "{finding:?}\nall: {:#?}", verdict.edges());
    assert!(verdict.verified().is_none());
}

fn run_spec(statement: &mut Value) -> &mut Value {
    &mut statement["predicate"]["buildDefinition"]["externalParameters"]["runSpec"]
}

#[test]
fn an_honest_task_run_of_the_signed_definition_is_verified() {
    let verdict = changed(|_| ());
    assert!(verdict.verified().is_some(), "{:#?}", verdict.refusals().collect::<Vec<_>>());
    for edge in [Edge::E3, Edge::E4, Edge::E5, Edge::E6, Edge::E7, Edge::E9, Edge::E13] {
        assert_eq!(verdict.edge(edge).unwrap().state, EdgeState::Ok, "{edge}");
    }
}

#[test]
fn threat_task_run_by_hand_with_env_extra_parameters_workspaces_or_unknown_keys() {
    broken(
        &changed(|s| run_spec(s)["podTemplate"] = json!({"env": [{"name": "LD_PRELOAD", "value": "/evil.so"}]})),
        Edge::E6,
        Reason::RunNotClosed,
    );
    let extra = |s: &mut Value| run_spec(s)["params"].as_array_mut().unwrap().push(json!({"name": "extra", "value": "x"}));
    broken(&changed(extra), Edge::E6, Reason::RunNotClosed);
    for key in ["workspaces", "debug", "managedBy", "retries", "stepSpecs", "somethingNew"] {
        let verdict = changed(|s| run_spec(s)[key] = json!([]));
        broken(&verdict, Edge::E6, Reason::RunNotClosed);
    }
    broken(&changed(|s| run_spec(s)["serviceAccountName"] = json!("admin")), Edge::E6, Reason::RunNotClosed);
    let flags = |s: &mut Value| {
        s["predicate"]["buildDefinition"]["internalParameters"]["tekton-pipelines-feature-flags"]["enableAPIFields"] =
            json!("alpha");
    };
    broken(&changed(flags), Edge::E6, Reason::RunNotClosed);
    let dropped = |s: &mut Value| run_spec(s)["params"].as_array_mut().unwrap().retain(|param| param["name"] != "mode");
    broken(&changed(dropped), Edge::E6, Reason::RunNotClosed);
    let twice = |s: &mut Value| run_spec(s)["params"].as_array_mut().unwrap().push(json!({"name": "mode", "value": "release"}));
    broken(&changed(twice), Edge::E6, Reason::RunNotClosed);
}

#[test]
fn threat_parameters_changed_after_the_gate() {
    for (index, name) in [(6, "mode"), (7, "CHAINS-GIT_URL"), (8, "CHAINS-GIT_COMMIT"), (2, "ref")] {
        let verdict = changed(|s| {
            assert_eq!(run_spec(s)["params"][index]["name"], name);
            run_spec(s)["params"][index]["value"] = json!("refs/heads/other");
        });
        assert_eq!(verdict.edge(Edge::E6).unwrap().state, EdgeState::Broken, "{name}");
    }
}

#[test]
fn threat_task_swapped_or_embedded_or_by_bare_name_or_twice() {
    let task = |s: &mut Value, pointer: &str, value: Value| {
        *s.pointer_mut(&format!("/predicate/buildDefinition/resolvedDependencies/0{pointer}")).unwrap() = value
    };
    broken(&changed(|s| task(s, "/digest/sha256", json!("0".repeat(64)))), Edge::E5, Reason::OtherDefinitionRan);
    broken(
        &changed(|s| task(s, "/uri", json!("/apis/tekton.dev/v1/namespaces/evil/task/assay-image@uid"))),
        Edge::E5,
        Reason::OtherDefinitionRan,
    );
    let bare = changed(|s| run_spec(s)["taskRef"] = json!({"name": "assay-image", "kind": "Task"}));
    broken(&bare, Edge::E5, Reason::OtherDefinitionRan);
    let embedded = changed(|s| run_spec(s)["taskSpec"] = json!({"steps": []}));
    broken(&embedded, Edge::E5, Reason::OtherDefinitionRan);
    let twice = changed(|s| {
        let dependencies = s["predicate"]["buildDefinition"]["resolvedDependencies"].as_array_mut().unwrap();
        let copy = dependencies[0].clone();
        dependencies.push(copy);
    });
    broken(&twice, Edge::E5, Reason::OtherDefinitionRan);
    let api_mode = changed(|s| {
        run_spec(s)["taskRef"] = json!({"resolver": "git", "params": [{"name": "org", "value": "o"}, {"name": "serverURL", "value": "https://evil.example.com"}]});
    });
    broken(&api_mode, Edge::E5, Reason::OtherDefinitionRan);
}

/// The git resolver, as the definition SBOM names what it gives.
fn by_git(change: impl Fn(&mut Value)) -> Verdict {
    let commit = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
    let definition = move |document: &mut Document| {
        let task = document.packages.iter_mut().find(|package| package.name == "Task/assay-image").unwrap();
        task.source_info = Some("git+https://git.example.com/tasks.git".into());
        task.version_info = Some(commit.into());
        task.package_file_name = Some("task/assay-image.yaml".into());
    };
    let statement = move |s: &mut Value| {
        let param = |name: &str, value: &str| json!({"name": name, "value": value});
        run_spec(s)["taskRef"] = json!({"resolver": "git", "params": [
            param("url", "https://git.example.com/tasks.git"), param("revision", commit), param("pathInRepo", "task/assay-image.yaml"),
        ]});
        let definition = &mut s["predicate"]["buildDefinition"];
        definition["externalParameters"]["buildConfigSource"]["path"] = json!("task/assay-image.yaml");
        let task = &mut definition["resolvedDependencies"][0];
        task["uri"] = json!("git+https://git.example.com/tasks.git");
        task["digest"] = json!({"sha1": commit});
        change(s);
    };
    verdict(statement, definition, &publisher())
}

#[test]
fn a_task_by_the_git_resolver_is_known_by_its_commit_and_path() {
    let honest = by_git(|_| ());
    assert!(honest.verified().is_some(), "{:#?}", honest.refusals().collect::<Vec<_>>());
    let other = "1".repeat(40);
    let set = |name: &'static str, value: String| {
        move |s: &mut Value| {
            let params = run_spec(s)["taskRef"]["params"].as_array_mut().unwrap();
            params.iter_mut().find(|param| param["name"] == name).unwrap()["value"] = json!(value);
        }
    };
    // What was asked for and what was given differ, or the revision can move.
    broken(&by_git(set("revision", other.clone())), Edge::E5, Reason::OtherDefinitionRan);
    broken(&by_git(set("revision", "main".into())), Edge::E5, Reason::OtherDefinitionRan);
    let task =
        |s: &mut Value, name: &str, value: Value| s["predicate"]["buildDefinition"]["resolvedDependencies"][0][name] = value;
    broken(
        &by_git(|s| {
            set("revision", other.clone())(s);
            task(s, "digest", json!({"sha1": other}));
        }),
        Edge::E5,
        Reason::OtherDefinitionRan,
    );
    broken(&by_git(|s| task(s, "uri", json!("git+https://git.evil.example/tasks.git"))), Edge::E5, Reason::OtherDefinitionRan);
    let path = |s: &mut Value| {
        s["predicate"]["buildDefinition"]["externalParameters"]["buildConfigSource"]["path"] = json!("other.yaml")
    };
    broken(&by_git(path), Edge::E5, Reason::OtherDefinitionRan);
    // The API mode names a server of the caller's, whatever else is given.
    let api = |s: &mut Value| {
        let params = run_spec(s)["taskRef"]["params"].as_array_mut().unwrap();
        params.push(json!({"name": "serverURL", "value": "https://git.evil.example"}));
    };
    broken(&by_git(api), Edge::E5, Reason::OtherDefinitionRan);
}

#[test]
fn threat_definition_edited_or_signed_by_somebody_else() {
    broken(&verdict(|_| (), |_| (), &super::world::stranger()), Edge::E3, Reason::DefinitionNotSigned);
    let other_file = |sbom: &mut Document| sbom.files[0].checksums[1].checksum_value = "0".repeat(64);
    broken(&verdict(|_| (), other_file, &publisher()), Edge::E4, Reason::DefinitionSbomMismatch);
    let by_tag = |sbom: &mut Document| sbom.packages[1].name = "registry.example.com/assay/push:v1".into();
    broken(&verdict(|_| (), by_tag, &publisher()), Edge::E4, Reason::DefinitionNotPinned);
    let unlisted = |sbom: &mut Document| drop(sbom.packages.pop());
    broken(&verdict(|_| (), unlisted, &publisher()), Edge::E4, Reason::DefinitionSbomMismatch);
}

#[test]
fn threat_failed_run_of_the_trusted_task_has_no_completion_record() {
    let results = |s: &mut Value, keep: fn(&str) -> bool| {
        s["predicate"]["runDetails"]["byproducts"]
            .as_array_mut()
            .unwrap()
            .retain(|byproduct| keep(byproduct["name"].as_str().unwrap()));
    };
    broken(&changed(|s| results(s, |name| !name.ends_with("ASSAY_COMPLETE"))), Edge::E7, Reason::RunNotComplete);
    broken(&changed(|s| results(s, |name| !name.ends_with("source_ARTIFACT_INPUTS"))), Edge::E6, Reason::FactMissing);
    // Facts in `inputs/result` dependencies can be written by any step: they are never read.
    let smuggled = changed(|s| {
        results(s, |name| !name.ends_with("definition_ARTIFACT_INPUTS"));
        s["predicate"]["buildDefinition"]["resolvedDependencies"].as_array_mut().unwrap().push(json!({
            "name": "inputs/result", "uri": "oci://registry.example.com/definition", "digest": {"sha256": "0".repeat(64)},
        }));
    });
    broken(&smuggled, Edge::E5, Reason::OtherDefinitionRan);
}

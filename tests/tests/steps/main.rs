//! The step programs as Tekton starts them, over a real registry and a real repository: what they write satisfies replay, and what
//! somebody else could make of a run does not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod definition;
#[path = "../store/registries.rs"]
#[allow(dead_code)]
mod registries;
mod world;

use std::path::Path;

use assay_core::digest::Digest;
use assay_core::edge::{Edge, EdgeState};
use assay_core::evidence::Output;
use assay_core::reason::Reason;
use assay_core::verdict::Verdict;
use serde_json::{Value, json};

use definition::{BUILD_TASK, CLOSING_TASK};
use registries::{docker_registry, referrers_registry};
use world::{World, assay};

const RECIPE: &str = r#"version = 1
base = "scratch"
platforms = ["linux/amd64"]

[config]
entrypoint = ["/usr/bin/hello"]

[[layer]]
name = "app"
files = [{ from = "bin/hello", to = "/usr/bin/" }]
"#;
const WITH_OUTPUT: &str = "artifacts = [{ name = \"output\" }]\n";
const HELLO: (&str, &str) = ("bin/hello", "#!/bin/sh\necho hello\n");

fn parameters(artifacts: Value) -> Value {
    json!({"recipe": "assay.toml", "tag": "v1", "artifacts": artifacts, "build/outputs": ["out/=/usr/bin/"]})
}

async fn with_output() -> World {
    let recipe = format!("{RECIPE}{WITH_OUTPUT}");
    let approved = parameters(json!(["output=$(tasks.build.results.OUTPUT_IMAGE_DIGEST)"]));
    World::new(docker_registry(None), &[("assay.toml", &recipe), HELLO], approved).await
}

/// One run of both Tasks, and what Chains signs about them unless somebody changes it.
struct Run {
    world: World,
    image: Digest,
    build: Value,
    closing: Value,
}

impl Run {
    async fn new() -> Self {
        let world = with_output().await;
        let (pod, params) = world.build();
        let build = world.statement(BUILD_TASK, "build", &params, &pod);
        let output = format!("output={}", world.result(&pod, "OUTPUT_IMAGE_DIGEST"));
        let (pod, params) = world.close(&[output]);
        let closing = world.statement(CLOSING_TASK, "image", &params, &pod);
        let image = world.result(&pod, "IMAGE_DIGEST").parse().unwrap();
        Self { world, image, build, closing }
    }

    async fn replay(&self) -> Verdict {
        self.world.replay(self.image).await
    }

    /// Replays with these statements in place of those that are attached, signed by Chains.
    async fn replay_with(&self, build: &[Value], closing: &Value) -> Verdict {
        let mut evidence = self.world.evidence(self.image).await;
        evidence.attestations.push(self.world.signed(closing));
        let digest: Digest = Digest::from_hex(self.build["subject"][0]["digest"]["sha256"].as_str().unwrap()).unwrap();
        let attestations = build.iter().map(|statement| self.world.signed(statement)).collect();
        evidence.outputs = vec![Output { digest, attestations }];
        self.world.judge(&evidence)
    }
}

fn broken(verdict: &Verdict, edge: Edge, reason: Reason) {
    let finding = verdict.edge(edge).unwrap();
    assert_eq!((finding.state, finding.reason), (EdgeState::Broken, reason), "{finding:?}\nall: {:#?}", verdict.edges());
    assert!(verdict.verified().is_none());
}

fn run_spec(statement: &mut Value) -> &mut Value {
    &mut statement["predicate"]["buildDefinition"]["externalParameters"]["runSpec"]
}

fn set_param(statement: &mut Value, name: &str, value: Value) {
    let params = run_spec(statement)["params"].as_array_mut().unwrap();
    params.iter_mut().find(|param| param["name"] == name).unwrap()["value"] = value;
}

fn label(statement: &mut Value, name: &str, value: &str) {
    statement["predicate"]["buildDefinition"]["internalParameters"]["labels"][name] = json!(value);
}

fn task(statement: &mut Value, name: &str) {
    let dependency = &mut statement["predicate"]["buildDefinition"]["resolvedDependencies"][0];
    dependency["uri"] = json!(format!("{}@uid", definition::uri(name)));
    dependency["digest"]["sha256"] = json!(definition::checksum(name).hex());
}

type Change = (&'static str, fn(&mut Value), Edge, Reason);

#[tokio::test(flavor = "multi_thread")]
async fn a_run_with_an_output_is_verified() {
    let run = Run::new().await;
    // Nothing is believed before Chains signed both.
    assert!(run.replay().await.verified().is_none());
    run.world.attest(&run.closing).await;
    broken(&run.replay().await, Edge::E6, Reason::OutputNotProved);
    run.world.attest(&run.build).await;
    let verdict = run.replay().await;
    assert!(verdict.verified().is_some(), "{:#?}", verdict.refusals().collect::<Vec<_>>());
    for edge in [Edge::E1, Edge::E2, Edge::E3, Edge::E4, Edge::E5, Edge::E6, Edge::E7, Edge::E8, Edge::E9, Edge::E13] {
        assert_eq!(verdict.edge(edge).unwrap().state, EdgeState::Ok, "{edge}");
    }
    // The evidence is enough by itself: what was copied to another place verifies there.
    let to = format!("oci:{}", run.world.folder.path().join("mirror").display());
    assay(run.world.folder.path(), &["push", &format!("{}@{}", run.world.image, run.image), &to]);
    let copied = run.world.replay_from(&to, run.image).await;
    assert!(copied.verified().is_some(), "{:#?}", copied.refusals().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn threats_against_the_provenance_of_an_output() {
    let run = Run::new().await;
    assert!(run.replay_with(std::slice::from_ref(&run.build), &run.closing).await.verified().is_some());
    let hostile: [Change; 11] = [
        ("of another PipelineRun", |s| label(s, "tekton.dev/pipelineRunUID", "other"), Edge::E6, Reason::OutputNotProved),
        ("by another task of the Pipeline", |s| label(s, "tekton.dev/pipelineTask", "other"), Edge::E6, Reason::OutputNotProved),
        ("of another commit", |s| set_param(s, "commit", json!("1".repeat(40))), Edge::E6, Reason::OutputNotProved),
        (
            "of another tree",
            |s| set_param(s, "tree-digest", json!(Digest::of(b"x").to_string())),
            Edge::E6,
            Reason::OutputNotProved,
        ),
        (
            "in another repository",
            |s| s["subject"][0]["name"] = json!("registry.evil.example/x"),
            Edge::E6,
            Reason::OutputNotProved,
        ),
        (
            "with a variable of somebody's",
            |s| run_spec(s)["podTemplate"] = json!({"env": [{"name": "CC", "value": "/evil"}]}),
            Edge::E6,
            Reason::RunNotClosed,
        ),
        (
            "with an extra parameter",
            |s| run_spec(s)["params"].as_array_mut().unwrap().push(json!({"name": "x", "value": "y"})),
            Edge::E6,
            Reason::RunNotClosed,
        ),
        ("with a changed parameter", |s| set_param(s, "outputs", json!(["/evil"])), Edge::E6, Reason::ParameterMismatch),
        ("with a workspace", |s| run_spec(s)["workspaces"] = json!([{"name": "w"}]), Edge::E6, Reason::RunNotClosed),
        ("by the closing Task", |s| task(s, CLOSING_TASK), Edge::E6, Reason::OtherDefinitionRan),
        (
            "by a Task by bare name",
            |s| run_spec(s)["taskRef"] = json!({"name": "assay-command", "kind": "Task"}),
            Edge::E6,
            Reason::OtherDefinitionRan,
        ),
    ];
    for (threat, change, edge, reason) in hostile {
        let mut build = run.build.clone();
        change(&mut build);
        let verdict = run.replay_with(&[build.clone()], &run.closing).await;
        let finding = verdict.edge(edge).unwrap();
        assert_eq!((finding.state, finding.reason), (EdgeState::Broken, reason), "an output {threat}: {finding:?}");
        // The honest one beside it still counts: whoever may push cannot take it away by adding another.
        let verdict = run.replay_with(&[build, run.build.clone()], &run.closing).await;
        assert!(verdict.verified().is_some(), "an output {threat}, and the honest one");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn threats_against_the_closing_run() {
    let run = Run::new().await;
    let hostile: [Change; 9] = [
        ("a build Task that speaks of the image", |s| task(s, BUILD_TASK), Edge::E5, Reason::OtherDefinitionRan),
        ("another commit", |s| set_param(s, "commit", json!("1".repeat(40))), Edge::E1, Reason::CommitMismatch),
        (
            "another repository of images",
            |s| set_param(s, "image", json!("registry.evil.example/x")),
            Edge::E7,
            Reason::OtherRepository,
        ),
        ("another recipe", |s| set_param(s, "recipe", json!("evil.toml")), Edge::E6, Reason::ParameterMismatch),
        (
            "an output under another name",
            |s| {
                let value = run_spec(s)["params"].as_array().unwrap().iter().find(|p| p["name"] == "artifacts").unwrap()["value"]
                    [0]
                .clone();
                set_param(s, "artifacts", json!([value.as_str().unwrap().replace("output=", "other=")]));
            },
            Edge::E6,
            Reason::ParameterMismatch,
        ),
        ("no output", |s| set_param(s, "artifacts", json!([])), Edge::E6, Reason::ParameterMismatch),
        (
            "one more output",
            |s| {
                let list = run_spec(s)["params"].as_array_mut().unwrap().iter_mut().find(|p| p["name"] == "artifacts").unwrap();
                list["value"].as_array_mut().unwrap().push(json!(format!("evil={}", Digest::of(b"evil"))));
            },
            Edge::E6,
            Reason::ParameterMismatch,
        ),
        ("somebody's VSA", |s| set_param(s, "vsa-digest", json!(Digest::of(b"x").to_string())), Edge::E9, Reason::GateMissing),
        (
            "a run that ended early",
            |s| {
                let byproducts = s["predicate"]["runDetails"]["byproducts"].as_array_mut().unwrap();
                byproducts.retain(|byproduct| !byproduct["name"].as_str().unwrap().ends_with("ASSAY_COMPLETE"));
            },
            Edge::E7,
            Reason::RunNotComplete,
        ),
    ];
    for (threat, change, edge, reason) in hostile {
        let mut closing = run.closing.clone();
        change(&mut closing);
        let verdict = run.replay_with(std::slice::from_ref(&run.build), &closing).await;
        let finding = verdict.edge(edge).unwrap();
        assert_eq!((finding.state, finding.reason), (EdgeState::Broken, reason), "{threat}: {finding:?}");
        assert!(verdict.verified().is_none(), "{threat}");
    }
}

fn reason_of(output: &std::process::Output) -> (i32, String) {
    let log = String::from_utf8_lossy(&output.stderr);
    let reason = log.split("reason=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("none");
    (output.status.code().unwrap(), reason.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn fetch_refuses_what_the_gate_did_not_approve_and_leaves_nothing_behind() {
    let world = World::new(docker_registry(None), &[("assay.toml", RECIPE), HELLO], parameters(json!([]))).await;
    let other = Digest::of(b"other").to_string();
    let commit = "1".repeat(40);
    let cases: [(&str, &str, i32, &str); 6] = [
        ("vsa", "{}", 19, "GateMissing"),
        ("vsa-digest", &other, 19, "GateMismatch"),
        ("tree-digest", &other, 19, "GateMismatch"),
        ("source-digest", &other, 19, "GateMismatch"),
        ("commit", &commit, 19, "GateMismatch"),
        ("gate-key", "nonsense", 4, "GateKeyInvalid"),
    ];
    for (name, value, code, reason) in cases {
        let pod = world.pod(&format!("pod-{name}"));
        let mut flags = world.fetch_flags();
        flags.iter_mut().find(|(flag, _)| flag == name).unwrap().1 = value.to_owned();
        let flags: Vec<(&str, &str)> = flags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let output = world.step(&pod, "fetch", &flags, &[], &[]);
        assert_eq!(reason_of(&output), (code, reason.to_owned()), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!pod.join("work/facts.json").exists(), "{name}");
    }
    // The folder must be empty: what lay there would be built too.
    let pod = world.pod("pod-full");
    std::fs::create_dir_all(pod.join("work/source")).unwrap();
    std::fs::write(pod.join("work/source/left"), b"x").unwrap();
    let flags = world.fetch_flags();
    let flags: Vec<(&str, &str)> = flags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(reason_of(&world.step(&pod, "fetch", &flags, &[], &[])), (2, "SourceNotEmpty".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn push_refuses_a_definition_that_the_gate_did_not_approve() {
    let world = World::new(docker_registry(None), &[("assay.toml", RECIPE), HELLO], parameters(json!([]))).await;
    let (pod, _) = world.close(&[]);
    let image = world.image.to_string();
    let without = world.step(&pod, "push", &[("image", &image)], &[], world::CLOSING_RESULTS);
    assert_eq!(reason_of(&without), (19, "DefinitionMissing".to_owned()));
    let by_tag = [("image", image.as_str()), ("definition-ref", "registry.example.com/x:latest")];
    assert_eq!(
        reason_of(&world.step(&pod, "push", &by_tag, &[], world::CLOSING_RESULTS)),
        (2, "DefinitionRefInvalid".to_owned())
    );
}

/// The same commit built by two Pipelines and on a laptop: one image digest, one SBOM digest.
#[tokio::test(flavor = "multi_thread")]
async fn steps_and_laptop_build_the_same_bits() {
    let world = World::new(referrers_registry(), &[("assay.toml", RECIPE), HELLO], parameters(json!([]))).await;
    let (pod, _) = world.close(&[]);
    let digests = |world: &World, pod: &Path| {
        let sbom: Value = serde_json::from_str(&world.result(pod, "sbom_ARTIFACT_OUTPUTS")).unwrap();
        (world.result(pod, "IMAGE_DIGEST"), sbom["digest"].as_str().unwrap().to_owned())
    };
    let first = digests(&world, &pod);
    std::fs::rename(&pod, world.folder.path().join("elsewhere")).unwrap();
    let (pod, _) = world.close(&[]);
    assert_eq!(digests(&world, &pod), first);
    let run = world.run_on_laptop();
    assert_eq!(run, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuild_repeats_a_run_with_an_output_from_its_evidence() {
    let run = Run::new().await;
    run.world.attest(&run.closing).await;
    run.world.attest(&run.build).await;
    let pod = run.world.pod("rebuild");
    let policy = pod.join("policy.yaml");
    std::fs::write(&policy, run.world.policy_text()).unwrap();
    let image = format!("{}@{}", run.world.image, run.image);
    let flags = [("image", image.as_str()), ("policy", policy.to_str().unwrap())];
    run.world.succeeds(&pod, "rebuild", &flags, &[], &["RESULT", "REBUILT_DIGEST"]);
    assert_eq!(run.world.result(&pod, "RESULT"), "MATCH");
    assert_eq!(run.world.result(&pod, "REBUILT_DIGEST"), run.image.to_string());
    std::fs::write(&policy, run.world.policy_text().replace(world::BUILDER, "https://other.example.com")).unwrap();
    let output = run.world.step(&pod, "rebuild", &flags, &[], &[]);
    assert_eq!(reason_of(&output), (17, "BuilderNotAllowed".to_owned()), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A Task takes what it asked for and nothing else: results that nobody takes are refused before anything is pushed further.
#[tokio::test(flavor = "multi_thread")]
async fn results_stay_within_what_tekton_carries() {
    let world = World::new(docker_registry(None), &[("assay.toml", RECIPE), HELLO], parameters(json!([]))).await;
    let (pod, _) = world.close(&[]);
    let total: usize = world::CLOSING_RESULTS
        .iter()
        .filter_map(|name| Some(name.len() + std::fs::read(pod.join("results").join(name)).ok()?.len() + 40))
        .sum();
    assert!(total < 2048, "{total} bytes, and a container of a pod with six has 2,048");
    let image = world.image.to_string();
    let flags = [("image", image.as_str()), ("definition-ref", &world.definition_ref), ("result-limit", "300")];
    let output = world.step(&pod, "push", &flags, &[], world::CLOSING_RESULTS);
    assert_eq!(reason_of(&output), (1, "ResultsTooLarge".to_owned()));
    let flags = [("image", image.as_str()), ("definition-ref", &world.definition_ref)];
    assert_eq!(reason_of(&world.step(&pod, "push", &flags, &[], &["IMAGE_URL"])), (2, "ResultMissing".to_owned()));
}

/// Password file of a registry: user `builder`, password `word`.
const HTPASSWD: &str = "builder:$2b$04$jbk6FJobd.boc1o/5RzlEei68lpw/M09uncAKUSC9QGmIR7azW/a2\n";

#[tokio::test(flavor = "multi_thread")]
async fn logins_come_from_the_home_that_tekton_fills_and_are_missed_where_they_are_missing() {
    let world = World::new(docker_registry(None), &[("assay.toml", RECIPE), HELLO], parameters(json!([]))).await;
    let guarded = docker_registry(Some(HTPASSWD));
    let (pod, _) = world.close(&[]);
    let image = format!("{}/team/app", guarded.host);
    let flags = [("image", image.as_str()), ("definition-ref", &world.definition_ref)];
    let output = world.step(&pod, "push", &flags, &[], world::CLOSING_RESULTS);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    // As Tekton's entrypoint writes it from a secret of type docker-registry.
    std::fs::create_dir(pod.join(".docker")).unwrap();
    let login = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, "builder:word");
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"{login}"}}}}}}"#, guarded.host);
    std::fs::write(pod.join(".docker/config.json"), config).unwrap();
    world.succeeds(&pod, "push", &flags, &[], world::CLOSING_RESULTS);
    assert_eq!(world.result(&pod, "IMAGE_URL"), image);
    // A configuration that asks for a helper program is an error, and never anonymous access: there is no program in the image.
    std::fs::write(pod.join(".docker/config.json"), r#"{"credsStore":"desktop"}"#).unwrap();
    let output = world.step(&pod, "push", &flags, &[], world::CLOSING_RESULTS);
    assert_eq!(reason_of(&output), (4, "CredentialsUnreadable".to_owned()), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_step_at_once_and_leaves_no_result() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    // A registry that takes the connection and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let world = World::new(docker_registry(None), &[("assay.toml", RECIPE), HELLO], parameters(json!([]))).await;
    let (pod, _) = world.close(&[]);
    let results = pod.join("late");
    std::fs::create_dir(&results).unwrap();
    let mut command = Command::new(assay_tests::program::step("push"));
    command.env_clear().env("HOME", &pod).stdin(Stdio::null()).stderr(Stdio::piped());
    command.args([
        format!("--work={}", pod.join("work").display()),
        format!("--image={host}/team/app"),
        "--log-format=json".into(),
    ]);
    command.args([format!("--definition-ref={}", world.definition_ref), "--log-level=debug".into()]);
    command.arg(format!("--result=IMAGE_URL={}", results.join("IMAGE_URL").display()));
    let mut process = command.spawn().unwrap();
    // It has begun when it speaks to the registry.
    let (_connection, _) = silent.accept().unwrap();
    let pid = process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let log: Vec<String> = BufReader::new(process.stderr.take().unwrap()).lines().map(Result::unwrap).collect();
    assert_eq!(process.wait().unwrap().code(), Some(1), "{log:?}");
    let last: Value = serde_json::from_str(log.last().unwrap()).unwrap();
    assert_eq!((&last["reason"], &last["level"]), (&json!("Interrupted"), &json!("ERROR")), "{last}");
    assert_eq!(std::fs::read_dir(&results).unwrap().count(), 0);
}

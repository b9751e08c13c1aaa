use super::*;

const TASK: &str = r#"{"kind":"Task","apiVersion":"tekton.dev/v1","metadata":{"name":"t"},"spec":{"params":[{"name":"s","type":"string"}],"steps":[{"name":"s1","image":"img","computeResources":{},"script":"echo \"\u003c\u0026\u003e\"\n"}],"results":[{"name":"r","type":"string"}]}}"#;
const PIPELINE: &str = r#"{"kind":"Pipeline","apiVersion":"tekton.dev/v1","metadata":{"name":"p","namespace":"ns","labels":{"a":"1","b":"2"},"annotations":{"note":"a\u003cb\u003e\u0026c\u2028 é"}},"spec":{"description":"x \u0026 y \u003cz\u003e","tasks":[{"name":"gate","taskRef":{"name":"g","kind":"Verify","apiVersion":"sbomcd.dev/v1"},"retries":2,"params":[{"name":"p","value":"$(params.s)"}],"timeout":"1h0m0s"},{"name":"emb","taskSpec":{"apiVersion":"sbomcd.dev/v1","kind":"Verify","spec":{"a":"\u003c","f":1,"z":1},"metadata":{}}},{"name":"plain","taskRef":{"name":"t","kind":"Task"},"runAfter":["gate"]},{"name":"res","taskRef":{"resolver":"git","params":[{"name":"url","value":"u"}]},"when":[{"input":"a","operator":"in","values":["a"]}]},{"name":"inl","taskSpec":{"spec":null,"metadata":{},"steps":[{"name":"s1","image":"img","env":[{"name":"A","value":"1"}],"computeResources":{"limits":{"cpu":"1","memory":"1Gi"}}}],"volumes":[{"name":"v","emptyDir":{}}],"results":[{"name":"r","type":"string"}]}}],"params":[{"name":"s","type":"string"},{"name":"arr","type":"array","default":["1","2"]},{"name":"o","type":"object","properties":{"k":{"type":"string"}}}],"results":[{"name":"out","description":"","value":"$(tasks.gate.results.x)"}]}}"#;

fn parse(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn refused(text: &str) -> TektonError {
    match Document::parse(text.as_bytes()) {
        Ok(document) => panic!("accepted: {}", String::from_utf8_lossy(document.canonical())),
        Err(error) => error,
    }
}

fn canonical(text: &str) -> String {
    String::from_utf8(parse(text).canonical().to_vec()).unwrap()
}

#[test]
fn the_vectors_made_by_tekton() {
    for (text, digest) in [
        (TASK, "290d5466421ad7d5e686f26dbdc4b52a6e9bff9f30dea941f704ad2328b2baab"),
        (PIPELINE, "d58310daa7d751b7c4d5dada415410b635b40e36cb4c9109de1be810cfce59f1"),
    ] {
        let document = parse(text);
        assert_eq!(String::from_utf8_lossy(document.canonical()), text);
        assert_eq!(document.checksum().hex(), digest);
        assert_ne!(document.checksum(), document.checksum_with_creation_timestamp());
    }
    let older = parse(TASK).older;
    let expected = TASK.replace(r#"{"name":"t"}"#, r#"{"name":"t","creationTimestamp":null}"#);
    assert_eq!(String::from_utf8(older).unwrap(), expected);
}

#[test]
fn the_vectors_as_people_write_them() {
    let task = "
apiVersion: tekton.dev/v1
kind: Task
metadata:
  name: t
spec:
  params:
  - name: s
  steps:
  - name: s1
    image: img
    script: |
      echo \"<&>\"
  results:
  - name: r
";
    assert_eq!(canonical(task), TASK);
    let pipeline = r#"
kind: Pipeline
apiVersion: tekton.dev/v1
metadata:
  labels: {b: "2", a: "1"}
  annotations:
    note: "a<b>&c\u2028 é"
    tekton.dev/signature: bm90IG9uZQ==
    kubectl.kubernetes.io/last-applied-configuration: "{}"
  namespace: ns
  name: p
  uid: 096b7cb8-4e6c-43f4-a842-e540466e7cca
  creationTimestamp: 2026-11-22T09:59:33Z
spec:
  description: x & y <z>
  params:
  - name: s
  - {name: arr, default: ["1", "2"]}
  - name: o
    properties: {k: {}}
  tasks:
  - name: gate
    taskRef: {apiVersion: sbomcd.dev/v1, kind: Verify, name: g}
    timeout: 60m
    retries: 2
    params:
    - {name: p, value: $(params.s)}
  - name: emb
    taskSpec: {apiVersion: sbomcd.dev/v1, kind: Verify, spec: {z: 1, f: 1.0, a: <}}
  - name: plain
    runAfter: [gate]
    taskRef: {name: t}
  - name: res
    when: [{input: a, operator: in, values: [a]}]
    taskRef: {resolver: git, params: [{name: url, value: u}]}
  - name: inl
    taskSpec:
      results: [{name: r}]
      volumes: [{name: v, emptyDir: {}}]
      steps:
      - name: s1
        image: img
        env: [{name: A, value: "1"}]
        computeResources: {limits: {cpu: 1000m, memory: 1024Mi}}
  results:
  - name: out
    value: $(tasks.gate.results.x)
"#;
    let document = parse(pipeline);
    assert_eq!(String::from_utf8_lossy(document.canonical()), PIPELINE);
    assert_eq!(document.signature(), Some("bm90IG9uZQ=="));
    assert_eq!(document.annotation("note"), Some("a<b>&c\u{2028} é"));
    assert_eq!(document.annotation(SIGNATURE_ANNOTATION), None);
}

#[test]
fn what_tekton_s_cluster_resolver_recorded() {
    for (text, digest) in [
        (
            include_str!("../../testdata/tekton-chains/run/task-assay-image.json"),
            "72bcba6809878a91dd77ae8ae2124f60dda96e1fa887c41c040f187cd9f5b11d",
        ),
        (
            include_str!("../../testdata/tekton-chains/run/pipeline-assay-build.json"),
            "2dcced2f5fdc7c17f7c6d677c649c256ca79429a53ebfabbf544b134f2ff08a1",
        ),
    ] {
        assert_eq!(parse(text).checksum().hex(), digest);
    }
}

fn task(spec: &str) -> String {
    format!(r#"{{"apiVersion":"tekton.dev/v1","kind":"Task","metadata":{{"name":"t"}},"spec":{spec}}}"#)
}

fn spec_of(text: &str) -> String {
    let canonical = canonical(&task(text));
    canonical.split_once(r#""spec":"#).unwrap().1.strip_suffix('}').unwrap().to_owned()
}

#[test]
fn parameter_values_are_strings_lists_of_strings_or_maps_of_strings() {
    for (value, expected) in [
        (r#""a""#, r#""type":"string","default":"a""#),
        (r#"["a",null]"#, r#""type":"array","default":["a",""]"#),
        ("[]", r#""type":"array","default":[]"#),
        ("{}", r#""type":"object","default":{}"#),
        (r#"{"b":"1","a":"2"}"#, r#""type":"object","default":{"a":"2","b":"1"}"#),
        ("5", r#""type":"string","default":"5""#),
        ("true", r#""type":"string","default":"true""#),
        ("[1, 2]", r#""type":"string","default":"[1, 2]""#),
        (r#"{"a": 1}"#, r#""type":"string","default":"{\"a\": 1}""#),
        ("null", r#""type":"string""#),
    ] {
        let found = spec_of(&format!(r#"{{"params":[{{"name":"p","default":{value}}}]}}"#));
        assert_eq!(found, format!(r#"{{"params":[{{"name":"p",{expected}}}]}}"#));
    }
}

#[test]
fn pointers_to_nothing_much_stay() {
    let text = r#"{"steps":[{"name":"s","securityContext":{"runAsNonRoot":false,"runAsUser":0,"capabilities":{}},"env":[{"name":"A"}],"volumeMounts":[{"name":"v","mountPath":"/x"}],"params":[{"name":"a","value":null}]}],"volumes":[{"name":"v","ephemeral":{"volumeClaimTemplate":{"spec":{}}}},{"name":"w","projected":{"sources":null}},{"name":"x","projected":{"sources":[]}}]}"#;
    let expected = r#"{"steps":[{"name":"s","env":[{"name":"A"}],"computeResources":{},"volumeMounts":[{"name":"v","mountPath":"/x"}],"securityContext":{"capabilities":{},"runAsUser":0,"runAsNonRoot":false},"params":[{"name":"a","value":""}]}],"volumes":[{"name":"v","ephemeral":{"volumeClaimTemplate":{"metadata":{},"spec":{"resources":{}}}}},{"name":"w","projected":{"sources":null}},{"name":"x","projected":{"sources":[]}}]}"#;
    assert_eq!(spec_of(text), expected);
    let older = String::from_utf8(parse(&task(text)).older).unwrap();
    assert!(older.contains(r#""volumeClaimTemplate":{"metadata":{"creationTimestamp":null}"#), "{older}");
}

#[test]
fn what_tekton_refuses_is_refused() {
    for (spec, reason) in [
        (r#"{"stepz":[]}"#, "UnknownField"),
        (r#"{"Steps":[]}"#, "UnknownField"),
        (r#"{"steps":[{"name":"a","imagE":"x"}]}"#, "UnknownField"),
        (r#"{"steps":{"name":"a"}}"#, "WrongType"),
        (r#"{"steps":[{"name":5}]}"#, "WrongType"),
        (r#"{"steps":[{"name":"a","timeout":"1 hour"}]}"#, "WrongType"),
        (r#"{"steps":[{"name":"a","computeResources":{"limits":{"cpu":"lots"}}}]}"#, "WrongType"),
        (r#"{"steps":[{"name":"a","securityContext":{"runAsUser":1.0}}]}"#, "WrongType"),
        (r#"{"steps":[{"name":"a","params":[{"name":"p"}]}]}"#, "MissingValue"),
        (r#"{"steps":[{"name":"a","name":"b"}]}"#, "DocumentNotReadable"),
        (r#"{"description":"\ud800"}"#, "DocumentNotReadable"),
    ] {
        assert_eq!(refused(&task(spec)).reason(), reason, "{spec}");
    }
    for (text, reason) in [
        (r#"{"apiVersion":"tekton.dev/v1","kind":"StepAction","metadata":{"name":"t"}}"#, "KindNotSupported"),
        (r#"{"apiVersion":"tekton.dev/v1","kind":"PipelineRun","metadata":{"name":"t"}}"#, "KindNotSupported"),
        (r#"{"apiVersion":"tekton.dev/v1","kind":"Task","metadata":{}}"#, "NoName"),
        (r#"{"apiVersion":"tekton.dev/v1","kind":"Task","metadata":{"name":"t","creationTimestamp":"today"}}"#, "WrongType"),
        (r#"{"apiVersion":"tekton.dev/v1","kind":"Task","metadata":{"name":"t"},"status":{}}"#, "UnknownField"),
        (r#"{"apiVersion":"tekton.dev/v1","kind":"Task","metadata":{"name":"t"}} {}"#, "DocumentNotReadable"),
        ("", "DocumentNotReadable"),
    ] {
        assert_eq!(refused(text).reason(), reason, "{text}");
    }
}

#[test]
fn embedded_custom_specs_keep_the_text_json_came_with() {
    let json = r#"{"apiVersion":"tekton.dev/v1","kind":"Pipeline","metadata":{"name":"p"},"spec":{"tasks":[{"name":"c","taskSpec":{"apiVersion":"a/v1","kind":"K","spec":{"z": 1.0, "a": "\u0041<"}}}]}}"#;
    assert!(canonical(json).contains(r#""spec":{"z":1.0,"a":"\u0041\u003c"},"metadata":{}"#), "{}", canonical(json));
}

#[test]
fn a_document_over_the_limit_is_refused() {
    let text = task(&format!(r#"{{"description":"{}"}}"#, "x".repeat(limits::DOCUMENT_BYTES)));
    assert_eq!(refused(&text).reason(), "DocumentTooLarge");
}

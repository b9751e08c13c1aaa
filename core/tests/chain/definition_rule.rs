//! Definitions of a build cluster: what publishers signed is let in, and nothing that was changed, renamed or copied.

use assay_core::admission::cluster_rules::{Accounts, Cluster, judge};
use assay_core::admission::definition_rule::{Publishers, is_vouched, specification};
use assay_core::admission::review::Request;
use assay_core::digest::Digest;
use assay_core::tekton::Document;
use assay_core::tekton::trust::VerificationKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::world::{Key, rebuilder, stranger};

const TEKTON: &str = "system:serviceaccount:tekton-pipelines:tekton-pipelines-controller";

struct Here {
    publishers: Publishers,
    signed: Vec<Digest>,
}

impl Cluster for Here {
    fn live_pipeline_runs(&self, _: &str) -> Vec<String> {
        Vec::new()
    }

    fn is_build_pod(&self, _: &str, _: &str) -> Option<bool> {
        None
    }

    fn publishers(&self, _: &str) -> Publishers {
        self.publishers.clone()
    }

    fn is_signed(&self, specification: &Digest) -> bool {
        self.signed.contains(specification)
    }
}

fn publishers(cluster: &[Key], namespace: Option<&[Key]>) -> Publishers {
    let of = |keys: &[Key]| keys.iter().map(|key| VerificationKey::of(key.public())).collect();
    Publishers { cluster: of(cluster), namespace: namespace.map(of) }
}

fn task() -> Value {
    json!({
        "apiVersion": "tekton.dev/v1", "kind": "Task", "metadata": {"name": "build", "namespace": "ci"},
        "spec": {"params": [{"name": "p", "type": "string"}], "steps": [{"name": "s", "image": "r.io/i@sha256:00", "script": "make"}]},
    })
}

fn signed(key: &Key, document: &Value) -> Value {
    let checksum = Document::parse(document.to_string().as_bytes()).unwrap().checksum();
    let mut signed = document.clone();
    signed["metadata"]["annotations"] = json!({"tekton.dev/signature": STANDARD.encode(key.sign(checksum.as_bytes()))});
    signed
}

/// As the API server stores it: with what it adds to the metadata.
fn stored(mut object: Value) -> Value {
    object["metadata"]["uid"] = "096b7cb8-4e6c-43f4-a842-e540466e7cca".into();
    object["metadata"]["creationTimestamp"] = "2026-11-22T09:59:33Z".into();
    object["metadata"]["generation"] = 1.into();
    object["metadata"]["managedFields"] = json!([{"manager": "kubectl", "operation": "Update", "apiVersion": "tekton.dev/v1",
        "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {}}}]);
    object
}

fn asked(here: &Here, user: &str, old: &Value, new: &Value, dry_run: bool) -> Result<(), String> {
    let operation = if old.is_null() { "CREATE" } else { "UPDATE" };
    let kind = new["kind"].as_str().unwrap();
    let request: Request = serde_json::from_value(json!({
        "uid": "1", "kind": {"group": "tekton.dev", "version": "v1", "kind": kind}, "namespace": "ci", "name": new["metadata"]["name"],
        "resource": {"group": "tekton.dev", "version": "v1", "resource": format!("{}s", kind.to_lowercase())},
        "operation": operation, "userInfo": {"username": user}, "object": new, "oldObject": old, "dryRun": dry_run,
    }))
    .unwrap();
    judge(&request, &Accounts::installed(), here).map_err(|broken| {
        assert_eq!(broken.rule.name, "UnsignedDefinition");
        broken.found
    })
}

fn created(here: &Here, object: &Value) -> Result<(), String> {
    asked(here, "jane", &Value::Null, &stored(object.clone()), false)
}

#[test]
fn a_signed_definition_is_let_in_with_and_without_its_namespace() {
    let here = Here { publishers: publishers(&[rebuilder(4)], None), signed: Vec::new() };
    assert_eq!(created(&here, &signed(&rebuilder(4), &task())), Ok(()));
    let mut anywhere = task();
    anywhere["metadata"].as_object_mut().unwrap().remove("namespace");
    let mut placed = signed(&rebuilder(4), &anywhere);
    placed["metadata"]["namespace"] = "ci".into();
    assert_eq!(created(&here, &placed), Ok(()));
    assert!(is_vouched(&stored(placed), &here.publishers));
}

#[test]
fn threat_a_definition_unsigned_altered_renamed_or_signed_by_somebody_else() {
    let here = Here { publishers: publishers(&[rebuilder(4)], None), signed: Vec::new() };
    let good = signed(&rebuilder(4), &task());
    assert!(created(&here, &task()).unwrap_err().contains("DefinitionNotSigned"));
    assert!(created(&here, &signed(&stranger(), &task())).unwrap_err().contains("UnknownSigner"));
    for (pointer, value) in [
        ("/spec/steps/0/script", json!("make evil")),
        ("/spec/steps/0/image", json!("r.io/i@sha256:01")),
        ("/metadata/name", json!("other")),
        ("/metadata/namespace", json!("elsewhere")),
    ] {
        let mut altered = good.clone();
        *altered.pointer_mut(pointer).unwrap() = value;
        assert!(created(&here, &altered).is_err(), "{pointer}");
        assert!(asked(&here, "jane", &stored(good.clone()), &stored(altered), false).is_err(), "{pointer} by an update");
    }
    let mut more = good.clone();
    more["spec"]["sidecars"] = json!([{"name": "x", "image": "r.io/x@sha256:00"}]);
    assert!(created(&here, &more).is_err());
    let mut unknown = good.clone();
    unknown["spec"]["surprise"] = true.into();
    assert!(created(&here, &unknown).is_err(), "what Tekton does not know is refused");
    // Nobody is trusted where no policy names publishers, and a namespace cannot vouch for itself.
    for own in [None, Some(&[rebuilder(4)][..])] {
        let nobody = Here { publishers: publishers(&[], own), signed: Vec::new() };
        assert!(created(&nobody, &good).is_err());
    }
    let tightened = Here { publishers: publishers(&[rebuilder(4)], Some(&[rebuilder(5)])), signed: Vec::new() };
    assert!(created(&tightened, &good).is_err(), "the namespace asks for another publisher besides");
}

#[test]
fn what_was_there_before_and_is_not_touched_may_be_written_again() {
    let here = Here { publishers: publishers(&[rebuilder(4)], None), signed: Vec::new() };
    let old = stored(task());
    let mut same = old.clone();
    same["metadata"]["finalizers"] = json!([]);
    same["metadata"]["generation"] = 2.into();
    assert_eq!(asked(&here, "jane", &old, &same, false), Ok(()));
    let mut stripped = stored(signed(&rebuilder(4), &task()));
    let before = stripped.clone();
    stripped["metadata"].as_object_mut().unwrap().remove("annotations");
    assert!(asked(&here, "jane", &before, &stripped, false).is_err(), "a signature may not be taken away");
}

#[test]
fn threat_a_dry_run_of_tekton_gives_back_what_nobody_signed() {
    let good = signed(&rebuilder(4), &task());
    let signed = vec![specification(&stored(good.clone())).unwrap()];
    let here = Here { publishers: publishers(&[rebuilder(4)], None), signed };
    let mut dry = good;
    dry["metadata"]["name"] = "5b9f2c1e-58b8-4a7e-9c0d-6c1f0d2a7e11".into();
    assert_eq!(asked(&here, TEKTON, &Value::Null, &stored(dry.clone()), true), Ok(()));
    assert!(asked(&here, "jane", &Value::Null, &stored(dry.clone()), true).is_err(), "others sign what they try");
    assert!(asked(&here, TEKTON, &Value::Null, &stored(dry.clone()), false).is_err(), "what is stored is signed");
    dry["spec"]["steps"][0]["image"] = "r.io/evil@sha256:00".into();
    assert!(asked(&here, TEKTON, &Value::Null, &stored(dry), true).unwrap_err().contains("of no signed definition"));
}

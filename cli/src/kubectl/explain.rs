//! What the cluster's objects say about an image, for people. Nothing here decides anything: the webhook does, by signatures.

use assay_core::admission::owner::controller_of;
use assay_core::admission::policies::is_for;
use assay_core::admission::review::Kind;
use assay_core::admission::workload;
use assay_core::policy::Policy;
use assay_core::reference::Reference;
use serde::Serialize;
use serde_json::{Value, json};

use crate::exit::{Failure, OrFail as _};

/// One verdict, as a row.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) image: String,
    pub(crate) policy: String,
    pub(crate) outcome: String,
    pub(crate) problem: String,
    pub(crate) time: String,
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Verdicts as rows, those that do not hold first.
pub(crate) fn rows(verdicts: &[Value], prefix: &str, problems: bool) -> Vec<Row> {
    let mut rows: Vec<Row> = verdicts
        .iter()
        .map(|verdict| Row {
            image: format!("{}@{}", text(verdict, "/spec/repository"), text(verdict, "/spec/digest")),
            policy: text(verdict, "/status/policy").to_owned(),
            outcome: text(verdict, "/status/outcome").to_owned(),
            problem: text(verdict, "/status/problem").to_owned(),
            time: text(verdict, "/status/time").to_owned(),
        })
        .filter(|row| row.image.starts_with(prefix) && (!problems || row.outcome != "Verified"))
        .collect();
    rows.sort_by(|a, b| (a.outcome == "Verified", &a.image, &a.policy).cmp(&(b.outcome == "Verified", &b.image, &b.policy)));
    rows
}

/// A policy object, as core reads it; the name says its kind, too.
fn policy(object: &Value) -> (String, Result<Policy, String>) {
    let (kind, name) = (text(object, "/kind"), text(object, "/metadata/name"));
    let document = document(object);
    (format!("{kind} {name:?}"), Policy::parse(document.as_bytes()).map_err(|error| error.to_string()))
}

/// What counts of a policy object.
fn document(object: &Value) -> String {
    json!({
        "apiVersion": object.get("apiVersion"), "kind": object.get("kind"),
        "metadata": {"name": text(object, "/metadata/name")}, "spec": object.get("spec"),
    })
    .to_string()
}

/// Policies that are for an image, each as a document.
pub(crate) fn policies_for(image: &str, policies: &[Value]) -> Result<Vec<(String, String)>, Failure> {
    let reference: Reference = image.parse().or_usage("ImageNameMalformed")?;
    Ok(policies
        .iter()
        .filter_map(|object| {
            let (name, policy) = policy(object);
            policy.is_ok_and(|policy| is_for(&policy, &reference.repository)).then(|| (name, document(object)))
        })
        .collect())
}

/// What was asked: images in a namespace, and to whom they belong.
#[derive(Debug)]
pub(crate) struct Asked {
    namespace: String,
    images: Vec<(String, String)>,
    owner: Option<(String, String, String)>,
}

impl Asked {
    /// One image.
    pub(crate) fn image(image: &str, namespace: &str) -> Result<Self, Failure> {
        let _: Reference = image.parse().or_usage("ImageNameMalformed")?;
        Ok(Self { namespace: namespace.to_owned(), images: vec![("image".to_owned(), image.to_owned())], owner: None })
    }

    /// All images of a pod.
    pub(crate) fn pod(pod: &Value) -> Result<Self, Failure> {
        let kind = Kind { group: String::new(), version: "v1".into(), kind: "Pod".into() };
        let images = workload::images(&kind, pod).or_unknown("PodMalformed")?;
        let owner = controller_of(pod).map(|(_, owner)| (owner.kind, owner.name, owner.uid));
        let images = images.into_iter().map(|image| (image.to_string(), image.text)).collect();
        Ok(Self { namespace: text(pod, "/metadata/namespace").to_owned(), images, owner })
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Kind, name and UID of the controller of the pod.
    pub(crate) fn owner(&self) -> Option<(&str, &str, &str)> {
        self.owner.as_ref().map(|(kind, name, uid)| (kind.as_str(), name.as_str(), uid.as_str()))
    }

    /// How each image stands under each policy.
    pub(crate) fn explain(&self, policies: &[Value], verdicts: &[Value], record: &Value) -> Vec<Explanation> {
        let mut explanations = Vec::new();
        for (place, image) in &self.images {
            let explain = |policy: &str, standing: Standing| Explanation {
                place: place.clone(),
                image: image.clone(),
                policy: policy.to_owned(),
                standing,
            };
            let reference: Reference = match image.parse() {
                Ok(reference) => reference,
                Err(error) => {
                    explanations.push(explain("", Standing::NoName { why: format!("{error}") }));
                    continue;
                }
            };
            let mut covered = false;
            for object in policies {
                let (name, policy) = policy(object);
                let policy = match policy {
                    Ok(policy) => policy,
                    Err(why) => {
                        explanations.push(explain(&name, Standing::PolicyInvalid { why }));
                        covered |= text(object, "/kind") == "ClusterTrustPolicy";
                        continue;
                    }
                };
                if !is_for(&policy, &reference.repository) {
                    continue;
                }
                covered |= policy.is_for_the_cluster();
                let Some(digest) = reference.digest else {
                    explanations.push(explain(&name, Standing::NotPinned));
                    continue;
                };
                let found = verdicts.iter().find(|verdict| {
                    text(verdict, "/spec/repository") == reference.repository.to_string()
                        && text(verdict, "/spec/digest") == digest.to_string()
                        && text(verdict, "/spec/policyDigest") == policy.digest().to_string()
                });
                let short = format!("{}@sha256:{}", reference.repository, digest.hex().chars().take(12).collect::<String>());
                let recorded = text(record, "/status/images").split(", ").any(|image| image == short);
                explanations.push(explain(&name, Standing::of(found, recorded)));
            }
            if !covered {
                explanations.push(explain("", Standing::NoPolicy));
            }
        }
        explanations
    }
}

/// How an image stands.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all_fields = "camelCase", tag = "standing")]
pub(crate) enum Standing {
    /// The arbiter found that it holds.
    Verified { time: String },
    /// It does not hold now, but its workload was admitted with it.
    AdmittedBefore { problem: String, edges: Vec<[String; 5]> },
    /// It does not hold.
    Refused { problem: String, edges: Vec<[String; 5]> },
    /// There is no verdict: it is made when somebody asks for admission.
    NoVerdict,
    /// It has no digest.
    NotPinned,
    /// It cannot be told which image it is.
    NoName { why: String },
    /// No policy of the cluster is for it.
    NoPolicy,
    /// A policy cannot be read, and refuses everything in its scope.
    PolicyInvalid { why: String },
}

impl Standing {
    fn of(verdict: Option<&Value>, recorded: bool) -> Self {
        let Some(verdict) = verdict else {
            return if recorded {
                Self::AdmittedBefore { problem: "no verdict under this policy yet".into(), edges: Vec::new() }
            } else {
                Self::NoVerdict
            };
        };
        if text(verdict, "/status/outcome") == "Verified" {
            return Self::Verified { time: text(verdict, "/status/time").to_owned() };
        }
        let edges = verdict.pointer("/status/edges").and_then(Value::as_array).into_iter().flatten();
        let edges = edges
            .filter(|edge| !matches!(text(edge, "/state"), "Ok" | "NotRequired"))
            .map(|edge| ["/edge", "/reason", "/expected", "/found", "/remedy"].map(|field| text(edge, field).to_owned()))
            .collect();
        let problem = text(verdict, "/status/problem").to_owned();
        if recorded { Self::AdmittedBefore { problem, edges } } else { Self::Refused { problem, edges } }
    }
}

/// How one image stands under one policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    place: String,
    image: String,
    policy: String,
    #[serde(flatten)]
    standing: Standing,
}

impl Explanation {
    /// Whether it may run as far as this policy goes.
    pub(crate) const fn runs(&self) -> bool {
        matches!(self.standing, Standing::Verified { .. } | Standing::AdmittedBefore { .. })
    }

    /// In one line.
    pub(crate) fn headline(&self) -> String {
        let by = if self.policy.is_empty() { String::new() } else { format!(", {}", self.policy) };
        let says = match &self.standing {
            Standing::Verified { time } => format!("verified {time}"),
            Standing::AdmittedBefore { .. } => "admitted before for this workload; a new one would be refused".to_owned(),
            Standing::Refused { problem, .. } if problem.is_empty() => "not verified".to_owned(),
            Standing::Refused { problem, .. } => problem.clone(),
            Standing::NoVerdict => "no verdict yet; it is replayed when somebody deploys it".to_owned(),
            Standing::NotPinned => "not pinned by digest".to_owned(),
            Standing::NoName { why } => why.clone(),
            Standing::NoPolicy => "no ClusterTrustPolicy is for it".to_owned(),
            Standing::PolicyInvalid { why } => format!("the policy cannot be read: {why}"),
        };
        format!("{} {}{by}: {says}", self.place, self.image)
    }

    /// What there is to say of each edge that does not hold.
    pub(crate) fn lines(&self) -> Vec<[String; 3]> {
        let (Standing::Refused { edges, .. } | Standing::AdmittedBefore { edges, .. }) = &self.standing else {
            return Vec::new();
        };
        edges
            .iter()
            .flat_map(|[edge, reason, expected, found, remedy]| {
                let rows = [("expected", expected), ("found", found), ("what to do", remedy)];
                rows.into_iter().enumerate().filter(|(_, (_, text))| !text.is_empty()).map(move |(index, (what, text))| {
                    let first = if index == 0 { format!("{edge} {reason}") } else { String::new() };
                    [first, what.to_owned(), text.clone()]
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = include_str!("../../../core/testdata/tekton-chains/cosign.pub");
    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn policy(kind: &str) -> Value {
        json!({
            "apiVersion": "assay.dev/v1alpha1", "kind": kind, "metadata": {"name": "prod", "uid": "x"}, "status": {},
            "spec": {"mode": "Enforce", "images": [{"host": "r.io", "path": "team/**"}], "builders": [{
                "id": "https://assay.dev/builder/local", "buildTypes": ["https://assay.dev/buildtypes/recipe/v1"],
                "identities": [{"name": "builder", "keys": [{"key": KEY}]}],
            }]},
        })
    }

    fn verdict(outcome: &str) -> Value {
        let digest = super::policy(&policy("ClusterTrustPolicy")).1.unwrap().digest();
        json!({
            "spec": {"repository": "r.io/team/app", "digest": DIGEST, "policyDigest": digest.to_string()},
            "status": {"outcome": outcome, "problem": "E7: ProvenanceMissing", "time": "2026-11-26T00:00:00Z", "edges": [
                {"edge": "E1", "state": "Ok"},
                {"edge": "E7", "state": "Broken", "reason": "ProvenanceMissing", "expected": "some", "found": "none", "remedy": "build"},
            ]},
        })
    }

    fn asked(image: &str) -> Asked {
        Asked::pod(&json!({
            "metadata": {"namespace": "prod", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "app-1", "uid": "u", "controller": true}]},
            "spec": {"containers": [{"name": "app", "image": image}]},
        }))
        .unwrap()
    }

    fn says(image: &str, policies: &[Value], verdicts: &[Value], record: &Value) -> Vec<(String, bool)> {
        let found = asked(image).explain(policies, verdicts, record);
        found.iter().map(|one| (one.headline(), one.runs())).collect()
    }

    #[test]
    fn every_image_is_explained_under_every_policy() {
        let (cluster, image) = ([policy("ClusterTrustPolicy")], format!("r.io/team/app@{DIGEST}"));
        let one = |verdicts: &[Value], record: &Value| says(&image, &cluster, verdicts, record).remove(0);
        let (text, runs) = one(&[verdict("Verified")], &Value::Null);
        assert!(runs && text.contains("container \"app\"") && text.contains("verified 2026"), "{text}");
        let (text, runs) = one(&[verdict("Rejected")], &Value::Null);
        assert!(!runs && text.contains("ProvenanceMissing"), "{text}");
        let record = json!({"status": {"images": "r.io/team/app@sha256:e3b0c44298fc, r.io/x@sha256:000000000000"}});
        let (text, runs) = one(&[verdict("Rejected")], &record);
        assert!(runs && text.contains("admitted before"), "{text}");
        assert!(!one(&[], &Value::Null).1);
        assert_eq!(asked(&image).owner(), Some(("ReplicaSet", "app-1", "u")));
        let lines = asked(&image).explain(&cluster, &[verdict("Rejected")], &Value::Null).remove(0).lines();
        assert_eq!(lines.len(), 3);
        assert_eq!(lines[0], ["E7 ProvenanceMissing", "expected", "some"].map(str::to_owned));
    }

    #[test]
    fn what_no_policy_is_for_and_what_is_not_pinned_is_told() {
        let image = format!("r.io/team/app@{DIGEST}");
        let namespaced = says(&image, &[policy("TrustPolicy")], &[verdict("Verified")], &Value::Null);
        assert!(namespaced[0].1 && namespaced[1].0.contains("no ClusterTrustPolicy"), "{namespaced:?}");
        assert!(
            says("r.io/other/x:1", &[policy("ClusterTrustPolicy")], &[], &Value::Null)[0].0.contains("no ClusterTrustPolicy")
        );
        assert!(says("r.io/team/app:v1", &[policy("ClusterTrustPolicy")], &[], &Value::Null)[0].0.contains("not pinned"));
        assert!(!says("busybox", &[], &[], &Value::Null)[0].1);
        let mut broken = policy("ClusterTrustPolicy");
        broken["spec"]["images"] = json!([]);
        assert!(says(&image, &[broken], &[], &Value::Null)[0].0.contains("cannot be read"));
    }

    #[test]
    fn rows_begin_with_problems() {
        let all = [verdict("Verified"), verdict("Rejected")];
        let found = rows(&all, "r.io/", false);
        assert_eq!((found[0].outcome.as_str(), found[1].outcome.as_str()), ("Rejected", "Verified"));
        assert_eq!(rows(&all, "", true).len(), 1);
        assert!(rows(&all, "other", false).is_empty());
        assert_eq!(policies_for(&format!("r.io/team/app@{DIGEST}"), &[policy("TrustPolicy")]).unwrap().len(), 1);
        assert!(policies_for("r.io/else/app:1", &[policy("TrustPolicy")]).unwrap().is_empty());
    }
}

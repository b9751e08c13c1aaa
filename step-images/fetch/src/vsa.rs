//! The gate's word, checked before anything is fetched. Replay checks it again (E9), with the keys of a policy.

use anyhow::anyhow;
use assay_core::digest::{Digest, GitOid};
use assay_core::edge::Edge;
use assay_core::git::RepositoryUrl;
use assay_core::signature::{Identity, PublicKey, read_unverified, verify_attestation};
use assay_core::spdx::source::RefName;
use assay_core::statement::{ResourceDescriptor, Statement};
use assay_core::time::Timestamp;
use assay_core::vsa::{PREDICATE_TYPE, Summary};
use assay_step::{Failure, OrFail as _, edge};

/// What the VSA must be, and be about.
pub(crate) struct Wanted<'a> {
    pub(crate) envelope: Digest,
    pub(crate) url: &'a RepositoryUrl,
    pub(crate) reference: Option<&'a RefName>,
    pub(crate) commit: GitOid,
    pub(crate) tree: Digest,
    pub(crate) source: Digest,
}

/// What the gate approved, besides what was asked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Approved {
    /// SHA-256 of the definition SBOM.
    pub(crate) definition: Option<Digest>,
}

/// Verifies a VSA by its digest and, where a key is given, by its signature; and that it is about this source.
///
/// # Errors
/// Exit 19 (E9) if it is not; exit 4 for a key that is none.
pub(crate) fn verify(bytes: &[u8], wanted: &Wanted<'_>, key: Option<&str>, now: Timestamp) -> Result<Approved, Failure> {
    let missing = |error: anyhow::Error| edge(Edge::E9, "GateMissing", error);
    let (statement, envelope) = match key {
        Some(pem) => {
            let key = PublicKey::from_pem(pem).or_configuration("GateKeyInvalid")?;
            let signed = verify_attestation(bytes, &[Identity::with_key("gate", key)], None, now);
            let signed = signed.map_err(|error| missing(anyhow!("the gate's VSA: {error}")))?;
            (signed.statement, signed.envelope_digest)
        }
        None => {
            let read = read_unverified(bytes).map_err(|error| missing(anyhow!("the gate's VSA: {error}")))?;
            (read.statement, read.envelope_digest)
        }
    };
    same("VSA", &wanted.envelope.to_string(), &envelope.to_string())?;
    if statement.predicate_type != PREDICATE_TYPE {
        return Err(missing(anyhow!("expected {PREDICATE_TYPE}, found {}", statement.predicate_type)));
    }
    let summary: Summary = statement.predicate().map_err(|error| missing(error.into()))?;
    about(&statement, &summary, wanted)
}

fn same(what: &str, expected: &str, found: &str) -> Result<(), Failure> {
    if expected == found {
        return Ok(());
    }
    Err(edge(Edge::E9, "GateMismatch", anyhow!("the gate's VSA has another {what}: expected {expected}, found {found}")))
}

fn about(statement: &Statement, summary: &Summary, wanted: &Wanted<'_>) -> Result<Approved, Failure> {
    if summary.verification_result != "PASSED" {
        return Err(edge(Edge::E9, "GateIncomplete", anyhow!("the gate says {:?}", summary.verification_result)));
    }
    let [subject] = statement.subject.as_slice() else {
        return Err(edge(Edge::E9, "GateMismatch", anyhow!("the gate's VSA has {} subjects", statement.subject.len())));
    };
    let digest = |name: &str| subject.digest.get(name).map(String::as_str).unwrap_or("none");
    same("commit", &wanted.commit.to_string(), digest("gitCommit"))?;
    same("tree digest", &wanted.tree.hex(), digest("assayTreeV1"))?;
    let url = summary.resource_uri.strip_prefix("git+").and_then(|url| url.parse::<RepositoryUrl>().ok());
    if url.as_ref() != Some(wanted.url) {
        same("repository", &format!("git+{}", wanted.url), &summary.resource_uri)?;
    }
    if let Some(reference) = wanted.reference {
        let refs = subject.annotations.get("sourceRefs").and_then(serde_json::Value::as_array);
        let named = refs.into_iter().flatten().filter_map(serde_json::Value::as_str);
        if !named.clone().any(|name| name == reference.as_str()) {
            same("ref", reference.as_str(), &named.collect::<Vec<_>>().join(", "))?;
        }
    }
    let source = one(summary, "source")?;
    same("source SBOM", &wanted.source.to_string(), &source.map_or("none".into(), |digest| digest.to_string()))?;
    Ok(Approved { definition: one(summary, "definition")? })
}

/// The one input attestation of a name; `None` if there is none.
fn one(summary: &Summary, name: &str) -> Result<Option<Digest>, Failure> {
    let mut inputs = summary.input_attestations.iter().filter(|input| input.name == name);
    match (inputs.next().map(ResourceDescriptor::sha256), inputs.next()) {
        (None, _) => Ok(None),
        (Some(Some(digest)), None) => Ok(Some(digest)),
        _ => Err(edge(Edge::E9, "GateMismatch", anyhow!("the gate's VSA does not name one {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use assay_adapters::keys::generate::generate;
    use assay_adapters::keys::{Password, SigningKey};
    use assay_core::vsa::{Verifier, render, source_subject};

    use super::*;

    const URL: &str = "https://git.example.com/team/app";
    const REF: &str = "refs/heads/main";

    fn commit() -> GitOid {
        "4b825dc642cb6eb9a060e54bf8d69288fbee4904".parse().unwrap()
    }

    fn summary() -> Summary {
        Summary {
            verifier: Verifier { id: "https://gate.example.com".into() },
            time_verified: Timestamp::EPOCH,
            resource_uri: format!("git+{URL}"),
            policy: ResourceDescriptor::new("", "", Digest::of(b"policy")),
            input_attestations: vec![
                ResourceDescriptor::new("source", "", Digest::of(b"source")),
                ResourceDescriptor::new("definition", "", Digest::of(b"definition")),
            ],
            verification_result: "PASSED".into(),
            verified_levels: vec!["ASSAY_E1".into()],
            slsa_version: "1.1".into(),
            order: None,
            parents: None,
            run: None,
            build_parameters: Some(BTreeMap::new()),
            definition: None,
            cluster_rules: None,
        }
    }

    struct Spoken {
        bundle: Vec<u8>,
        digest: Digest,
    }

    fn speak(key: &SigningKey, change: impl Fn(&mut Summary)) -> Spoken {
        let mut summary = summary();
        change(&mut summary);
        let subject = source_subject(URL, REF, &commit(), &commit(), &Digest::of(b"tree"));
        let signed = key.sign_statement(&render(&[subject], &summary).unwrap()).unwrap();
        Spoken { bundle: signed.bundle, digest: signed.envelope_digest }
    }

    fn judge(spoken: &Spoken, key: Option<&str>, change: impl Fn(&mut Wanted<'_>)) -> Result<Approved, Failure> {
        let (url, reference) = (URL.parse().unwrap(), REF.parse().unwrap());
        let mut wanted = Wanted {
            envelope: spoken.digest,
            url: &url,
            reference: Some(&reference),
            commit: commit(),
            tree: Digest::of(b"tree"),
            source: Digest::of(b"source"),
        };
        change(&mut wanted);
        verify(&spoken.bundle, &wanted, key, Timestamp::EPOCH)
    }

    fn key() -> SigningKey {
        generate(&Password::new("x")).unwrap().key
    }

    #[test]
    fn a_vsa_about_this_commit_is_taken_with_and_without_key() {
        let gate = key();
        let pem = gate.public_key().to_pem();
        let spoken = speak(&gate, |_| ());
        for key in [None, Some(pem.as_str())] {
            assert_eq!(judge(&spoken, key, |_| ()).unwrap().definition, Some(Digest::of(b"definition")));
        }
    }

    #[test]
    fn threat_vsa_of_another_gate_or_about_something_else() {
        let gate = key();
        let pem = key().public_key().to_pem();
        let spoken = speak(&gate, |_| ());
        let refused = |result: Result<Approved, Failure>, reason: &str| {
            let failure = result.unwrap_err();
            assert_eq!((failure.code().number(), failure.reason()), (19, reason), "{failure}");
        };
        refused(judge(&spoken, Some(&pem), |_| ()), "GateMissing");
        refused(judge(&spoken, None, |wanted| wanted.envelope = Digest::of(b"other")), "GateMismatch");
        refused(judge(&spoken, None, |wanted| wanted.tree = Digest::of(b"other")), "GateMismatch");
        refused(judge(&spoken, None, |wanted| wanted.source = Digest::of(b"other")), "GateMismatch");
        let other = "1111111111111111111111111111111111111111".parse().unwrap();
        refused(judge(&spoken, None, |wanted| wanted.commit = other), "GateMismatch");
        refused(judge(&speak(&gate, |summary| summary.verification_result = "FAILED".into()), None, |_| ()), "GateIncomplete");
        let elsewhere = speak(&gate, |summary| summary.resource_uri = "git+https://git.example.com/team/other".into());
        refused(judge(&elsewhere, None, |_| ()), "GateMismatch");
        let twice =
            speak(&gate, |summary| summary.input_attestations.push(ResourceDescriptor::new("source", "", Digest::of(b"x"))));
        refused(judge(&twice, None, |_| ()), "GateMismatch");
        let failure = judge(&spoken, Some("not a key"), |_| ()).unwrap_err();
        assert_eq!((failure.code().number(), failure.reason()), (4, "GateKeyInvalid"));
    }
}

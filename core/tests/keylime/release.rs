//! Releases: who may say that a node is good again, and of which failure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::EncodePublicKey as _;

use super::*;
use assay_core::keylime::release::{Releasers, is_released};
use assay_core::signature::{Identity, PublicKey};

const TYPE: &str = "https://assay.dev/attestation/release/v1";

struct Person {
    key: SigningKey,
    public: PublicKey,
}

impl Person {
    fn new(seed: u8) -> Self {
        let key = SigningKey::from_slice(&[seed; 32]).unwrap();
        let public = PublicKey::from_spki(key.verifying_key().to_public_key_der().unwrap().as_bytes()).unwrap();
        Self { key, public }
    }

    fn signs(&self, statement: &Value) -> String {
        let payload = serde_json::to_vec(statement).unwrap();
        let kind = "application/vnd.in-toto+json";
        let pae = [format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).as_bytes(), &payload].concat();
        let signature: Signature = self.key.sign(&pae);
        json!({
            "payloadType": kind, "payload": STANDARD.encode(&payload), "signatures": [{"sig": STANDARD.encode(signature.to_der().as_bytes())}],
        })
        .to_string()
    }
}

fn word(agent: &str, kind: &str, predicate: Value) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1", "subject": [{"name": "node-1", "digest": {"sha256": agent}}],
        "predicateType": kind, "predicate": predicate,
    })
}

fn predicate(changes: &[(&str, Value)]) -> Value {
    let mut predicate = json!({
        "reason": "firmware update of 2026-11-20, PCR 0 is in the new policy", "expires": at(DATE + 600).to_string(), "node": "node-1",
        "failed": at(DATE).to_string(),
    });
    for (field, value) in changes {
        predicate[field] = value.clone();
    }
    predicate
}

#[test]
fn threat_only_a_named_persons_word_about_this_failure_of_this_tpm_releases_a_node() {
    let (jane, other) = (Person::new(1), Person::new(2));
    let bound = binding("b", "node-1", "uid-1", AGENT);
    let by = |people: &[&Person], threshold| Releasers {
        identities: people.iter().enumerate().map(|(n, who)| Identity::with_key(format!("p{n}"), who.public.clone())).collect(),
        threshold,
    };
    let jane_only = by(&[&jane], 1);
    let ask = |bundle: String| is_released(&[bundle], &jane_only, &bound, at(DATE), at(DATE + 60));
    assert!(ask(jane.signs(&word(AGENT, TYPE, predicate(&[])))));
    assert!(!ask(other.signs(&word(AGENT, TYPE, predicate(&[])))), "somebody else");
    assert!(!ask(jane.signs(&word(&"4".repeat(64), TYPE, predicate(&[])))), "another TPM");
    assert!(!ask(jane.signs(&word(AGENT, "https://assay.dev/attestation/exception/v1", predicate(&[])))), "another kind of word");
    for (field, value) in [
        ("node", json!("node-2")),
        ("failed", json!(at(DATE - 100).to_string())),
        ("failed", json!(at(DATE + 1).to_string())),
        ("expires", json!(at(DATE + 60).to_string())),
        ("reason", json!(" ")),
        ("more", json!(1)),
    ] {
        assert!(!ask(jane.signs(&word(AGENT, TYPE, predicate(&[(field, value.clone())])))), "{field} {value}");
    }
    assert!(!ask("{}".into()) && !ask(String::new()));
    let bundle = jane.signs(&word(AGENT, TYPE, predicate(&[])));
    let ask = |releasers: &Releasers, bundles: &[String]| is_released(bundles, releasers, &bound, at(DATE), at(DATE + 60));
    assert!(!ask(&by(&[], 1), std::slice::from_ref(&bundle)), "without people there is no word");
    assert!(!ask(&by(&[&jane, &other], 2), &[bundle.clone(), bundle.clone()]), "one person is counted once");
    assert!(ask(&by(&[&jane, &other], 2), &[bundle, other.signs(&word(AGENT, TYPE, predicate(&[])))]));
}

#[test]
fn a_release_lifts_the_failure_it_names_and_no_later_one() {
    let failed = judged(&[("operational_state", json!(9))]);
    let after = Previous::default().after(&failed, Some(at(DATE)));
    let released = Previous { released: after.failed, ..after };
    assert_eq!(judged_after(passing(), &released).reason, NodeReason::Attested);
    let again = released.after(&failed, Some(at(DATE + 1)));
    assert_eq!((again.is_failed(), again.failed), (true, Some(at(DATE + 1))));
}

//! Keyless signatures as real services made them, verified offline against trusted root files.
//!
//! The bundles are the recorded ones that come with the pinned `sigstore-verify` crate.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use assay_core::signature::{
    Identity, KeylessSubject, PublicKey, SignatureError, SignatureFormat, SignedBy, TrustRoot, verify_attestation,
    verify_document,
};
use assay_core::time::Timestamp;
use serde_json::Value;

const NOW: Timestamp = Timestamp::EPOCH;

/// A file of a crate that the lock file pins.
fn file(krate: &str, path: &str) -> Vec<u8> {
    static METADATA: OnceLock<Value> = OnceLock::new();
    let metadata = METADATA.get_or_init(|| {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--locked", "--offline"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    });
    let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == krate).unwrap();
    let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
    let path = manifest.parent().unwrap().join(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn recorded(path: &str) -> Vec<u8> {
    file("sigstore-verify", &format!("test_data/{path}"))
}

fn production() -> TrustRoot {
    TrustRoot::parse(&file("sigstore-trust-root", "src/trusted_root.json")).unwrap()
}

fn staging() -> TrustRoot {
    TrustRoot::parse(&file("sigstore-trust-root", "src/trusted_root_staging.json")).unwrap()
}

fn alice(issuer: &str, subject: &str) -> Vec<Identity> {
    let keyless = vec![KeylessSubject { issuer: issuer.into(), subject: subject.into() }];
    vec![Identity { name: "alice".into(), keys: Vec::new(), keyless }]
}

fn verify(document: &[u8], bundle: &[u8], identities: &[Identity], root: Option<&TrustRoot>) -> Result<SignedBy, SignatureError> {
    verify_document(document, SignatureFormat::Bundle, bundle, identities, root, NOW)
}

/// A commit that gitsign signed in 2023, with its log entry inside: verified offline over the raw object.
mod gitsign {
    use assay_core::git::commit::Commit;
    use assay_core::signature::verify_commit;

    use super::*;

    const RECORDED: &[u8] = include_bytes!("../../core/testdata/gitsign/offline.commit");
    const ISSUER: &str = "https://accounts.google.com";
    const SUBJECT: &str = "billy@chainguard.dev";

    fn judge(raw: &[u8], identities: &[Identity], root: Option<&TrustRoot>) -> Result<SignedBy, String> {
        let commit = Commit::parse(raw).map_err(|error| error.to_string())?;
        verify_commit(&commit, identities, root, NOW).map_err(|error| error.reason().to_owned())
    }

    #[test]
    fn a_commit_signed_by_certificate_is_verified_against_the_trust_root() {
        let root = production();
        let signed = judge(RECORDED, &alice(ISSUER, SUBJECT), Some(&root)).unwrap();
        assert_eq!(signed.identity, "alice");
        assert_eq!(signed.trusted_time.unwrap().to_string(), "2023-06-05T16:11:20Z");
        assert_eq!(judge(RECORDED, &alice(ISSUER, "mallory@example.com"), Some(&root)).unwrap_err(), "UnknownSigner");
        assert_eq!(judge(RECORDED, &alice("https://accounts.example.com", SUBJECT), Some(&root)).unwrap_err(), "UnknownSigner");
        assert_eq!(judge(RECORDED, &alice(ISSUER, SUBJECT), None).unwrap_err(), "NoTrustRoot");
        assert!(judge(RECORDED, &alice(ISSUER, SUBJECT), Some(&staging())).is_err());
        assert_eq!(judge(RECORDED, &[], Some(&root)).unwrap_err(), "NoIdentities");
    }

    #[test]
    fn threat_every_changed_byte_of_the_commit_is_refused() {
        let (root, identities) = (production(), alice(ISSUER, SUBJECT));
        let armor = RECORDED.windows(6).position(|window| window == b"gpgsig").unwrap();
        let after = RECORDED.windows(16).rposition(|window| window == b" -----END SIGNED").unwrap();
        for position in (0..armor).chain(after..RECORDED.len()) {
            let mut changed = RECORDED.to_vec();
            changed[position] ^= 1;
            assert!(judge(&changed, &identities, Some(&root)).is_err(), "byte {position}");
        }
        // Every bit pattern of a line of base64 is another signature, certificate or log entry.
        let mut free = Vec::new();
        for position in (armor..after).step_by(7).filter(|position| RECORDED[*position].is_ascii_alphanumeric()) {
            let mut changed = RECORDED.to_vec();
            changed[position] = if changed[position] == b'A' { b'B' } else { b'A' };
            if judge(&changed, &identities, Some(&root)).is_ok() {
                free.push(position);
            }
        }
        assert!(free.is_empty(), "bytes {free:?} may vary");
    }
}

/// Who the certificate says it is, from the refusal of everybody else.
fn subject<T: std::fmt::Debug>(outcome: Result<T, SignatureError>) -> KeylessSubject {
    match outcome.unwrap_err() {
        SignatureError::UnknownSubject { found, .. } => found,
        other => panic!("{} {other}", other.reason()),
    }
}

/// Verifies as its own subject, then refuses neighbours of that subject, other roots, other documents and none.
fn check_document(document: &[u8], bundle: &[u8], root: &TrustRoot, other_root: &TrustRoot) -> SignedBy {
    let found = subject(verify(document, bundle, &alice("nobody", "nobody"), Some(root)));
    let right = alice(&found.issuer, &found.subject);
    let signed = verify(document, bundle, &right, Some(root)).unwrap();
    assert_eq!(signed.identity, "alice");
    for wrong in [
        alice(&found.issuer, &format!("{}x", found.subject)),
        alice(&found.issuer, &found.subject.to_uppercase()),
        alice(&found.issuer, ".*"),
        alice(&format!("{}/", found.issuer), &found.subject),
        alice("", &found.subject),
    ] {
        assert_eq!(verify(document, bundle, &wrong, Some(root)).unwrap_err().reason(), "UnknownSigner");
    }
    assert_eq!(verify(document, bundle, &right, None).unwrap_err().reason(), "NoTrustRoot");
    assert_eq!(verify(document, bundle, &[], Some(root)).unwrap_err().reason(), "NoIdentities");
    assert_eq!(verify(document, bundle, &right, Some(other_root)).unwrap_err().reason(), "KeylessNotVerified");
    assert!(verify(b"another document", bundle, &right, Some(root)).is_err());
    signed
}

#[test]
fn cosigns_keyless_signature_with_a_rekor_v1_entry_and_a_timestamp() {
    let document = recorded("bundles/cosign-v3-blob.txt");
    let bundle = recorded("bundles/cosign-v3-blob.sigstore.json");
    let signed = check_document(&document, &bundle, &production(), &staging());
    assert!(signed.trusted_time.is_some());
    assert_eq!(signed.key_id.len(), 64);
}

#[test]
fn a_signature_with_a_rekor_v2_entry_and_a_timestamp() {
    let document = recorded("upstream/sigstore-python/staging-rekor-v2.txt");
    let bundle = recorded("upstream/sigstore-python/staging-rekor-v2.txt.sigstore.json");
    assert!(check_document(&document, &bundle, &staging(), &production()).trusted_time.is_some());
}

#[test]
fn attestations_with_rekor_v1_and_v2_entries() {
    // The second was made with the staging services, and the production root rightly refuses it.
    for (name, root, other_root) in [
        ("bundles/conda-attestation.sigstore.json", production(), staging()),
        ("bundles/conda-attestation-rekor2.sigstore.json", staging(), production()),
    ] {
        let bundle = recorded(name);
        let found = subject(verify_attestation(&bundle, &alice("nobody", "nobody"), Some(&root), NOW));
        let right = alice(&found.issuer, &found.subject);
        let signed = verify_attestation(&bundle, &right, Some(&root), NOW).unwrap();
        assert_eq!(signed.signed_by.identity, "alice");
        assert!(signed.signed_by.trusted_time.is_some());
        assert!(!signed.statement.subject.is_empty());
        assert!(verify_attestation(&bundle, &right, None, NOW).is_err());
        assert!(verify_attestation(&bundle, &right, Some(&other_root), NOW).is_err());
        // Without the bundle around it the envelope has no certificate, and no key of ours made it.
        let value: Value = serde_json::from_slice(&bundle).unwrap();
        let bare = serde_json::to_vec(&value["dsseEnvelope"]).unwrap();
        assert_eq!(verify_attestation(&bare, &right, Some(&root), NOW).unwrap_err().reason(), "UnknownSigner");
    }
}

#[test]
fn lesson_l6_evidence_of_another_signature_is_refused() {
    // CVE-2022-36056, CVE-2026-22703: genuine log entries, timestamps and certificates beside a signature they are not about.
    let root = staging();
    let document = recorded("upstream/sigstore-python/staging-rekor-v2.txt");
    let ours: Value = serde_json::from_slice(&recorded("upstream/sigstore-python/staging-rekor-v2.txt.sigstore.json")).unwrap();
    let other: Value = serde_json::from_slice(&recorded("sct-multi-intermediate/staging_bundle.sigstore.json")).unwrap();
    let refused = |changed: &Value| {
        let bytes = serde_json::to_vec(changed).unwrap();
        verify(&document, &bytes, &alice("x", "x"), Some(&root)).unwrap_err().reason().to_owned()
    };
    for field in ["tlogEntries", "timestampVerificationData", "certificate"] {
        let mut changed = ours.clone();
        changed["verificationMaterial"][field] = other["verificationMaterial"][field].clone();
        assert_eq!(refused(&changed), "KeylessNotVerified", "{field} of another bundle");
    }
    for field in ["tlogEntries", "timestampVerificationData"] {
        let mut changed = ours.clone();
        changed["verificationMaterial"].as_object_mut().unwrap().remove(field);
        assert_eq!(refused(&changed), "KeylessNotVerified", "without {field}");
    }
}

#[test]
fn lesson_l9_a_bundle_with_endless_log_entries_is_refused_unread() {
    let mut bundle: Value = serde_json::from_slice(&recorded("bundles/cosign-v3-blob.sigstore.json")).unwrap();
    bundle["verificationMaterial"]["tlogEntries"] = Value::Array(vec![serde_json::json!({}); 65]);
    let bytes = serde_json::to_vec(&bundle).unwrap();
    let error = verify(&recorded("bundles/cosign-v3-blob.txt"), &bytes, &alice("x", "x"), Some(&production())).unwrap_err();
    assert_eq!(error.reason(), "TooManyTimestamps");
}

#[test]
fn a_managed_keys_log_entry_proves_its_time() {
    let bundle = recorded("managed-key/bundle.sigstore.json");
    let document = recorded("managed-key/artifact.txt");
    let key = PublicKey::from_pem(std::str::from_utf8(&recorded("managed-key/key.pub")).unwrap()).unwrap();
    let identities = [Identity::with_key("alice", key)];
    let time = |root: Option<&TrustRoot>| verify(&document, &bundle, &identities, root).unwrap().trusted_time;
    assert_eq!(time(None), None);
    assert!(time(Some(&production())).is_some());
    assert_eq!(time(Some(&staging())), None, "another root does not know the log");
}

#[test]
fn every_change_of_a_string_of_a_keyless_bundle_is_refused() {
    let root = production();
    let document = recorded("bundles/cosign-v3-blob.txt");
    let bundle = recorded("bundles/cosign-v3-blob.sigstore.json");
    let found = subject(verify(&document, &bundle, &alice("x", "x"), Some(&root)));
    let right = alice(&found.issuer, &found.subject);
    let mut accepted = Vec::new();
    let whole: Value = serde_json::from_slice(&bundle).unwrap();
    let mut places = Vec::new();
    strings(&whole, String::new(), &mut places);
    assert!(places.len() > 10);
    for place in places {
        let text = whole.pointer(&place).unwrap().as_str().unwrap().to_owned();
        let middle = text.len() / 2;
        let replacement = match text.as_bytes()[middle] {
            b'1' => "2",
            byte if byte.is_ascii_digit() => "1",
            b'A' => "B",
            _ => "A",
        };
        let mut changed = whole.clone();
        *changed.pointer_mut(&place).unwrap() = format!("{}{replacement}{}", &text[..middle], &text[middle + 1..]).into();
        if verify(&document, &serde_json::to_vec(&changed).unwrap(), &right, Some(&root)).is_ok() {
            accepted.push(place);
        }
    }
    assert!(accepted.is_empty(), "changes accepted at {accepted:?}");
}

const CHECKPOINT: &str = "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope";

/// The lines of a checkpoint in which a change is accepted by this attempt at every place of it.
fn lines_that_may_change(whole: &Value, holds: impl Fn(&Value) -> bool) -> Vec<String> {
    assert!(holds(whole));
    let text = whole.pointer(CHECKPOINT).unwrap().as_str().unwrap().to_owned();
    let with = |envelope: String| {
        let mut changed = whole.clone();
        *changed.pointer_mut(CHECKPOINT).unwrap() = envelope.into();
        holds(&changed)
    };
    for after in ["\n", "\n\n", "x", "\n— x y\n"] {
        assert!(!with(format!("{text}{after}")), "{after:?} at the end");
    }
    let mut accepted = Vec::new();
    for (position, character) in text.char_indices() {
        let (before, after) = (&text[..position], &text[position + character.len_utf8()..]);
        let replacement = if character == 'A' { 'B' } else { 'A' };
        let changes =
            [format!("{before}{replacement}{after}"), format!("{before}{after}"), format!("{before} {character}{after}")];
        if changes.into_iter().any(with) {
            let start = before.rfind('\n').map_or(0, |end| end + 1);
            accepted.push(text[start..].lines().next().unwrap().to_owned());
        }
    }
    accepted.dedup();
    accepted
}

#[test]
fn every_change_of_a_checkpoint_is_refused_but_in_lines_of_witnesses() {
    let root = production();
    let document = recorded("bundles/cosign-v3-blob.txt");
    let bundle = recorded("bundles/cosign-v3-blob.sigstore.json");
    let found = subject(verify(&document, &bundle, &alice("x", "x"), Some(&root)));
    let right = alice(&found.issuer, &found.subject);
    let whole: Value = serde_json::from_slice(&bundle).unwrap();
    let holds = |changed: &Value| verify(&document, &serde_json::to_vec(changed).unwrap(), &right, Some(&root)).is_ok();
    assert_eq!(lines_that_may_change(&whole, holds), [""; 0]);

    // No trusted root names a witness, so their lines prove nothing: they may as well be left out, as signed-note has it.
    let root = staging();
    let bundle = recorded("bundles/conda-attestation-rekor2.sigstore.json");
    let found = subject(verify_attestation(&bundle, &alice("x", "x"), Some(&root), NOW));
    let right = alice(&found.issuer, &found.subject);
    let whole: Value = serde_json::from_slice(&bundle).unwrap();
    let holds = |changed: &Value| verify_attestation(&serde_json::to_vec(changed).unwrap(), &right, Some(&root), NOW).is_ok();
    let names: Vec<_> =
        lines_that_may_change(&whole, holds).iter().map(|line| line.split(' ').nth(1).unwrap_or(line).to_owned()).collect();
    assert_eq!(
        names,
        ["staging.witness.transparency.goog/ring-any-bells", "witness.navigli.sunlight.geomys.org", "witness.stagemole.eu"]
    );
}

/// JSON pointers of all strings that are not empty.
fn strings(value: &Value, path: String, places: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, member)| strings(member, format!("{path}/{name}"), places)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| strings(item, format!("{path}/{index}"), places));
        }
        Value::String(text) if !text.is_empty() => places.push(path),
        _ => {}
    }
}

//! CMS signatures of a commit: the fuzzer writes the DER in place of a real one, which alone may verify, and then as its signer.
#![no_main]

use std::sync::OnceLock;

use assay_core::git::commit::Commit;
use assay_core::signature::{Identity, KeylessSubject, TrustRoot, verify_commit};
use assay_core::time::Timestamp;
use libfuzzer_sys::fuzz_target;
use sigstore_trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
use x509_cert::der::pem::{LineEnding, encode_string};

const RECORDED: &str = include_str!("../../../core/testdata/gitsign/offline.commit");

fn root() -> &'static TrustRoot {
    static ROOT: OnceLock<TrustRoot> = OnceLock::new();
    ROOT.get_or_init(|| TrustRoot::parse(SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes()).expect("a trusted root"))
}

fn identity(subject: &str) -> [Identity; 1] {
    let keyless = vec![KeylessSubject { issuer: "https://accounts.google.com".into(), subject: subject.into() }];
    [Identity { name: "author".into(), keys: Vec::new(), keyless }]
}

fuzz_target!(|der: &[u8]| {
    let Ok(armor) = encode_string("SIGNED MESSAGE", LineEnding::LF, der) else { return };
    let (before, rest) = RECORDED.split_once("gpgsig ").expect("a signed commit");
    let (_, after) = rest.split_once("-----END SIGNED MESSAGE-----\n").expect("a signed commit");
    let after = after.strip_prefix(" \n").unwrap_or(after);
    let raw = format!("{before}gpgsig {}\n{after}", armor.trim_end().replace('\n', "\n "));
    let Ok(commit) = Commit::parse(raw.as_bytes()) else { return };
    assert!(verify_commit(&commit, &identity("mallory@example.com"), Some(root()), Timestamp::EPOCH).is_err());
    let _ = verify_commit(&commit, &identity("billy@chainguard.dev"), Some(root()), Timestamp::EPOCH);
});

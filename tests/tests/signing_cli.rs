//! `assay keygen`, `assay sign` and `assay verify --blob` as a person uses them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use assay_tests::program;

fn assay(at: &Path, arguments: &[&str]) -> Output {
    let mut command = program::command();
    command.current_dir(at).env("ASSAY_PASSWORD", "correct horse").env_remove("SSH_AUTH_SOCK").stdin(Stdio::null());
    command.args(["--output", "json"]).args(arguments).output().unwrap()
}

fn succeeds(at: &Path, arguments: &[&str]) -> serde_json::Value {
    let output = assay(at, arguments);
    assert!(output.status.success(), "assay {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The exit code and the reason of a failure.
fn fails(at: &Path, arguments: &[&str]) -> (i32, String) {
    let output = assay(at, arguments);
    let failure: serde_json::Value = serde_json::from_slice(&output.stderr)
        .unwrap_or_else(|_| panic!("assay {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)));
    assert!(output.stdout.is_empty());
    (output.status.code().unwrap(), failure["reason"].as_str().unwrap().to_owned())
}

fn folder_with_key() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    succeeds(folder.path(), &["keygen"]);
    fs::write(folder.path().join("blob"), b"hello\n").unwrap();
    folder
}

#[test]
fn keygen_writes_two_files_once_and_keeps_the_private_one_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder_with_key();
    let at = folder.path();
    assert_eq!(fs::metadata(at.join("assay.key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(at.join("assay.key")).unwrap().starts_with("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----"));
    let before = fs::read(at.join("assay.key")).unwrap();
    assert_eq!(fails(at, &["keygen"]), (2, "FileExists".to_owned()));
    assert_eq!(fs::read(at.join("assay.key")).unwrap(), before);
}

#[test]
fn a_blob_is_signed_and_verified_in_every_format() {
    let folder = folder_with_key();
    let at = folder.path();
    for (sign, verify) in [("--bundle", "--bundle"), ("--output-signature", "--signature")] {
        let formats: &[&str] = if sign == "--bundle" { &["bundle"] } else { &["detached", "sshsig"] };
        for format in formats {
            let out = format!("out.{format}");
            succeeds(at, &["sign", "--key", "assay.key", "--blob", "blob", "--format", format, sign, &out]);
            let seen = succeeds(at, &["verify", "--blob", "blob", verify, &out, "--key", "assay.pub"]);
            assert_eq!(seen["identity"], "assay.pub");
            fs::write(at.join("other"), b"hellO\n").unwrap();
            let (code, _) = fails(at, &["verify", "--blob", "other", verify, &out, "--key", "assay.pub"]);
            assert_eq!(code, 12);
        }
    }
    succeeds(at, &["keygen", "--output-key-prefix", "mallory"]);
    let refused = fails(at, &["verify", "--blob", "blob", "--bundle", "out.bundle", "--key", "mallory.pub"]);
    assert_eq!(refused, (12, "UnknownSigner".to_owned()));
    assert_eq!(fails(at, &["verify", "--blob", "blob", "--bundle", "out.bundle"]), (2, "NoSigner".to_owned()));
}

#[test]
fn lesson_l5_an_attestation_needs_its_type_and_its_subject() {
    let folder = folder_with_key();
    let at = folder.path();
    fs::write(at.join("review.json"), br#"{"by":"alice"}"#).unwrap();
    let kind = "https://example.com/review/v1";
    let sign =
        ["sign", "--key", "assay.key", "--blob", "blob", "--type", kind, "--predicate", "review.json", "--bundle", "b.json"];
    succeeds(at, &sign);
    let digest = "sha256:5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
    for blob in ["blob", digest] {
        let seen = succeeds(at, &["verify", "--blob", blob, "--bundle", "b.json", "--type", kind, "--key", "assay.pub"]);
        assert_eq!((seen["digest"].as_str(), seen["predicateType"].as_str()), (Some(digest), Some(kind)));
    }
    let other = format!("sha256:{}", "0".repeat(64));
    let verify = |blob: &str, kind: &str| {
        fails(at, &["verify", "--blob", blob, "--bundle", "b.json", "--type", kind, "--key", "assay.pub"])
    };
    assert_eq!(verify(&other, kind), (12, "SignedOtherDocument".to_owned()));
    assert_eq!(verify("blob", "https://example.com/review/v2"), (12, "PredicateType".to_owned()));
    // Without a type the bundle is read as a signature over the file, which it is not.
    assert_eq!(fails(at, &["verify", "--blob", "blob", "--bundle", "b.json", "--key", "assay.pub"]).0, 12);
    assert_eq!(
        fails(at, &["verify", "--blob", digest, "--bundle", "b.json", "--key", "assay.pub"]),
        (2, "TypeNeeded".to_owned())
    );
}

#[test]
fn the_source_sbom_is_signed_once_by_each_author() {
    let folder = folder_with_key();
    let at = folder.path();
    let git =
        Command::new("git").args(["init", "-q"]).current_dir(at).status().expect("git starts; install it: apt-get install git");
    assert!(git.success());
    assert_eq!(fails(at, &["sign", "--key", "assay.key"]), (4, "UnreadableInput".to_owned()));
    fs::create_dir(at.join(".assay")).unwrap();
    fs::write(at.join(".assay/source.spdx.json"), b"{}\n").unwrap();
    succeeds(at, &["keygen", "--output-key-prefix", "bob"]);
    succeeds(at, &["sign", "--key", "assay.key", "--name", "alice"]);
    succeeds(at, &["sign", "--key", "bob.key", "--name", "bob", "--format", "sshsig"]);
    succeeds(at, &["sign", "--key", "bob.key", "--format", "detached"]);
    let mut names: Vec<_> = fs::read_dir(at.join(".assay/signatures"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names.len(), 3);
    assert!(names.contains(&"alice.sigstore.json".to_owned()) && names.contains(&"bob.sshsig".to_owned()), "{names:?}");
    for wrong in ["../alice", ".alice", "", "a/b"] {
        let name = format!("--name={wrong}");
        assert_eq!(fails(at, &["sign", "--key", "assay.key", &name]), (2, "InvalidName".to_owned()), "{wrong:?}");
    }
}

#[test]
fn wrong_passwords_and_files_are_configuration_errors() {
    let folder = folder_with_key();
    let at = folder.path();
    fs::write(at.join("junk.key"), b"junk").unwrap();
    for key in ["junk.key", "assay.pub", "blob"] {
        assert_eq!(fails(at, &["sign", "--key", key, "--blob", "blob"]), (4, "UnusableKey".to_owned()), "{key}");
    }
    let mut command = program::command();
    command.current_dir(at).env("ASSAY_PASSWORD", "wrong").stdin(Stdio::null());
    let output = command.args(["sign", "--key", "assay.key", "--blob", "blob"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("wrong\""));
}

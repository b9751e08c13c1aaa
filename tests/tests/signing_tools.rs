//! Signatures and keys exchanged with cosign, OpenSSH and OpenSSL, both ways (edge E2).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use assay_adapters::keys::agent::Agent;
use assay_adapters::keys::generate::generate;
use assay_adapters::keys::{KeyFileError, Password, SigningKey};
use assay_core::digest::Digest;
use assay_core::signature::ssh::allowed_signers;
use assay_core::signature::{Identity, PublicKey, SignatureError, SignatureFormat, verify_attestation, verify_document};
use assay_core::statement::{self, ResourceDescriptor};
use assay_core::time::Timestamp;

const DOCUMENT: &[u8] = b"{\"spdxVersion\":\"SPDX-2.3\"}\n";
const PASSWORD: &str = "correct horse";
const NAMESPACE: &str = "sbom@assay.dev";

/// The pinned cosign, built by hack/tools/cosign.sh the first time.
fn cosign() -> Command {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hack/tools/cosign.sh");
        let output = Command::new(&script).stderr(Stdio::inherit()).output().expect("hack/tools/cosign.sh starts");
        assert!(output.status.success(), "hack/tools/cosign.sh failed: it needs Go, and its module proxy once");
        String::from_utf8(output.stdout).unwrap().trim().into()
    });
    let mut command = Command::new(program);
    command.env("COSIGN_PASSWORD", PASSWORD);
    command
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_remove("SSH_AUTH_SOCK");
    command
}

/// Runs a program that must be installed: its absence fails the test.
fn run(command: &mut Command) -> Output {
    let program = command.get_program().to_string_lossy().into_owned();
    command
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{program} does not start ({error}); install it: apt-get install openssh-client openssl"))
}

fn succeeds(command: &mut Command) {
    let output = run(command);
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn fails(command: &mut Command) {
    assert!(!run(command).status.success(), "{command:?} succeeded");
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn read_key(path: &Path, password: Option<&str>) -> Result<SigningKey, KeyFileError> {
    SigningKey::read(path, || password.map(Password::new))
}

fn verify(format: SignatureFormat, signature: &[u8], key: &PublicKey) -> Result<(), SignatureError> {
    let alice = [Identity::with_key("alice", key.clone())];
    verify_document(DOCUMENT, format, signature, &alice, None, Timestamp::EPOCH)
        .map(|signed| assert_eq!(signed.identity, "alice"))
}

fn statement() -> Vec<u8> {
    let subject = [ResourceDescriptor::new("document", "", Digest::of(DOCUMENT))];
    statement::render(&subject, "https://example.com/p/v1", &serde_json::json!({"k": "v"})).unwrap()
}

/// A key of ours in files, and a document.
fn assay_key(folder: &Path) -> SigningKey {
    let made = generate(&Password::new(PASSWORD)).unwrap();
    fs::write(folder.join("assay.key"), made.private_pem).unwrap();
    fs::write(folder.join("assay.pub"), made.public_pem).unwrap();
    fs::write(folder.join("document"), DOCUMENT).unwrap();
    made.key
}

#[test]
fn cosign_verifies_what_we_sign_and_refuses_what_was_changed() {
    let folder = folder();
    let at = folder.path();
    let key = assay_key(at);
    fs::write(at.join("bundle"), key.sign_document(DOCUMENT, SignatureFormat::Bundle).unwrap()).unwrap();
    fs::write(at.join("signature"), key.sign_document(DOCUMENT, SignatureFormat::Detached).unwrap()).unwrap();
    fs::write(at.join("attestation"), key.sign_statement(&statement()).unwrap().bundle).unwrap();
    fs::write(at.join("changed"), b"{}").unwrap();
    let blob = |flag: &str, file: &str, document: &str| {
        let mut command = cosign();
        command.current_dir(at).args(["verify-blob", "--key", "assay.pub", "--insecure-ignore-tlog", flag, file, document]);
        command
    };
    succeeds(&mut blob("--bundle", "bundle", "document"));
    succeeds(&mut blob("--signature", "signature", "document"));
    fails(&mut blob("--bundle", "bundle", "changed"));
    fails(&mut blob("--signature", "signature", "changed"));
    let attestation = |document: &str| {
        let mut command = cosign();
        command.current_dir(at).args(["verify-blob-attestation", "--key", "assay.pub", "--insecure-ignore-tlog"]);
        command.args(["--bundle", "attestation", "--type", "https://example.com/p/v1", document]);
        command
    };
    succeeds(&mut attestation("document"));
    fails(&mut attestation("changed"));
}

#[test]
fn cosign_signs_with_our_key_file_and_we_verify() {
    let folder = folder();
    let at = folder.path();
    let key = assay_key(at);
    let sign = |arguments: &[&str]| {
        let mut command = cosign();
        let offline = ["--key", "assay.key", "--use-signing-config=false", "--tlog-upload=false", "--yes"];
        succeeds(command.current_dir(at).args(arguments).args(offline));
    };
    sign(&["sign-blob", "--bundle", "bundle", "document"]);
    sign(&["sign-blob", "--new-bundle-format=false", "--output-signature", "signature", "document"]);
    // With --predicate cosign writes a Statement v0.1, which is read and shown but never enough.
    fs::write(at.join("statement"), statement()).unwrap();
    sign(&["attest-blob", "--bundle", "attestation", "--statement", "statement"]);
    for (format, file) in [(SignatureFormat::Bundle, "bundle"), (SignatureFormat::Detached, "signature")] {
        let signature = fs::read(at.join(file)).unwrap();
        verify(format, &signature, key.public_key()).unwrap();
        let mallory = generate(&Password::new("")).unwrap().key;
        assert_eq!(verify(format, &signature, mallory.public_key()).unwrap_err().reason(), "UnknownSigner");
    }
    let attestation = fs::read(at.join("attestation")).unwrap();
    let identities = [Identity::with_key("alice", key.public_key().clone())];
    let signed = verify_attestation(&attestation, &identities, None, Timestamp::EPOCH).unwrap();
    assert!(signed.statement.is_about(&Digest::of(DOCUMENT)));
}

#[test]
fn we_sign_with_cosigns_key_file() {
    let folder = folder();
    let at = folder.path();
    succeeds(cosign().current_dir(at).arg("generate-key-pair"));
    let key = read_key(&at.join("cosign.key"), Some(PASSWORD)).unwrap();
    let public = fs::read_to_string(at.join("cosign.pub")).unwrap();
    assert_eq!(key.public_key(), &PublicKey::from_pem(&public).unwrap());
    assert!(matches!(read_key(&at.join("cosign.key"), Some("wrong")), Err(KeyFileError::Decrypt)));
}

#[test]
fn openssh_and_we_verify_each_other_for_every_kind_of_key() {
    for (kind, bits, password) in [
        ("ed25519", "256", ""),
        ("ecdsa", "256", PASSWORD),
        ("ecdsa", "384", ""),
        ("ecdsa", "521", ""),
        ("rsa", "3072", PASSWORD),
    ] {
        let folder = folder();
        let at = folder.path();
        let keygen = ["-q", "-t", kind, "-b", bits, "-N", password, "-C", "alice", "-f", "key"];
        succeeds(tool("ssh-keygen").current_dir(at).args(keygen));
        let line = fs::read_to_string(at.join("key.pub")).unwrap();
        let signers = format!("alice namespaces=\"{NAMESPACE}\" {line}");
        fs::write(at.join("signers"), &signers).unwrap();
        fs::write(at.join("document"), DOCUMENT).unwrap();
        let public = PublicKey::from_openssh(&line).unwrap();

        // Ours, by the private key file.
        let key = read_key(&at.join("key"), (!password.is_empty()).then_some(password)).unwrap();
        assert_eq!(key.public_key(), &public, "{kind} {bits}");
        assert!(key.is_from_ssh());
        fs::write(at.join("ours.sshsig"), key.sign_document(DOCUMENT, SignatureFormat::SshSig).unwrap()).unwrap();
        let openssh_verifies = |namespace: &str, document: &[u8]| {
            let mut command = tool("ssh-keygen");
            command.current_dir(at).args(["-Y", "verify", "-f", "signers", "-I", "alice", "-n", namespace, "-s", "ours.sshsig"]);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), document).unwrap();
            child.wait().unwrap().success()
        };
        assert!(openssh_verifies(NAMESPACE, DOCUMENT), "{kind} {bits}");
        assert!(!openssh_verifies(NAMESPACE, b"{}"));
        assert!(!openssh_verifies("file", DOCUMENT));

        // Theirs. The password comes off first: ssh-keygen would ask for it at a terminal.
        succeeds(tool("ssh-keygen").current_dir(at).args(["-q", "-p", "-P", password, "-N", "", "-f", "key"]));
        for (namespace, reason) in [(NAMESPACE, None), ("git", Some("SshSignatureNamespace"))] {
            for hash in ["sha256", "sha512"] {
                let _ = fs::remove_file(at.join("document.sig"));
                let option = format!("hashalg={hash}");
                let sign = ["-Y", "sign", "-f", "key", "-n", namespace, "-O", &option, "document"];
                succeeds(tool("ssh-keygen").current_dir(at).args(sign));
                let theirs = fs::read(at.join("document.sig")).unwrap();
                let outcome = verify(SignatureFormat::SshSig, &theirs, &public);
                assert_eq!(outcome.as_ref().err().map(SignatureError::reason), reason, "{kind} {bits}");
                if reason.is_none() {
                    let identities = allowed_signers::parse(signers.as_bytes(), NAMESPACE).unwrap();
                    let signed =
                        verify_document(DOCUMENT, SignatureFormat::SshSig, &theirs, &identities, None, Timestamp::EPOCH).unwrap();
                    assert_eq!(signed.identity, "alice");
                    refuses_every_change(&theirs, &public);
                }
            }
        }
    }
}

/// OpenSSH writes private numbers without leading zeros; a quarter of all keys of P-521 have some.
#[test]
fn openssh_key_files_with_short_private_numbers_sign() {
    use base64::Engine as _;
    for (curve, length, oid) in [
        ("P-256", 32, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7][..]),
        ("P-384", 48, &[0x2b, 0x81, 4, 0, 0x22]),
        ("P-521", 66, &[0x2b, 0x81, 4, 0, 0x23]),
    ] {
        for (start, password) in [(&[0, 0x11][..], ""), (&[0, 0x11], PASSWORD), (&[0, 0x91], ""), (&[0, 0, 0, 0x11], PASSWORD)] {
            // ECPrivateKey (RFC 5915) of this number, which openssl completes with the public half.
            let number = [start, &[0x22; 66][..length - start.len()]].concat();
            let tagged = |tag: u8, value: &[u8]| [&[tag, u8::try_from(value.len()).unwrap()], value].concat();
            let parts = [tagged(2, &[1]), tagged(4, &number), tagged(0xa0, &tagged(6, oid))].concat();
            let pem = base64::engine::general_purpose::STANDARD.encode(tagged(0x30, &parts));
            let folder = folder();
            let at = folder.path();
            fs::write(at.join("bare"), format!("-----BEGIN EC PRIVATE KEY-----\n{pem}\n-----END EC PRIVATE KEY-----\n")).unwrap();
            succeeds(tool("openssl").current_dir(at).args(["ec", "-in", "bare", "-out", "key"]));
            fs::set_permissions(at.join("key"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            // With -p it writes its own format.
            succeeds(tool("ssh-keygen").current_dir(at).args(["-q", "-p", "-P", "", "-N", password, "-f", "key"]));
            assert!(fs::read_to_string(at.join("key")).unwrap().contains(concat!("BEGIN OPENSSH ", "PRIVATE KEY")));
            let line = run(tool("ssh-keygen").current_dir(at).args(["-y", "-P", password, "-f", "key"])).stdout;
            let public = PublicKey::from_openssh(std::str::from_utf8(&line).unwrap()).unwrap();
            let key = read_key(&at.join("key"), (!password.is_empty()).then_some(password)).unwrap();
            assert_eq!(key.public_key(), &public, "{curve} {start:?}");
            verify(SignatureFormat::SshSig, &key.sign_document(DOCUMENT, SignatureFormat::SshSig).unwrap(), &public).unwrap();
            if !password.is_empty() {
                assert!(matches!(read_key(&at.join("key"), Some("wrong")), Err(KeyFileError::Decrypt)));
                assert!(matches!(read_key(&at.join("key"), None), Err(KeyFileError::PasswordNeeded)));
            }
        }
    }
}

/// Flips a bit of every byte of the decoded signature.
fn refuses_every_change(armored: &[u8], key: &PublicKey) {
    use base64::Engine as _;
    let body: String = std::str::from_utf8(armored).unwrap().lines().filter(|line| !line.starts_with('-')).collect();
    let mut raw = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    verify(SignatureFormat::SshSig, &raw, key).unwrap();
    for position in 0..raw.len() {
        let mut changed = raw.clone();
        changed[position] ^= 1;
        assert!(verify(SignatureFormat::SshSig, &changed, key).is_err(), "byte {position} of {}", raw.len());
    }
    raw.push(0);
    assert!(verify(SignatureFormat::SshSig, &raw, key).is_err(), "a byte after the signature");
}

#[test]
fn small_ssh_keys_are_refused() {
    let folder = folder();
    let at = folder.path();
    succeeds(tool("ssh-keygen").current_dir(at).args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", "key"]));
    let line = fs::read_to_string(at.join("key.pub")).unwrap();
    assert!(PublicKey::from_openssh(&line).unwrap_err().to_string().contains("2048 bits"));
    assert!(read_key(&at.join("key"), None).is_err());
    fs::write(at.join("document"), DOCUMENT).unwrap();
    succeeds(tool("ssh-keygen").current_dir(at).args(["-Y", "sign", "-f", "key", "-n", NAMESPACE, "document"]));
    let theirs = fs::read(at.join("document.sig")).unwrap();
    let other = generate(&Password::new("")).unwrap().key;
    assert_eq!(verify(SignatureFormat::SshSig, &theirs, other.public_key()).unwrap_err().reason(), "KeyNotAccepted");
}

/// An ssh-agent that ends with the test.
struct RunningAgent(Child);

impl Drop for RunningAgent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn keys_of_an_ssh_agent_sign() {
    let folder = folder();
    let at = folder.path();
    let socket = at.join("agent");
    let child = tool("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn();
    let _agent = RunningAgent(child.expect("ssh-agent starts; install it: apt-get install openssh-client"));
    let deadline = Instant::now() + Duration::from_secs(30);
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        assert!(Instant::now() < deadline, "ssh-agent does not listen");
        std::thread::yield_now();
    }
    let agent = Agent::at(&socket);
    for (kind, bits) in [("ed25519", "256"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "3072")] {
        let name = format!("{kind}{bits}");
        succeeds(tool("ssh-keygen").current_dir(at).args(["-q", "-t", kind, "-b", bits, "-N", "", "-f", &name]));
        let public = PublicKey::from_openssh(&fs::read_to_string(at.join(format!("{name}.pub"))).unwrap()).unwrap();
        assert!(agent.key(&public).unwrap_err().to_string().contains("does not hold"));
        succeeds(tool("ssh-add").current_dir(at).env("SSH_AUTH_SOCK", &socket).args(["-q", &name]));
        let key = agent.key(&public).unwrap();
        for format in SignatureFormat::ALL {
            verify(format, &key.sign_document(DOCUMENT, format).unwrap(), &public).unwrap();
        }
    }
    assert_eq!(agent.keys().unwrap().len(), 5);
}

#[test]
fn openssl_reads_and_writes_what_we_do() {
    let folder = folder();
    let at = folder.path();
    fs::write(at.join("document"), DOCUMENT).unwrap();
    let openssl = |arguments: &str| succeeds(tool("openssl").current_dir(at).args(arguments.split(' ')));
    openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out plain");
    openssl("pkey -in plain -pubout -out public");
    openssl("pkcs8 -topk8 -in plain -out encrypted -v2 aes-256-cbc -passout pass:secret");
    openssl("pkcs8 -topk8 -in plain -out scrypted -scrypt -passout pass:secret");
    openssl("ec -in plain -out sec1");
    let public = PublicKey::from_pem(&fs::read_to_string(at.join("public")).unwrap()).unwrap();
    for (file, password) in [("plain", None), ("encrypted", Some("secret")), ("scrypted", Some("secret")), ("sec1", None)] {
        let key = read_key(&at.join(file), password).unwrap();
        assert_eq!(key.public_key(), &public, "{file}");
        fs::write(at.join("signature"), key.sign(DOCUMENT).unwrap()).unwrap();
        openssl("dgst -sha256 -verify public -signature signature document");
    }
    assert!(matches!(read_key(&at.join("encrypted"), Some("wrong")), Err(KeyFileError::Decrypt)));
    assert!(matches!(read_key(&at.join("encrypted"), None), Err(KeyFileError::PasswordNeeded)));
    openssl("dgst -sha256 -sign plain -out raw document");
    verify(SignatureFormat::Detached, &fs::read(at.join("raw")).unwrap(), &public).unwrap();
}

#[test]
fn commits_git_signed_with_an_ssh_key_are_verified_over_their_raw_bytes() {
    use assay_core::git::commit::Commit;
    use assay_core::signature::verify_commit;
    let folder = folder();
    let at = folder.path();
    succeeds(tool("ssh-keygen").current_dir(at).args(["-q", "-t", "ed25519", "-N", "", "-f", "key"]));
    let public = PublicKey::from_openssh(&fs::read_to_string(at.join("key.pub")).unwrap()).unwrap();
    let git = |arguments: &[&str]| {
        let mut command = tool("git");
        command.current_dir(at).env("HOME", at).env("GIT_CONFIG_NOSYSTEM", "1");
        for (name, value) in [("NAME", "Alice"), ("EMAIL", "alice@example.com"), ("DATE", "1700000000 +0100")] {
            command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
        }
        let output = run(command.args(arguments));
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    for format in ["sha1", "sha256"] {
        let _ = fs::remove_dir_all(at.join(".git"));
        git(&["init", "-q", &format!("--object-format={format}")]);
        git(&[
            "-c",
            "gpg.format=ssh",
            "-c",
            "user.signingkey=key",
            "commit",
            "-q",
            "-S",
            "--allow-empty",
            "-m",
            "Signed\n\nüber",
        ]);
        let raw = git(&["cat-file", "commit", "HEAD"]);
        let verify = |raw: &[u8], key: &PublicKey| match Commit::parse(raw) {
            Ok(commit) => verify_commit(&commit, &[Identity::with_key("alice", key.clone())], None, Timestamp::EPOCH)
                .map_err(|error| error.reason().to_owned()),
            Err(error) => Err(error.to_string()),
        };
        assert_eq!(verify(&raw, &public).unwrap().identity, "alice");
        let mallory = generate(&Password::new("")).unwrap().key;
        assert_eq!(verify(&raw, mallory.public_key()).unwrap_err(), "UnknownSigner");
        for position in 0..raw.len() {
            let mut changed = raw.clone();
            changed[position] ^= 1;
            assert!(verify(&changed, &public).is_err(), "byte {position} of {}", String::from_utf8_lossy(&raw));
        }
        git(&["commit", "-q", "--no-gpg-sign", "--allow-empty", "-m", "Unsigned"]);
        assert_eq!(verify(&git(&["cat-file", "commit", "HEAD"]), &public).unwrap_err(), "CommitUnsigned");
    }
}

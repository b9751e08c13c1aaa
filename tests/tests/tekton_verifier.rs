//! Definitions before Tekton's own verifier: checksums, signatures and policies come to the same there and here (edge E3).
//!
//! `hack/tools/tekton.sh` builds the verifier from the pinned Tekton module, whose examples are most of the corpus. Every definition is
//! signed as `assay pipeline sign` signs, and then changed line by line: what either of the two readers refuses, both refuse, but for
//! what [`stricter`] lists; what both read has one checksum; a signature counts for both or for neither.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use assay_adapters::keys::SigningKey;
use assay_core::signature::PublicKey;
use assay_core::tekton::trust::{self, HashAlgorithm, VerificationKey};
use assay_core::tekton::verification_policy::{PolicyOutcome, VerificationPolicy, judge};
use assay_core::tekton::{Document, TektonError, edit};
use assay_tests::{repository, root};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Folder with Tekton's programs and examples.
fn tekton() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let output = Command::new(root().join("hack/tools/tekton.sh")).output().expect("hack/tools/tekton.sh starts");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "hack/tools/tekton.sh failed: it needs Go, and its module proxy once: {said}");
        String::from_utf8(output.stdout).unwrap().trim().into()
    })
}

/// Kinds that Tekton verifies, by their first lines.
fn is_definition(text: &str) -> bool {
    let line = |start: &str| text.lines().any(|line| line.starts_with(start));
    ["kind: Task", "kind: Pipeline", "kind: StepAction"].iter().any(|kind| text.lines().any(|line| line.trim_end() == *kind))
        || (line("kind: ClusterTask") || text.trim_start().starts_with('{'))
}

/// Every definition: of Tekton's examples, of the catalog, and those that were written to be difficult.
fn corpus() -> Vec<String> {
    fn files(folder: &Path, found: &mut Vec<String>) {
        let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                files(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut texts = Vec::new();
    files(&tekton().join("examples"), &mut texts);
    texts.extend(repository::texts("catalog", &["yaml"]).into_iter().map(|(_, text)| text));
    texts.push(std::fs::read_to_string(root().join("tests/data/tekton/definitions.yaml")).unwrap());
    let mut documents = Vec::new();
    for text in texts {
        let mut document = String::new();
        for line in text.lines().chain(["---"]) {
            if line.trim_end() == "---" {
                if is_definition(&document) {
                    documents.push(std::mem::take(&mut document));
                }
                document.clear();
            } else {
                document.push_str(line);
                document.push('\n');
            }
        }
    }
    documents
}

/// A key pair in PEM, by OpenSSL.
struct Pair {
    name: &'static str,
    key: SigningKey,
    public: String,
}

fn pairs() -> Vec<Pair> {
    let openssl = |arguments: &[&str], input: &[u8]| -> Vec<u8> {
        use std::io::Write as _;
        let mut child = Command::new("openssl")
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("openssl starts; apt-get install openssl");
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "openssl {arguments:?}");
        output.stdout
    };
    [
        ("P-256", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"][..]),
        ("P-384", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"]),
        ("P-521", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]),
        ("Ed25519", &["-algorithm", "ED25519"]),
        ("RSA", &["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072"]),
    ]
    .into_iter()
    .map(|(name, options)| {
        let private = openssl(&[&["genpkey"], options].concat(), b"");
        let public = String::from_utf8(openssl(&["pkey", "-pubout"], &private).clone()).unwrap();
        Pair { name, key: SigningKey::from_pem(&private, || None).unwrap(), public }
    })
    .collect()
}

impl Pair {
    fn hash(&self) -> &'static str {
        HashAlgorithm::of_key(self.key.public_key().kind()).as_str()
    }

    fn verification(&self) -> VerificationKey {
        VerificationKey::of(PublicKey::from_pem(&self.public).unwrap())
    }

    /// The definition with this key's signature; `None` if its text is not written so that one can be put in.
    fn sign(&self, text: &str) -> Option<String> {
        let checksum = Document::parse(text.as_bytes()).ok()?.checksum();
        edit::with_signature(text, &STANDARD.encode(self.key.sign(checksum.as_bytes()).unwrap())).ok()
    }
}

/// What Tekton says about each text.
fn theirs(texts: &[String], arguments: &[&str]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    let names: Vec<String> = (0..texts.len()).map(|number| format!("{number}.yaml")).collect();
    for (name, text) in names.iter().zip(texts) {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    for names in names.chunks(5_000) {
        let output =
            Command::new(tekton().join("verify")).args(arguments).args(names).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        found.extend(
            output
                .stdout
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(|line| serde_json::from_slice::<Value>(line).unwrap()),
        );
    }
    assert_eq!(found.len(), texts.len());
    found
}

/// What is refused here and read by Tekton, on purpose: readers of YAML do not agree about it, or nothing could refer to it.
fn stricter(error: &TektonError) -> Option<&'static str> {
    match error {
        TektonError::NoName => Some("no name"),
        TektonError::Kind { .. } => Some("kind"),
        TektonError::ParseYaml { detail, .. } if detail.contains("anchors") => Some("anchor"),
        TektonError::ParseYaml { detail, .. } if detail.contains("tags") => Some("tag"),
        TektonError::ParseYaml { detail, .. } if detail.contains("a key that is not a string") => Some("key"),
        TektonError::ParseYaml { detail, .. } if detail.contains("invalid indentation") => Some("indentation"),
        _ => None,
    }
}

/// Changes of single lines, the same ones each time, about so many.
fn changed(texts: &[String], about: usize) -> Vec<(usize, String)> {
    let changes: [fn(&str, &str) -> String; 16] = [
        |_, _| String::new(),
        |line, _| format!("{line}\n{line}"),
        |line, indent| format!("{line}\n{indent}unheardOf: 1"),
        |line, _| format!("{} null", head(line)),
        |line, _| format!("{} []", head(line)),
        |line, _| format!("{} {{}}", head(line)),
        |line, _| format!("{} 5", head(line)),
        |line, _| format!("{} 1.0", head(line)),
        |line, _| format!("{} yes", head(line)),
        |line, _| format!("{} \"a<b>&c\\u2028\"", head(line)),
        |line, _| format!("{} 0644", head(line)),
        |line, _| format!("{} [a, 1]", head(line)),
        |line, _| format!("{} {{a: b}}", head(line)),
        |line, _| line.to_uppercase(),
        |line, _| format!("{line} # a remark"),
        |line, indent| format!("{indent}{line}"),
    ];
    let places: usize = texts.iter().map(|text| text.lines().count() * changes.len()).sum();
    // A step that has no divisor in common with the number of changes comes past each of them.
    let step = (places / about).max(1) | 1;
    let mut made = Vec::new();
    let mut place = 0;
    for (index, text) in texts.iter().enumerate() {
        let lines: Vec<&str> = text.lines().collect();
        for number in 0..lines.len() {
            let indent = &lines[number][..lines[number].len() - lines[number].trim_start().len()];
            for change in changes {
                place += 1;
                if place % step != 0 {
                    continue;
                }
                let mut other: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
                other[number] = change(lines[number], indent);
                made.push((index, other.join("\n") + "\n"));
            }
        }
    }
    made
}

/// `key:` of a line, with what stands before it.
fn head(line: &str) -> &str {
    line.find(": ").map_or(line.trim_end(), |at| &line[..=at])
}

#[derive(Debug, Default)]
struct Tally {
    read: usize,
    refused: usize,
    verified: usize,
    stricter: BTreeMap<&'static str, usize>,
}

/// Compares one text; says what differs.
fn compare(text: &str, key: &VerificationKey, theirs: &Value, tally: &mut Tally) -> Result<(), String> {
    let error = theirs.get("error").and_then(Value::as_str);
    match (Document::parse(text.as_bytes()), error) {
        (Ok(document), None) => {
            tally.read += 1;
            if theirs["checksum"] != document.checksum().hex() {
                return Err(format!("checksums differ: {}", String::from_utf8_lossy(document.canonical())));
            }
            let verified = trust::verify(&document, std::slice::from_ref(key)).is_ok();
            tally.verified += usize::from(verified);
            if theirs["verified"] != verified {
                return Err(format!("verified here: {verified}, there: {theirs}"));
            }
            Ok(())
        }
        (Err(_), Some(_)) => {
            tally.refused += 1;
            Ok(())
        }
        (Err(error), None) => match stricter(&error) {
            Some(why) => {
                *tally.stricter.entry(why).or_default() += 1;
                Ok(())
            }
            None => Err(format!("refused here alone: {error}")),
        },
        (Ok(_), Some(error)) => Err(format!("refused by Tekton alone: {error}")),
    }
}

fn differences(texts: &[String], key: &VerificationKey, found: &[Value], tally: &mut Tally) -> Vec<String> {
    texts
        .iter()
        .zip(found)
        .filter_map(|(text, found)| compare(text, key, found, tally).err().map(|why| format!("{why}\n{text}")))
        .collect()
}

fn none(differences: &[String]) {
    let shown: Vec<&str> = differences.iter().take(12).map(String::as_str).collect();
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), shown.join("\n=====\n"));
}

#[test]
fn definitions_signed_here_are_accepted_by_tekton_and_changed_ones_by_neither() {
    let corpus = corpus();
    let pairs = pairs();
    let (mut found, mut signed_by) = (Vec::new(), BTreeSet::new());
    let mut tally = Tally::default();
    // As they are.
    let key = pairs[0].verification();
    found.extend(differences(&corpus, &key, &theirs(&corpus, &[]), &mut tally));
    assert!(tally.read >= 100, "only {} definitions of {} are read: {tally:?}", tally.read, corpus.len());
    assert!(tally.refused >= 1 && tally.verified == 0, "{tally:?}");
    let mut signed_texts = 0;
    let folder = tempfile::tempdir().unwrap();
    for (number, pair) in pairs.iter().enumerate() {
        let public = folder.path().join(format!("{number}.pub"));
        std::fs::write(&public, &pair.public).unwrap();
        let arguments = ["-key", public.to_str().unwrap(), "-hash", pair.hash()];
        let mine = corpus.iter().enumerate().filter(|(index, _)| index % pairs.len() == number);
        let signed: Vec<String> = mine.filter_map(|(_, text)| pair.sign(text)).collect();
        signed_texts += signed.len();
        signed_by.insert(pair.name);
        let mut tally = Tally::default();
        found.extend(differences(&signed, &pair.verification(), &theirs(&signed, &arguments), &mut tally));
        assert_eq!((tally.verified, tally.read), (signed.len(), signed.len()), "{}: {tally:?}", pair.name);
        // By somebody else's key.
        let other = &pairs[(number + 1) % pairs.len()];
        let other_public = folder.path().join("other.pub");
        std::fs::write(&other_public, &other.public).unwrap();
        let arguments_other = ["-key", other_public.to_str().unwrap(), "-hash", other.hash()];
        let mut tally = Tally::default();
        found.extend(differences(&signed, &other.verification(), &theirs(&signed, &arguments_other), &mut tally));
        assert_eq!(tally.verified, 0, "{}", pair.name);
        // Changed after signing.
        let mutants = changed(&signed, 1_000);
        let texts: Vec<String> = mutants.iter().map(|(_, text)| text.clone()).collect();
        let mut tally = Tally::default();
        found.extend(differences(&texts, &pair.verification(), &theirs(&texts, &arguments), &mut tally));
        assert!(texts.len() >= 500 && tally.refused >= 50 && tally.read > tally.verified + 50, "{}: {tally:?}", pair.name);
        assert!(tally.stricter.values().sum::<usize>() < texts.len() / 50, "{}: {tally:?}", pair.name);
        // Only what changed nothing in meaning is still verified.
        for (index, text) in &mutants {
            let Ok(document) = Document::parse(text.as_bytes()) else { continue };
            let original = Document::parse(signed[*index].as_bytes()).unwrap();
            let same = document.checksum() == original.checksum() && document.signature() == original.signature();
            let verified = trust::verify(&document, &[pair.verification()]).is_ok();
            assert!(!verified || same, "verified, and says something else:\n{text}");
        }
    }
    assert!(signed_texts >= 50, "only {signed_texts} definitions are written so that they can be signed");
    none(&found);
}

#[test]
fn every_hash_of_every_key_is_judged_alike() {
    let pairs = pairs();
    let text = "apiVersion: tekton.dev/v1\nkind: Task\nmetadata:\n  name: t\nspec:\n  steps:\n    - name: s\n      image: i\n";
    let folder = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    for pair in &pairs {
        let signed = vec![pair.sign(text).unwrap()];
        let public = folder.path().join("key.pub");
        std::fs::write(&public, &pair.public).unwrap();
        for hash in HashAlgorithm::ALL {
            let key = PublicKey::from_pem(&pair.public).unwrap();
            let Ok(key) = VerificationKey::new(key, hash) else { continue };
            let said = theirs(&signed, &["-key", public.to_str().unwrap(), "-hash", hash.as_str()]);
            let mut tally = Tally::default();
            found.extend(differences(&signed, &key, &said, &mut tally));
            let own = pair.name == "Ed25519" || hash.as_str() == pair.hash();
            assert_eq!(tally.verified, usize::from(own), "{} with {}", pair.name, hash.as_str());
        }
    }
    none(&found);
}

#[test]
fn verification_policies_come_to_the_same() {
    let pairs = pairs();
    let text = "apiVersion: tekton.dev/v1\nkind: Task\nmetadata:\n  name: t\nspec:\n  steps:\n    - name: s\n      image: i\n";
    let signed = vec![pairs[0].sign(text).unwrap()];
    let policy = |name: &str, pattern: &str, keys: &[&Pair], mode: &str| {
        let authorities: Vec<Value> = keys
            .iter()
            .map(|pair| json!({"name": pair.name, "key": {"data": pair.public, "hashAlgorithm": pair.hash()}}))
            .collect();
        let mut spec = json!({"resources": [{"pattern": pattern}], "authorities": authorities});
        if !mode.is_empty() {
            spec["mode"] = json!(mode);
        }
        json!({"apiVersion": "tekton.dev/v1alpha1", "kind": "VerificationPolicy", "metadata": {"name": name}, "spec": spec})
    };
    let (good, bad) = (&pairs[0], &pairs[1]);
    let source = "git+https://git.example.com/team/catalog.git";
    let team = "https://git.example.com/team/.*";
    let cases = [
        (vec![policy("a", team, &[good], "")], source, "pass"),
        (vec![policy("a", team, &[bad], "enforce")], source, "error"),
        (vec![policy("a", team, &[bad, good], "enforce")], source, "pass"),
        (vec![policy("a", team, &[good], ""), policy("b", ".*", &[bad], "enforce")], source, "error"),
        (vec![policy("a", team, &[good], ""), policy("b", ".*", &[bad], "warn")], source, "warn"),
        (vec![policy("a", team, &[bad], "warn")], source, "warn"),
        (vec![policy("a", team, &[bad], ""), policy("b", ".*", &[good], "")], "https://elsewhere.example.com/x", "pass"),
        (vec![policy("a", team, &[good], "")], "https://elsewhere.example.com/x", "none"),
        (vec![policy("a", "git.example.com", &[good], "")], source, "none"),
        (vec![policy("a", "^https://git.example.com/team/catalog.git$", &[good], "")], source, "pass"),
        (vec![policy("a", "^https://git.example.com|evil$", &[good], "")], "https://git.example.com.evil", "pass"),
        (vec![policy("a", "https://a|https://b", &[good], "")], "https://a.evil", "none"),
        (vec![policy("a", team, &[good], "")], "https://evil.example.com/?https://git.example.com/team/x", "none"),
        (vec![policy("a", r"https://git\.example\.com/[a-z]+/\S*", &[good], "")], source, "pass"),
        (vec![policy("a", "(", &[good], "")], source, "error"),
        (vec![policy("a", "git+https://.*", &[good], "")], source, "none"),
        (vec![policy("a", ".*", &[good], "")], "  git+https://x  ", "pass"),
        (vec![], source, "none"),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policies.json");
    let document = Document::parse(signed[0].as_bytes()).unwrap();
    for (policies, source, expected) in cases {
        std::fs::write(&file, serde_json::to_vec(&policies).unwrap()).unwrap();
        let said = theirs(&signed, &["-policies", file.to_str().unwrap(), "-source", source]);
        assert_eq!(said[0]["outcome"], expected, "Tekton, {policies:?}, {source}");
        let read: Result<Vec<_>, _> = policies
            .iter()
            .map(|policy| VerificationPolicy::from_object(policy).and_then(|read| read.resolve(|_, _| None)))
            .collect();
        let ours = match read.map(|policies| judge(&document, source, &policies)) {
            Ok(PolicyOutcome::NoMatch) => "none",
            Ok(PolicyOutcome::Pass(_)) => "pass",
            Ok(PolicyOutcome::Warn { .. }) => "warn",
            Ok(PolicyOutcome::Refused { .. }) | Err(_) => "error",
        };
        assert_eq!(ours, expected, "here, {policies:?}, {source}");
    }
}

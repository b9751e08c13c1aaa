//! A policy that asks for the commit's own signature, at replay and at the gate.

use assay_core::edge::{Edge, EdgeState, Finding};
use assay_core::gate::{Request, judge};
use assay_core::git::commit::parse_commits;
use assay_core::git::{Mode, ObjectFormat};
use assay_core::reason::Reason;
use assay_core::tree::{Entry, SourceTree};
use assay_core::verify::{RevocationTarget, Revoked, State};

use super::threats::{broken, revocations};
use super::world::{Draft, Key, REF, URL, World, author, gate, identity, now, stranger};

fn committer() -> Key {
    Key::new(40)
}

fn draft(signer: Option<Key>) -> Draft {
    let rule = format!("binding: Provenance, commitSignatures: {{identities: [{}]}}}}", identity("carol", &committer()));
    Draft {
        commit_signer: signer,
        policy: Box::new(move |policy| *policy = policy.replacen("binding: Provenance}", &rule, 1)),
        ..Draft::default()
    }
}

/// E2 as the gate judges it, with git's tree at hand.
fn at_gate(world: &World, files: &[(&'static str, Vec<u8>)]) -> Finding {
    let source = &world.evidence.sources[0];
    let mut entries: Vec<Entry> = Vec::new();
    let mut add =
        |path: String, bytes: &[u8]| entries.push(Entry::of_bytes(path.into_bytes(), Mode::Regular, bytes, ObjectFormat::Sha1));
    files.iter().for_each(|(path, bytes)| add((*path).to_owned(), bytes));
    add(".assay/source.spdx.json".to_owned(), &source.sbom);
    source.signatures.iter().for_each(|signature| add(format!(".assay/signatures/{}", signature.file_name), &signature.bytes));
    let request = Request {
        sbom: &source.sbom,
        signatures: &source.signatures,
        tree: &SourceTree::new(entries).unwrap(),
        commits: &parse_commits(&source.commits).unwrap(),
        url: &URL.parse().unwrap(),
        reference: &REF.parse().unwrap(),
    };
    let findings = match judge(&request, &world.policy, None, now()) {
        Ok(approval) => approval.findings().to_vec(),
        Err(findings) => findings,
    };
    assert_eq!(findings[0].state, EdgeState::Ok, "{:?}", findings[0]);
    findings[1].clone()
}

#[test]
fn a_commit_signed_by_whom_the_policy_names_is_verified() {
    let draft = draft(Some(committer()));
    let world = draft.build();
    let verdict = world.verdict();
    assert!(verdict.verified().is_some(), "{:?}", verdict.refusals().next());
    assert!(verdict.edge(Edge::E2).unwrap().found.contains("the commit by carol"));
    assert_eq!(at_gate(&world, &draft.files).state, EdgeState::Ok);
}

#[test]
fn threat_an_unsigned_commit_where_the_policy_asks_for_its_signature() {
    // Signatures over the SBOM do not stand in for it, nor does the author's own key, who is not named for commits.
    for signer in [None, Some(stranger()), Some(author())] {
        let draft = draft(signer);
        let world = draft.build();
        broken(&world.verdict(), Edge::E2, Reason::CommitNotSigned);
        assert_eq!(at_gate(&world, &draft.files).reason, Reason::CommitNotSigned);
    }
}

#[test]
fn threat_a_revoked_key_signed_the_commit() {
    let base = draft(Some(committer()));
    let with_list = Draft {
        policy: Box::new(move |policy| {
            (base.policy)(policy);
            policy.push_str(&format!("  revocations: {{identities: [{}]}}\n", identity("security", &gate())));
        }),
        commit_signer: Some(committer()),
        ..Draft::default()
    };
    let world = with_list.build();
    let verdict = |targets: Vec<RevocationTarget>| {
        let list =
            revocations(7, targets.into_iter().map(|target| Revoked { target, since: None, reason: "stolen".into() }).collect());
        world.verdict_with(&State { revocations: Some((&list, 7)), ..State::first_look() })
    };
    assert!(verdict(Vec::new()).verified().is_some());
    for target in [RevocationTarget::Key(committer().public().id()), RevocationTarget::Identity("carol".into())] {
        broken(&verdict(vec![target]), Edge::E2, Reason::CommitNotSigned);
    }
}

#[test]
fn the_authors_threshold_comes_first() {
    let draft = Draft { source_signers: vec![stranger()], ..draft(Some(committer())) };
    broken(&draft.verdict(), Edge::E2, Reason::TooFewSignatures);
}

#[test]
fn every_changed_byte_of_a_signed_commit_is_refused() {
    let world = draft(Some(committer())).build();
    let length = world.evidence.sources[0].commits.iter().position(|byte| *byte == 0).unwrap() + 200;
    for position in 0..length {
        let mut world = draft(Some(committer())).build();
        world.evidence.sources[0].commits[position] ^= 1;
        assert!(world.verdict().verified().is_none(), "byte {position}");
    }
}

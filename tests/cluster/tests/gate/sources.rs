//! E1 and E2: what a gate lets through, and what it refuses with which reason.

use assay_adapters::keys::Password;
use assay_adapters::keys::generate::generate;
use assay_cluster_tests::{Needs, run};
use assay_core::signature::{Identity, verify_attestation};
use assay_core::time::Timestamp;
use assay_core::vsa::Summary;
use serde_json::json;

use crate::world::{MAIN, World, result};

#[test]
fn a_good_commit_passes_and_the_verdict_says_all() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        let first = world.commit(&[("a.txt", "one\n")]).await?;
        let commit = world.commit(&[("a.txt", "two\n"), ("bin/b", "b")]).await?;
        let object = test.succeeded(&world.gate("good", &[], json!({})).await?).await?;
        assert_eq!(result(&object, "commit"), commit);
        assert_eq!(result(&object, "ref"), MAIN);
        assert_eq!(result(&object, "url"), world.repository.url.trim_end_matches(".git"));
        // The verdict is signed by the gate's key and says the same.
        let me = [Identity::with_key("gate", world.gate_key.public_key().clone())];
        let now = Timestamp::from_seconds(4_000_000_000).unwrap();
        let signed = verify_attestation(result(&object, "vsa").as_bytes(), &me, None, now)?;
        assert_eq!(signed.envelope_digest.to_string(), result(&object, "vsa-digest"));
        let summary: Summary = signed.statement.predicate()?;
        let order = summary.order.clone().expect("an order");
        assert_eq!((order.reference.as_str(), order.depth), (MAIN, 2));
        assert_eq!(summary.parents, Some(vec![first.parse()?]));
        assert_eq!(summary.policy.sha256().map(|digest| digest.to_string()), Some(result(&object, "policy-digest")));
        assert_eq!(signed.statement.subject[0].digest["gitCommit"], commit);
        // An older commit of the same ref, by id.
        let object = test.succeeded(&world.gate("older", &[("revision", &first), ("ref", MAIN)], json!({})).await?).await?;
        assert_eq!(result(&object, "commit"), first);
        // A full ref name.
        test.succeeded(&world.gate("full", &[("revision", MAIN)], json!({})).await?).await?;
        Ok(())
    });
}

#[test]
fn a_note_vouches_for_a_commit_that_carries_nothing() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        let commit = test.commit(&world.repository, &[("a.txt", "one\n")], "no evidence").await?;
        world.refused("before", &[], "SourceMissing", &["carries no source SBOM", &commit]).await?;
        world.note(&world.alice, &commit).await?;
        for carrier in ["notes", "any"] {
            let object = test.succeeded(&world.gate(carrier, &[("carrier", carrier)], json!({})).await?).await?;
            assert_eq!(result(&object, "commit"), commit);
        }
        world.refused("tree", &[("carrier", "tree")], "SourceMissing", &["Tree"]).await
    });
}

#[test]
fn threat_files_that_nobody_vouched_for_are_refused() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        let url = world.repository.url.clone();
        let files = [("a.txt", "one\n"), ("run.sh", "true\n")];
        world.commit(&files).await?;
        type Change = fn(&std::path::Path) -> std::io::Result<()>;
        let changes: [(&str, Change); 5] = [
            ("edited", |folder| std::fs::write(folder.join("a.txt"), "evil\n")),
            ("extra", |folder| std::fs::write(folder.join("evil.txt"), "evil\n")),
            ("missing", |folder| std::fs::remove_file(folder.join("a.txt"))),
            ("mode", |folder| {
                use std::os::unix::fs::PermissionsExt as _;
                std::fs::set_permissions(folder.join("run.sh"), std::fs::Permissions::from_mode(0o755))
            }),
            ("symlink", |folder| {
                std::fs::remove_file(folder.join("a.txt"))?;
                std::os::unix::fs::symlink("run.sh", folder.join("a.txt"))
            }),
        ];
        for (name, change) in changes {
            world.commit_as(&world.alice, &url, MAIN, &files, async |folder| Ok(change(folder)?)).await?;
            world.refused(name, &[], "TreeMismatch", &["E1 source"]).await?;
            // Back to what everybody agrees on.
            let _ = std::fs::remove_file(world.folder().join("a.txt"));
            let _ = std::fs::remove_file(world.folder().join("run.sh"));
            let _ = std::fs::remove_file(world.folder().join("evil.txt"));
        }
        Ok(())
    });
}

#[test]
fn threat_a_stranger_or_too_few_signatures() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        let mallory = generate(&Password::new("x")).unwrap().key;
        let url = world.repository.url.clone();
        world.commit_as(&mallory, &url, MAIN, &[("a.txt", "one\n")], async |_| Ok(())).await?;
        world.refused("stranger", &[], "TooFewSignatures", &["E2 author", "alice"]).await?;
        // Alice alone is not enough where two are asked for.
        world.commit(&[("a.txt", "two\n")]).await?;
        let mut spec = world.spec();
        spec["authors"] =
            json!({"threshold": 2, "identities": [world.identity("alice", &world.alice), world.identity("bob", &mallory)]});
        world.policy("two", &spec).await?;
        world.refused("alone", &[("policy", "two")], "TooFewSignatures", &["2 distinct"]).await
    });
}

#[test]
fn threat_an_old_signed_tree_on_top_of_main() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        let old = world.commit(&[("a.txt", "vulnerable\n")]).await?;
        world.commit(&[("a.txt", "mended\n")]).await?;
        test.git(&world.repository, &["checkout", "-q", &old, "--", "."]).await?;
        test.git(&world.repository, &["commit", "-q", "-m", "old news"]).await?;
        test.git(&world.repository, &["push", "-q", "origin", "HEAD:main"]).await?;
        world.refused("again", &[], "ParentsMismatch", &["E1 source"]).await
    });
}

#[test]
fn threat_another_repository_ref_or_history() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        let files = [("a.txt", "one\n")];
        let url = world.repository.url.clone();
        // Signed by Alice, for another repository of hers.
        world.commit_as(&world.alice, "https://git.example.com/alice/other", MAIN, &files, async |_| Ok(())).await?;
        world.refused("other-repository", &[], "RepositoryNotAllowed", &["git.example.com/alice/other"]).await?;
        // Signed for another ref.
        world.commit_as(&world.alice, &url, "refs/heads/dev", &files, async |_| Ok(())).await?;
        world.refused("other-ref", &[], "RefNotAllowed", &["refs/heads/dev"]).await?;
        // Repositories and refs that the policy does not name are not even asked.
        let elsewhere = format!("{}/elsewhere.git", test.env().git_url()?);
        world.refused("elsewhere", &[("url", &elsewhere)], "RepositoryNotAllowed", &["elsewhere"]).await?;
        world.refused("dev", &[("revision", "refs/heads/dev")], "RefNotAllowed", &["refs/heads/dev"]).await?;
        // A commit that is not on main any more.
        let lost = world.commit(&[("a.txt", "lost\n")]).await?;
        test.git(&world.repository, &["reset", "-q", "--hard", "HEAD~1"]).await?;
        world.commit(&[("a.txt", "found\n")]).await?;
        world.refused("lost", &[("revision", &lost), ("ref", MAIN)], "CommitNotOnRef", &[&lost]).await
    });
}

#[test]
fn parameters_are_refused_by_name() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        let commit = world.commit(&[("a.txt", "one\n")]).await?;
        for (name, param, value) in [
            ("url", "url", "not a url"),
            ("password", "url", "https://user:secret@git.example.com/a"),
            ("revision", "revision", "refs/heads/a..b"),
            ("ref", "revision", commit.as_str()),
            ("carrier", "carrier", "pigeon"),
            ("policy", "policy", "Secret/x"),
            ("image", "image", "evil"),
        ] {
            world
                .refused(name, &[(param, value)], "InvalidParameter", &[&format!("{name:?}").replace("password", "url")])
                .await?;
        }
        world.refused("gone", &[("revision", "refs/heads/main"), ("policy", "none")], "PolicyMissing", &["none"]).await?;
        let mut spec = world.spec();
        spec["sources"]["refs"] = json!(["refs/heads/*"]);
        world.policy("wide", &spec).await?;
        world.refused("absent", &[("revision", "absent"), ("policy", "wide")], "InvalidParameter", &["refs/heads/absent"]).await
    });
}

#[test]
fn a_server_without_filters_serves_as_well() {
    run(Needs::Api, async |test| {
        let world = World::new(test, &[]).await?;
        let served = test.env().git_folder()?.join(format!("{}-app.git", test.namespace()));
        test.output(
            std::time::Duration::from_secs(20),
            tokio::process::Command::new("git").arg("-C").arg(&served).args(["config", "uploadpack.allowFilter", "false"]),
        )
        .await?;
        let first = world.commit(&[("a.txt", "one\n")]).await?;
        let commit = world.commit(&[("a.txt", "two\n")]).await?;
        let object = test.succeeded(&world.gate("head", &[], json!({})).await?).await?;
        assert_eq!(result(&object, "commit"), commit);
        let object = test.succeeded(&world.gate("older", &[("revision", &first), ("ref", MAIN)], json!({})).await?).await?;
        assert_eq!(result(&object, "commit"), first);
        Ok(())
    });
}

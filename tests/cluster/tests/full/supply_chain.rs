//! Chains with real cosign, Fulcio, the timestamp authority.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use assay_cluster_tests::{Needs, Signer, Test, annotation, run};
use serde_json::{Value, json};
use tokio::process::Command;

const PROGRAM: Duration = Duration::from_secs(30);

async fn openssl(test: &Test, arguments: &[&str]) -> Result<String> {
    test.output(PROGRAM, Command::new("openssl").args(arguments).current_dir(test.folder())).await
}

#[test]
fn chains_signs_a_task_run_and_real_cosign_verifies_its_attestation_in_the_registry() {
    run(Needs::Pods, async |test| {
        let busybox = test.env().busybox()?;
        let repository = format!("{}/{}/app", test.env().registry()?, test.namespace());
        let digest = test.push_busybox(&repository).await?;
        let task_run = test
            .create(&format!(
                "
apiVersion: tekton.dev/v1
kind: TaskRun
metadata: {{name: signed}}
spec:
  taskSpec:
    results: [{{name: IMAGE_URL}}, {{name: IMAGE_DIGEST}}]
    steps:
    - name: say
      image: {busybox}
      script: |
        #!/bin/sh
        printf %s '{repository}' >$(results.IMAGE_URL.path)
        printf %s '{digest}' >$(results.IMAGE_DIGEST.path)
"
            ))
            .await?;
        test.succeeded(&task_run).await?;
        test.signed(&task_run).await?;
        let image = format!("{repository}@{digest}");
        let key = test.env().chains_key()?;
        let statements = test.verified_attestations(&image, "slsaprovenance1", Signer::Key(&key)).await?;
        assert_eq!(statements.len(), 1, "attestations");
        assert_eq!(statements[0]["predicateType"], "https://slsa.dev/provenance/v1");
        assert_eq!(format!("sha256:{}", statements[0]["subject"][0]["digest"]["sha256"].as_str().unwrap()), digest);

        // The check can fail: a key that did not sign verifies nothing.
        openssl(test, &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "other.key"]).await?;
        openssl(test, &["ec", "-in", "other.key", "-pubout", "-out", "other.pub"]).await?;
        let other = test.folder().join("other.pub");
        let refused = test.verified_attestations(&image, "slsaprovenance1", Signer::Key(&other)).await;
        let refused = format!("{:#}", refused.expect_err("another key must not verify"));
        assert!(refused.contains("no matching attestations"), "{refused}");
        Ok(())
    });
}

/// tektoncd/chains#1210, which the recorded gate works around. When this fails, Chains has changed: good news.
#[test]
fn chains_does_not_sign_a_pipeline_run_with_a_custom_run_child() {
    run(Needs::Pods, async |test| {
        let busybox = test.env().busybox()?;
        let task = format!("taskSpec: {{steps: [{{name: s, image: '{busybox}', command: ['true']}}]}}");
        let custom = test
            .create(&format!(
                "
apiVersion: tekton.dev/v1
kind: PipelineRun
metadata: {{name: custom}}
spec:
  pipelineSpec:
    tasks:
    - {{name: gate, taskRef: {{apiVersion: check.assay.dev/v1, kind: Played, name: any}}}}
    - {{name: last, runAfter: [gate], {task}}}
"
            ))
            .await?;
        let gate = test.handle("tekton.dev/v1beta1", "CustomRun", "custom-gate").await?;
        test.exists(&gate).await?;
        test.end_custom_run(&gate, true, &[]).await?;
        test.succeeded(&custom).await?;
        test.signed(&test.handle("tekton.dev/v1", "TaskRun", "custom-last").await?).await?;
        // A run that ends later and is signed shows that Chains had its turn at the earlier one.
        let plain = test
            .create(&format!(
                "{{apiVersion: tekton.dev/v1, kind: PipelineRun, metadata: {{name: plain}},
                   spec: {{pipelineSpec: {{tasks: [{{name: only, {task}}}]}}}}}}"
            ))
            .await?;
        test.succeeded(&plain).await?;
        test.signed(&plain).await?;
        assert_eq!(annotation(&custom.get().await?, "chains.tekton.dev/signed"), None, "Chains has changed");
        Ok(())
    });
}

/// A service account of the test's namespace and a token of it for Sigstore.
async fn token(test: &Test, account: &str) -> Result<String> {
    test.create(&format!("{{apiVersion: v1, kind: ServiceAccount, metadata: {{name: {account}}}}}")).await?;
    test.token(account, "sigstore").await
}

#[test]
fn fulcio_certifies_the_key_of_a_service_account() {
    run(Needs::Pods, async |test| {
        let (url, root) = test.env().fulcio()?;
        let token = token(test, "signer").await?;
        let subject = format!("system:serviceaccount:{}:signer", test.namespace());
        openssl(test, &["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "signer.key"]).await?;
        let public = openssl(test, &["ec", "-in", "signer.key", "-pubout"]).await?;
        fs::write(test.folder().join("subject"), &subject)?;
        openssl(test, &["dgst", "-sha256", "-sign", "signer.key", "-out", "proof", "subject"]).await?;
        openssl(test, &["base64", "-A", "-in", "proof", "-out", "proof.base64"]).await?;
        let proof = fs::read_to_string(test.folder().join("proof.base64"))?;
        let request = json!({
            "credentials": {"oidcIdentityToken": token},
            "publicKeyRequest": {"publicKey": {"algorithm": "ECDSA", "content": public}, "proofOfPossession": proof},
        });
        let answer = reqwest::Client::new()
            .post(format!("{url}/api/v2/signingCert"))
            .timeout(PROGRAM)
            .json(&request)
            .send()
            .await
            .context("ask Fulcio")?;
        let status = answer.status();
        let answer: Value = serde_json::from_str(&answer.text().await?).context("Fulcio's answer")?;
        assert!(status.is_success(), "{status}: {answer}");
        let signed = ["signedCertificateDetachedSct", "signedCertificateEmbeddedSct"].iter().find_map(|kind| answer.get(kind));
        let certificate = signed.and_then(|signed| signed["chain"]["certificates"][0].as_str()).expect("a certificate");
        fs::write(test.folder().join("signer.crt"), certificate)?;
        openssl(test, &["verify", "-CAfile", utf8(&root)?, "-purpose", "any", "signer.crt"]).await?;
        let names = openssl(test, &["x509", "-in", "signer.crt", "-noout", "-ext", "subjectAltName"]).await?;
        let identity = format!("URI:https://kubernetes.io/namespaces/{}/serviceaccounts/signer", test.namespace());
        assert!(names.contains(&identity), "{names}");
        Ok(())
    });
}

#[test]
fn the_timestamp_authority_stamps_a_signature() {
    run(Needs::Pods, async |test| {
        let (url, chain) = test.env().timestamps()?;
        openssl(test, &["rand", "-out", "signature", "64"]).await?;
        openssl(test, &["ts", "-query", "-data", "signature", "-sha256", "-cert", "-out", "query"]).await?;
        let answer = reqwest::Client::new()
            .post(format!("{url}/api/v1/timestamp"))
            .timeout(PROGRAM)
            .header("content-type", "application/timestamp-query")
            .body(fs::read(test.folder().join("query"))?)
            .send()
            .await
            .context("ask the timestamp authority")?
            .error_for_status()?;
        fs::write(test.folder().join("reply"), answer.bytes().await?)?;
        let verify = ["ts", "-verify", "-in", "reply", "-CAfile", utf8(&chain)?, "-data"];
        openssl(test, &[&verify[..], &["signature"]].concat()).await?;
        openssl(test, &["rand", "-out", "other", "64"]).await?;
        openssl(test, &[&verify[..], &["other"]].concat()).await.expect_err("the stamp is not over other bytes");
        Ok(())
    });
}

#[test]
fn cosign_signs_keyless_with_a_time_stamp_and_verifies() {
    run(Needs::Pods, async |test| {
        let cosign = test.env().cosign()?;
        let (fulcio, root) = test.env().fulcio()?;
        let (stamps, chain) = test.env().timestamps()?;
        let token = token(test, "keyless").await?;
        fs::write(test.folder().join("artifact"), "artifact")?;
        let cosign = async |arguments: &[&str]| {
            test.output(PROGRAM, Command::new(&cosign).args(arguments).current_dir(test.folder())).await
        };
        let authority = format!("--fulcio=url={fulcio},certificate-chain={}", root.display());
        let stamping = format!("--tsa=url={stamps},certificate-chain={}", chain.display());
        cosign(&["trusted-root", "create", &authority, &stamping, "--out", "trusted-root.json"]).await?;
        let stamp_url = format!("{stamps}/api/v1/timestamp");
        cosign(&[
            "sign-blob",
            "--yes",
            "--use-signing-config=false",
            "--identity-token",
            &token,
            "--fulcio-url",
            fulcio,
            "--timestamp-server-url",
            &stamp_url,
            "--tlog-upload=false",
            "--new-bundle-format",
            "--trusted-root",
            "trusted-root.json",
            "--bundle",
            "bundle.json",
            "artifact",
        ])
        .await?;
        let identity = format!("https://kubernetes.io/namespaces/{}/serviceaccounts/keyless", test.namespace());
        let verify = async |identity: &str| {
            cosign(&[
                "verify-blob",
                "--new-bundle-format",
                "--trusted-root",
                "trusted-root.json",
                "--use-signed-timestamps",
                "--insecure-ignore-tlog",
                "--insecure-ignore-sct",
                "--bundle",
                "bundle.json",
                "--certificate-oidc-issuer",
                test.env().issuer()?,
                "--certificate-identity",
                identity,
                "artifact",
            ])
            .await
        };
        verify(&identity).await?;
        verify(&identity.replace("keyless", "somebody")).await.expect_err("somebody else did not sign");
        Ok(())
    });
}

fn utf8(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

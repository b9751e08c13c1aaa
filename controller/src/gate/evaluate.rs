//! Judging one attempt: what the run asks for is read from the cluster, fetched and given to the gate. All outside contact is here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use assay_adapters::gate::{self, Cache, Credentials, Gate, GateError, Quota, SourceRequest};
use assay_adapters::http::Http;
use assay_adapters::keys::SigningKey;
use assay_adapters::store::{Connection, Logins, Patience};
use assay_core::digest::Digest;
use assay_core::gate::{DefinitionRequest, DefinitionWord, Word, judge_definition};
use assay_core::policy::{Policy, PolicyError};
use assay_core::reference::Reference;
use assay_core::signature::TrustRoot;
use assay_core::time::Timestamp;
use assay_core::vsa::RunIdentity;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::Resource as _;
use kube::api::{Api, DynamicObject};
use kube::core::ApiResource;
use serde_json::Value;

use super::definition::{self, DefinitionError};
use super::plan::Outcome;
use super::recorded::{self, Record, RecordError};
use super::run::{Run, SettingsFrom};
use super::{now, pipeline_runs};
use crate::api::source_gate::{CarrierChoice, PolicyKind, PolicyRef, Recorded, ServiceAccountCredentials, SourceGateSpec};
use crate::api::{ClusterTrustPolicy, SourceGate, TrustPolicy, trust_policy};
use crate::roles::{Context, RoleError};

/// First pause after a failure that may pass; it doubles with each.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(30);
/// Most secrets of a service account that are looked at.
const SECRETS: usize = 16;

/// Why a run cannot be judged, or does not pass.
#[derive(Debug, thiserror::Error)]
enum EvaluateError {
    /// Something in the run's parameters or settings.
    #[error("{why}")]
    Invalid { reason: &'static str, why: String },
    /// The cluster did not answer.
    #[error("read {what}: {source}")]
    Cluster {
        what: String,
        #[source]
        source: kube::Error,
    },
    /// A policy that core refuses.
    #[error("policy {name:?}: {source}")]
    Policy {
        name: String,
        #[source]
        source: PolicyError,
    },
    /// The gate itself.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The definition that the run names.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The recorded gate.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl EvaluateError {
    fn invalid(reason: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { reason, why: why.into() }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Invalid { reason, .. } => reason,
            Self::Cluster { .. } => "ClusterUnavailable",
            Self::Policy { .. } => "PolicyInvalid",
            Self::Gate(error) => error.reason(),
            Self::Definition(error) => error.reason(),
            Self::Record(error) => error.reason(),
        }
    }

    fn is_transient(&self) -> bool {
        match self {
            Self::Invalid { .. } | Self::Policy { .. } => false,
            Self::Cluster { source: kube::Error::Api(answer), .. } => answer.code >= 500 || answer.code == 429,
            Self::Cluster { .. } => true,
            Self::Gate(error) => error.is_transient(),
            Self::Definition(error) => error.is_transient(),
            Self::Record(error) => error.is_transient(),
        }
    }
}

/// Judges runs.
pub(super) struct Evaluator {
    context: Arc<Context>,
    gate: Gate,
    key: SigningKey,
    trust_root: Option<TrustRoot>,
    /// What the recorded gate's pod trusts besides what its image brings, as parameters of its step.
    record_trust: Vec<(&'static str, String)>,
    cluster_rules: Option<Digest>,
}

impl Evaluator {
    /// Opens key, cache and clients: what is wrong with them is said at once, not at the first run.
    pub(super) fn new(context: Arc<Context>) -> Result<Self, RoleError> {
        let settings = &context.config.gate;
        let quota = Quota {
            pack_bytes: settings.fetch_bytes,
            pack_objects: settings.fetch_objects,
            time: Duration::from_secs(settings.fetch_seconds),
            ..Quota::default()
        };
        let connection = Connection {
            http: Http::new(&context.config.http())?,
            logins: Logins::from_environment(),
            realms: Vec::new(),
            patience: Patience::default(),
        };
        let gate = Gate { connection, cache: Cache::new(&settings.cache, settings.cache_bytes)?, quota };
        let key = context.signing_key()?;
        let (mut trust_root, mut record_trust) = (None, Vec::new());
        let authorities = context.config.ca_file.iter().map(std::fs::read_to_string).collect::<Result<Vec<_>, _>>()?;
        if !authorities.is_empty() {
            record_trust.push(("ca", authorities.join("\n")));
        }
        if let Some(path) = &context.config.trusted_root {
            let text = std::fs::read_to_string(path)?;
            trust_root = Some(TrustRoot::parse(text.as_bytes())?);
            record_trust.push(("trusted-root", text));
        }
        let cluster_rules = settings.cluster_rules()?;
        Ok(Self { context, gate, key, trust_root, record_trust, cluster_rules })
    }

    /// Judges an attempt to its end. What may pass is tried again, with growing pauses.
    pub(super) async fn evaluate(&self, run: &Run) -> Outcome {
        let mut pause = PAUSE;
        let mut tried = 1;
        loop {
            let error = match self.judge(run).await {
                Ok(outcome) => return outcome,
                Err(error) => error,
            };
            if !error.is_transient() || tried >= self.context.config.gate.attempts {
                return Outcome::refused(error.reason(), error.to_string());
            }
            tracing::warn!(%error, tried, "trying again");
            tokio::time::sleep(with_jitter(pause, &run.uid, tried)).await;
            pause = (pause * 2).min(LONGEST);
            tried += 1;
        }
    }

    /// What else has to end when a run was cancelled.
    pub(super) async fn cancelled(&self, run: &Run) {
        if self.context.config.gate.image.is_some() {
            recorded::cancel(&self.context.client, run).await;
        }
    }

    async fn judge(&self, run: &Run) -> Result<Outcome, EvaluateError> {
        let settings = self.settings(run).await?;
        let (policy, policy_text) = self.policy(run, &settings).await?;
        let request = request(run, &settings)?;
        let pipeline_run = self.pipeline_run(run).await?;
        let now = now();
        let definition = self.definition(run, &settings, &policy, pipeline_run.as_ref(), now).await?;
        let image = self.image(&settings)?;
        let credentials = self.credentials(run, &settings).await?;
        let passed = self.gate.source(&request, credentials.as_ref(), &policy, self.trust_root.as_ref(), now).await?;
        let facts = passed.approval.facts();
        let mut results = vec![
            ("url", facts.url.to_string()),
            ("commit", facts.commit.to_string()),
            ("ref", facts.reference.to_string()),
            ("commit-time", facts.commit_time.seconds().to_string()),
            ("tree-digest", facts.tree_digest.to_string()),
            ("source-digest", facts.sbom_digest.to_string()),
            ("definition-ref", definition.as_ref().map(|(reference, _)| reference.clone()).unwrap_or_default()),
            ("policy-digest", policy.digest().to_string()),
        ];
        let word = Word {
            verifier_id: self.context.config.gate.verifier_id.clone(),
            time: now,
            depth: passed.source.depth,
            run: identity(run, pipeline_run.as_ref()),
            build_parameters: build_parameters(run, &settings, pipeline_run.as_ref(), &results)?,
            definition: definition.as_ref().map(|(_, word)| word.clone()),
            cluster_rules: self.cluster_rules,
        };
        let earlier = match &image {
            Some(_) => recorded::earlier(&self.context.client, run).await?,
            None => None,
        };
        let spoken = gate::speak(&passed.approval, &word, &self.key, earlier.as_deref())?;
        results.push(("vsa-digest", spoken.digest.to_string()));
        if let Some(image) = &image {
            let record = Record {
                image,
                params: [
                    ("url", request.url.clone()),
                    ("commit", facts.commit.to_string()),
                    ("ref", facts.reference.to_string()),
                    ("carrier", request.carrier.as_str().to_owned()),
                    ("policy", policy_text),
                    ("definition-ref", definition.as_ref().map(|(reference, _)| reference.clone()).unwrap_or_default()),
                    ("vsa", spoken.bundle.clone()),
                    ("gate-key", self.key.public_key().to_pem()),
                    ("plain-http", self.context.config.plain_http.join(",")),
                ]
                .into_iter()
                .chain(self.record_trust.iter().cloned())
                .collect(),
                // When the commit was made is in no way the gate's word.
                results: results.iter().filter(|(name, _)| *name != "commit-time").cloned().collect(),
            };
            recorded::record(&self.context.client, run, &record).await?;
        }
        let message = format!(
            "commit {} on {} of {} is vouched for by {}",
            facts.commit,
            facts.reference,
            facts.url,
            passed.approval.signers().join(", ")
        );
        results.push(("vsa", spoken.bundle));
        let results = results.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Ok(Outcome::Passed { results, message })
    }

    /// The signed definition of this very run, where the policy asks for one: its reference and what the gate says of it.
    async fn definition(
        &self,
        run: &Run,
        settings: &SourceGateSpec,
        policy: &Policy,
        pipeline_run: Option<&DynamicObject>,
        now: Timestamp,
    ) -> Result<Option<(String, DefinitionWord)>, EvaluateError> {
        if policy.spec().definitions.is_none() {
            return Ok(None);
        }
        let (Some(pipeline_run), Some(gate)) = (pipeline_run, run.pipeline_task.as_deref()) else {
            let why = "the policy asks for a signed definition, but no PipelineRun owns this run";
            return Err(EvaluateError::invalid("NotInPipeline", why));
        };
        let recorded = definition::recorded(pipeline_run)?;
        let place = settings.definitions.as_ref().or(self.context.config.gate.definitions.as_ref());
        let place = place.ok_or_else(|| {
            let why = "neither the SourceGate (`definitions`) nor the controller (--gate-definitions) says where signed definitions are";
            EvaluateError::invalid("DefinitionsNotConfigured", why)
        })?;
        let checksum = match definition::checksum(&self.context.client, pipeline_run).await {
            Ok(checksum) => Some(checksum),
            // The place itself says which definition it must be; what ran is compared with it all the same.
            Err(DefinitionError::Resolver { .. }) if names_one(place) => None,
            Err(error) => return Err(error.into()),
        };
        let published = self.gate.definition(place, checksum).await?;
        let request = DefinitionRequest { evidence: &published.evidence, pipeline: checksum, recorded, gate };
        let word = judge_definition(&request, policy, self.trust_root.as_ref(), now).map_err(GateError::from)?;
        Ok(Some((published.reference, word)))
    }

    /// Image of the recorded gate, where it is wanted.
    fn image(&self, settings: &SourceGateSpec) -> Result<Option<String>, EvaluateError> {
        match (settings.recorded, &self.context.config.gate.image) {
            (Some(Recorded::Disabled), _) | (None, None) => Ok(None),
            (Some(Recorded::Enabled) | None, Some(image)) => Ok(Some(image.clone())),
            (Some(Recorded::Enabled), None) => Err(EvaluateError::invalid(
                "RecordedGateUnavailable",
                "the SourceGate asks for a recorded gate, but the controller has no image for it (--gate-image)",
            )),
        }
    }

    async fn get<K>(&self, api: Api<K>, name: &str, what: &str) -> Result<Option<K>, EvaluateError>
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        api.get_opt(name).await.map_err(|source| EvaluateError::Cluster { what: format!("{what} {name:?}"), source })
    }

    /// The gate's settings: of the object the run refers to, or given in place.
    async fn settings(&self, run: &Run) -> Result<SourceGateSpec, EvaluateError> {
        let value = match &run.settings {
            SettingsFrom::Inline(Value::Null) => return Ok(SourceGateSpec::default()),
            SettingsFrom::Inline(value) => value.clone(),
            SettingsFrom::Object(name) if name.is_empty() => return Ok(SourceGateSpec::default()),
            SettingsFrom::Object(name) => {
                let api: Api<DynamicObject> =
                    Api::namespaced_with(self.context.client.clone(), &run.namespace, &ApiResource::erase::<SourceGate>(&()));
                let found = self.get(api, name, "SourceGate").await?;
                let missing = || {
                    EvaluateError::invalid("SourceGateMissing", format!("there is no SourceGate {name:?} in {:?}", run.namespace))
                };
                found.ok_or_else(missing)?.data.get("spec").cloned().unwrap_or(Value::Null)
            }
        };
        serde_json::from_value(value).map_err(|error| EvaluateError::invalid("SourceGateInvalid", format!("SourceGate: {error}")))
    }

    /// The policy, by the gate's settings or the run's parameter; two that differ are an error.
    async fn policy(&self, run: &Run, settings: &SourceGateSpec) -> Result<(Policy, String), EvaluateError> {
        let wrong = |why: String| EvaluateError::invalid("InvalidParameter", why);
        let asked = run.param("policy").map_err(wrong)?.map(policy_ref).transpose().map_err(wrong)?;
        let reference = match (&settings.policy_ref, asked) {
            (Some(set), Some(asked)) if *set != asked => {
                return Err(wrong(format!("parameter \"policy\": the gate is set to {:?} {:?}", set.kind, set.name)));
            }
            (Some(set), _) => set.clone(),
            (None, Some(asked)) => asked,
            (None, None) => {
                return Err(wrong("parameter \"policy\": it is missing, and the gate's settings name none".to_owned()));
            }
        };
        let client = self.context.client.clone();
        let api: Api<DynamicObject> = match reference.kind {
            PolicyKind::TrustPolicy => Api::namespaced_with(client, &run.namespace, &ApiResource::erase::<TrustPolicy>(&())),
            PolicyKind::ClusterTrustPolicy => Api::all_with(client, &ApiResource::erase::<ClusterTrustPolicy>(&())),
        };
        let object = self.get(api, &reference.name, "policy").await?.ok_or_else(|| {
            EvaluateError::invalid("PolicyMissing", format!("there is no {:?} {:?}", reference.kind, reference.name))
        })?;
        let text = trust_policy::document(&object);
        match Policy::parse(text.as_bytes()) {
            Ok(policy) => Ok((policy, text)),
            Err(source) => Err(EvaluateError::Policy { name: reference.name, source }),
        }
    }

    /// The PipelineRun that owns this run, found by name and believed by UID.
    async fn pipeline_run(&self, run: &Run) -> Result<Option<DynamicObject>, EvaluateError> {
        let Some(owner) = &run.owner else { return Ok(None) };
        if owner.kind != "PipelineRun" || !owner.api_version.starts_with("tekton.dev/") {
            return Ok(None);
        }
        let api: Api<DynamicObject> = Api::namespaced_with(self.context.client.clone(), &run.namespace, &pipeline_runs());
        let found = self.get(api, &owner.name, "PipelineRun").await?;
        match found.filter(|found| found.metadata.uid.as_deref() == Some(&owner.uid)) {
            Some(found) => Ok(Some(found)),
            None => Err(EvaluateError::invalid(
                "PipelineRunMissing",
                format!("PipelineRun {:?} with UID {} that owns this run is not there", owner.name, owner.uid),
            )),
        }
    }

    /// Credentials for the repository's host: of the secret that the gate names, which must be for that host, or else of the first one
    /// of the run's service account that is.
    async fn credentials(&self, run: &Run, settings: &SourceGateSpec) -> Result<Option<Credentials>, EvaluateError> {
        let url = run.param("url").map_err(|why| EvaluateError::invalid("InvalidParameter", why))?.unwrap_or_default();
        let host = url.strip_prefix("https://").and_then(|rest| rest.split('/').next()).unwrap_or_default().to_ascii_lowercase();
        let secrets: Api<Secret> = Api::namespaced(self.context.client.clone(), &run.namespace);
        if let Some(reference) = &settings.credentials {
            let wrong = |why: &str| EvaluateError::invalid("CredentialsInvalid", format!("Secret {:?}: {why}", reference.name));
            let secret = self.get(secrets, &reference.name, "Secret").await?.ok_or_else(|| wrong("it is not there"))?;
            if !is_bound(&secret, &host) {
                return Err(wrong("no annotation tekton.dev/git-N binds it to https:// and the repository's host"));
            }
            return login(&secret, &host).map(Some).map_err(wrong);
        }
        if settings.service_account_credentials != Some(ServiceAccountCredentials::Enabled) {
            return Ok(None);
        }
        let name = run.service_account.as_deref().unwrap_or("default");
        let accounts: Api<ServiceAccount> = Api::namespaced(self.context.client.clone(), &run.namespace);
        let Some(account) = self.get(accounts, name, "ServiceAccount").await? else {
            return Err(EvaluateError::invalid("CredentialsInvalid", format!("there is no ServiceAccount {name:?}")));
        };
        for name in account.secrets.into_iter().flatten().filter_map(|secret| secret.name).take(SECRETS) {
            // One that is gone is passed over, as Tekton does.
            let Some(secret) = self.get(secrets.clone(), &name, "Secret").await? else { continue };
            if is_bound(&secret, &host) {
                let wrong = |why: &str| EvaluateError::invalid("CredentialsInvalid", format!("Secret {name:?}: {why}"));
                return login(&secret, &host).map(Some).map_err(wrong);
            }
        }
        Ok(None)
    }
}

/// Whether an annotation `tekton.dev/git-N` binds a secret to this host, over TLS.
fn is_bound(secret: &Secret, host: &str) -> bool {
    let annotations = secret.meta().annotations.iter().flatten().filter(|(name, _)| name.starts_with("tekton.dev/git-"));
    let mut hosts = annotations.filter_map(|(_, value)| value.strip_prefix("https://"));
    !host.is_empty() && hosts.any(|value| value.trim_end_matches('/').to_ascii_lowercase() == host)
}

/// The login that a secret holds.
fn login(secret: &Secret, host: &str) -> Result<Credentials, &'static str> {
    if secret.type_.as_deref() == Some("kubernetes.io/ssh-auth") {
        return Err("it is for SSH, which the gate does not speak; use one of type kubernetes.io/basic-auth");
    }
    let field = |name: &str| {
        let bytes = &secret.data.as_ref()?.get(name)?.0;
        Some(std::str::from_utf8(bytes).ok()?.trim_end_matches('\n').to_owned())
    };
    match (field("username"), field("password"), field("token")) {
        (Some(user), Some(password), _) => Ok(Credentials::basic(host, &user, &password)),
        (_, _, Some(token)) => Ok(Credentials::bearer(host, &token)),
        _ => Err("it has neither username and password nor token"),
    }
}

/// Whether a place of definitions has a tag or a digest.
fn names_one(place: &str) -> bool {
    place.parse::<Reference>().is_ok_and(|reference| reference.tag.is_some() || reference.digest.is_some())
}

/// Who the gate speaks to: the PipelineRun, or the CustomRun itself where no PipelineRun owns it.
fn identity(run: &Run, pipeline_run: Option<&DynamicObject>) -> RunIdentity {
    match pipeline_run {
        Some(owner) => RunIdentity {
            namespace: run.namespace.clone(),
            pipeline_run: owner.metadata.name.clone().unwrap_or_default(),
            uid: owner.metadata.uid.clone().unwrap_or_default(),
        },
        None => RunIdentity { namespace: run.namespace.clone(), pipeline_run: String::new(), uid: run.uid.clone() },
    }
}

/// The closing Task's parameters as Tekton recorded them for this run.
fn build_parameters(
    run: &Run,
    settings: &SourceGateSpec,
    pipeline_run: Option<&DynamicObject>,
    results: &[(&'static str, String)],
) -> Result<BTreeMap<String, Value>, EvaluateError> {
    let recorded = pipeline_run.and_then(|pipeline_run| pipeline_run.data.pointer("/status/pipelineSpec"));
    let (Some(recorded), Some(gate)) = (recorded, run.pipeline_task.as_deref()) else { return Ok(BTreeMap::new()) };
    let results = results.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    assay_core::gate::build_parameters(recorded, gate, settings.closing_task.as_deref(), &results)
        .map_err(|finding| GateError::Refused { findings: vec![finding] }.into())
}

/// The run's parameters as a request to the gate.
fn request(run: &Run, settings: &SourceGateSpec) -> Result<SourceRequest, EvaluateError> {
    let wrong = |why: String| EvaluateError::invalid("InvalidParameter", why);
    for name in run.params.keys() {
        if !["url", "revision", "ref", "policy", "carrier"].contains(&name.as_str()) {
            return Err(wrong(format!("parameter {name:?}: a gate takes url, revision, ref, policy and carrier")));
        }
    }
    let required = |name: &str| {
        run.param(name)
            .map_err(wrong)?
            .map(str::to_owned)
            .ok_or_else(|| wrong(format!("parameter {name:?}: it is missing or empty")))
    };
    let set = settings.carrier.map(|carrier| match carrier {
        CarrierChoice::Tree => "tree",
        CarrierChoice::Notes => "notes",
        CarrierChoice::Any => "any",
    });
    let carrier = match (set, run.param("carrier").map_err(wrong)?) {
        (Some(set), Some(asked)) if set != asked => {
            return Err(wrong(format!("parameter \"carrier\": the gate is set to {set}")));
        }
        (set, asked) => set.or(asked).unwrap_or("any").parse()?,
    };
    Ok(SourceRequest {
        url: required("url")?,
        revision: required("revision")?,
        reference: run.param("ref").map_err(wrong)?.map(str::to_owned),
        carrier,
    })
}

/// `NAME`, `TrustPolicy/NAME` or `ClusterTrustPolicy/NAME`.
fn policy_ref(text: &str) -> Result<PolicyRef, String> {
    match text.split_once('/') {
        None => Ok(PolicyRef { kind: PolicyKind::TrustPolicy, name: text.to_owned() }),
        Some(("TrustPolicy", name)) => Ok(PolicyRef { kind: PolicyKind::TrustPolicy, name: name.to_owned() }),
        Some(("ClusterTrustPolicy", name)) => Ok(PolicyRef { kind: PolicyKind::ClusterTrustPolicy, name: name.to_owned() }),
        Some(_) => {
            Err(format!("parameter \"policy\": expected NAME, TrustPolicy/NAME or ClusterTrustPolicy/NAME, found {text:?}"))
        }
    }
}

/// Between half and all of a pause, another for each run and try, so that many runs do not come back at one moment.
fn with_jitter(pause: Duration, uid: &str, tried: u32) -> Duration {
    let seed = assay_core::digest::Digest::of(format!("{uid}/{tried}").as_bytes());
    let byte = seed.as_bytes().first().copied().unwrap_or(0);
    pause / 2 + pause.mul_f64(f64::from(byte) / 512.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret(kind: &str, bound: &str, data: &[(&str, &str)]) -> Secret {
        let data: BTreeMap<_, _> =
            data.iter().map(|(name, value)| ((*name).to_owned(), k8s_openapi::ByteString(value.as_bytes().to_vec()))).collect();
        let metadata = json!({"name": "s", "annotations": {"tekton.dev/git-0": bound, "other": "https://git.example.com"}});
        let mut secret: Secret =
            serde_json::from_value(json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind})).unwrap();
        secret.data = Some(data);
        secret
    }

    #[test]
    fn threat_a_login_for_another_host_is_not_taken() {
        let good = [("username", "me"), ("password", "secret\n")];
        for (bound, host, expected) in [
            ("https://git.example.com", "git.example.com", true),
            ("https://Git.Example.com/", "git.example.com", true),
            ("https://git.example.com", "git.example.com:8443", false),
            ("https://git.example.com", "evil.example.com", false),
            ("https://git.example.com.evil", "git.example.com", false),
            ("http://git.example.com", "git.example.com", false),
            ("git.example.com", "git.example.com", false),
            ("https://", "", false),
        ] {
            assert_eq!(is_bound(&secret("Opaque", bound, &good), host), expected, "{bound} {host}");
        }
    }

    #[test]
    fn a_login_is_a_password_or_a_token_and_no_ssh_key() {
        let host = "git.example.com";
        let of = |kind: &str, data: &[(&str, &str)]| login(&secret(kind, "https://git.example.com", data), host);
        assert!(of("kubernetes.io/basic-auth", &[("username", "me"), ("password", "x")]).is_ok());
        assert!(of("Opaque", &[("token", "x")]).is_ok());
        assert!(of("kubernetes.io/ssh-auth", &[("ssh-privatekey", "x"), ("token", "x")]).unwrap_err().contains("SSH"));
        assert!(of("kubernetes.io/basic-auth", &[("username", "me")]).is_err());
    }
}

//! Every image an object would run, wherever it stands in it.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use super::review::Kind;
use crate::reference::{Reference, ReferenceError};

/// Most containers and image volumes of one object.
const IMAGES: usize = 1_000;
/// The API groups of the kinds whose pod specification we know.
const WORKLOADS: [(&str, &str, &str); 9] = [
    ("", "Pod", "/spec"),
    ("", "PodTemplate", "/template/spec"),
    ("", "ReplicationController", "/spec/template/spec"),
    ("apps", "Deployment", "/spec/template/spec"),
    ("apps", "StatefulSet", "/spec/template/spec"),
    ("apps", "DaemonSet", "/spec/template/spec"),
    ("apps", "ReplicaSet", "/spec/template/spec"),
    ("batch", "Job", "/spec/template/spec"),
    ("batch", "CronJob", "/spec/jobTemplate/spec/template/spec"),
];

/// Why the images of an object cannot be told. Always a denial.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WorkloadError {
    /// A kind that is not known to make pods. The webhook is registered for others than it knows.
    #[error("it is not known where a {kind} names its images")]
    UnknownKind {
        /// Group, version and kind.
        kind: String,
    },
    /// A part has another form than Kubernetes gives it.
    #[error("{path} is {why}")]
    Malformed {
        /// JSON pointer.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
    /// More images than are looked at.
    #[error("the object names more than {IMAGES} images")]
    TooMany,
}

impl WorkloadError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::UnknownKind { .. } => "WorkloadUnknown",
            Self::Malformed { .. } => "WorkloadMalformed",
            Self::TooMany => "TooManyImages",
        }
    }
}

/// What an image is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Use {
    /// A container.
    Container,
    /// An init container, sidecars among them.
    InitContainer,
    /// An ephemeral container, added to a pod that runs.
    EphemeralContainer,
    /// A volume with the content of an image.
    ImageVolume,
}

impl fmt::Display for Use {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::InitContainer => "init container",
            Self::EphemeralContainer => "ephemeral container",
            Self::ImageVolume => "image volume",
        })
    }
}

/// One image that an object would run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImageUse {
    /// What for.
    pub used_as: Use,
    /// Name of the container or volume.
    pub name: String,
    /// The reference, as it stands there.
    pub text: String,
    /// JSON pointer to the reference.
    pub pointer: String,
}

impl ImageUse {
    /// The image, in its one canonical form. Matching, fetching and the verdict all go by it.
    ///
    /// # Errors
    /// [`ImageNameError`] for every name that could be understood as another image than this one.
    pub fn reference(&self) -> Result<Reference, ImageNameError> {
        canonical(&self.text)
    }
}

impl fmt::Display for ImageUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.used_as, self.name)
    }
}

/// Why the name of an image is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageNameError {
    /// It is no full reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// Container runtimes read another name than the one that stands there.
    #[error("{text:?} is read as {read_as:?} by container runtimes; write that")]
    Alias {
        /// What stood there.
        text: String,
        /// What it would become.
        read_as: String,
    },
}

impl ImageNameError {
    /// A stable name of the failure.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Reference(ReferenceError::MissingHost { .. }) => "ImageHostMissing",
            Self::Reference(ReferenceError::MissingDigest { .. }) => "ImageNotPinned",
            Self::Reference(ReferenceError::ParsePart { .. }) => "ImageNameMalformed",
            Self::Alias { .. } => "ImageNameAlias",
        }
    }
}

/// Docker's name resolution knows three spellings for its hub, and a folder that may be left out
/// (github.com/distribution/reference, `normalize.go`). One of them is taken, so that no policy is passed by on another.
fn canonical(text: &str) -> Result<Reference, ImageNameError> {
    let reference: Reference = text.parse()?;
    let repository = &reference.repository;
    let hub = matches!(repository.host(), "docker.io" | "index.docker.io");
    if hub && (repository.host() != "docker.io" || !repository.path().contains('/')) {
        let folder = if repository.path().contains('/') { "" } else { "library/" };
        let rest = text.split_once('/').map_or("", |(_, rest)| rest);
        return Err(ImageNameError::Alias { text: text.to_owned(), read_as: format!("docker.io/{folder}{rest}") });
    }
    Ok(reference)
}

/// Whether [`images`] knows where this kind names its images.
#[must_use]
pub fn is_workload(kind: &Kind) -> bool {
    WORKLOADS.iter().any(|(group, name, _)| kind.is(group, name))
}

/// Every image the object would run, in the order in which they stand there.
///
/// # Errors
/// Every variant of [`WorkloadError`].
pub fn images(kind: &Kind, object: &Value) -> Result<Vec<ImageUse>, WorkloadError> {
    let Some((_, _, at)) = WORKLOADS.iter().find(|(group, name, _)| kind.is(group, name) && kind.version == "v1") else {
        return Err(WorkloadError::UnknownKind { kind: kind.to_string() });
    };
    let malformed = |path: &str, why| WorkloadError::Malformed { path: path.to_owned(), why };
    let spec = object.pointer(at).ok_or_else(|| malformed(at, "missing"))?;
    if !spec.is_object() {
        return Err(malformed(at, "not an object"));
    }
    let mut found = Vec::new();
    for (list, used_as) in [
        ("initContainers", Use::InitContainer),
        ("containers", Use::Container),
        ("ephemeralContainers", Use::EphemeralContainer),
        ("volumes", Use::ImageVolume),
    ] {
        let path = format!("{at}/{list}");
        let items = match spec.get(list) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(items)) => items,
            Some(_) => return Err(malformed(&path, "not a list")),
        };
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}/{index}");
            let (holder, field) = match used_as {
                Use::ImageVolume => match item.get("image") {
                    None | Some(Value::Null) => continue,
                    Some(image) => (image, "image/reference"),
                },
                _ => (item, "image"),
            };
            let path = format!("{path}/{field}");
            let key = field.rsplit('/').next().unwrap_or(field);
            let text = match holder.get(key) {
                Some(Value::String(text)) => text.clone(),
                // Kubernetes lets templates leave it out, and pods made from them are refused; we refuse both.
                None | Some(Value::Null) => String::new(),
                Some(_) => return Err(malformed(&path, "not a text")),
            };
            let name = item.get("name").and_then(Value::as_str).unwrap_or_default().chars().take(253).collect();
            if found.len() >= IMAGES {
                return Err(WorkloadError::TooMany);
            }
            found.push(ImageUse { used_as, name, text, pointer: path });
        }
    }
    if !found.iter().any(|image| image.used_as == Use::Container) {
        return Err(malformed(&format!("{at}/containers"), "empty"));
    }
    Ok(found)
}

/// Those images of `after` that are not used for the same in `before`: what a change brings in.
#[must_use]
pub fn brought_in(before: &[ImageUse], after: Vec<ImageUse>) -> Vec<ImageUse> {
    let known: BTreeSet<_> = before.iter().map(|image| (image.used_as, image.name.as_str(), image.text.as_str())).collect();
    after.into_iter().filter(|image| !known.contains(&(image.used_as, image.name.as_str(), image.text.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind(group: &str, kind: &str) -> Kind {
        Kind { group: group.into(), version: "v1".into(), kind: kind.into() }
    }

    fn pod_spec() -> Value {
        json!({
            "initContainers": [{"name": "i", "image": "r.io/i:1"}],
            "containers": [{"name": "c", "image": "r.io/c:1"}, {"name": "d", "image": "r.io/d:1"}],
            "ephemeralContainers": [{"name": "e", "image": "r.io/e:1", "targetContainerName": "c"}],
            "volumes": [{"name": "plain", "emptyDir": {}}, {"name": "v", "image": {"reference": "r.io/v:1", "pullPolicy": "Always"}}],
        })
    }

    fn at(pointer: &str, spec: Value) -> Value {
        pointer.rsplit('/').filter(|part| !part.is_empty()).fold(spec, |inner, part| json!({ part: inner }))
    }

    #[test]
    fn every_kind_gives_every_image_with_its_place() {
        for (group, name, pointer) in WORKLOADS {
            let object = at(pointer, pod_spec());
            let found = images(&kind(group, name), &object).unwrap();
            let texts: Vec<&str> = found.iter().map(|image| image.text.as_str()).collect();
            assert_eq!(texts, ["r.io/i:1", "r.io/c:1", "r.io/d:1", "r.io/e:1", "r.io/v:1"], "{name}");
            for image in &found {
                assert_eq!(object.pointer(&image.pointer).and_then(Value::as_str), Some(image.text.as_str()), "{name}");
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let reason = |kind: &Kind, object: &Value| images(kind, object).unwrap_err().reason();
        assert_eq!(reason(&kind("apps", "Pod"), &at("/spec", pod_spec())), "WorkloadUnknown");
        assert_eq!(reason(&Kind { version: "v1beta1".into(), ..kind("apps", "Deployment") }, &json!({})), "WorkloadUnknown");
        for object in [
            json!({}),
            json!({"spec": null}),
            json!({"spec": []}),
            json!({"spec": {"containers": []}}),
            json!({"spec": {"containers": {}}}),
            json!({"spec": {"containers": [{"name": "a", "image": 1}]}}),
            json!({"spec": {"initContainers": [{"name": "a", "image": "r.io/a"}]}}),
        ] {
            assert_eq!(reason(&kind("", "Pod"), &object), "WorkloadMalformed", "{object}");
        }
        let many: Vec<Value> = (0..1_001).map(|n| json!({"name": n.to_string(), "image": "r.io/a"})).collect();
        assert_eq!(reason(&kind("", "Pod"), &json!({"spec": {"containers": many}})), "TooManyImages");
    }

    #[test]
    fn a_change_brings_in_only_what_was_not_there() {
        let pod = kind("", "Pod");
        let before = images(&pod, &at("/spec", pod_spec())).unwrap();
        assert!(brought_in(&before, before.clone()).is_empty());
        let mut spec = pod_spec();
        spec["containers"][0]["image"] = "r.io/other:1".into();
        spec["ephemeralContainers"].as_array_mut().unwrap().push(json!({"name": "x", "image": "r.io/c:1"}));
        let after = images(&pod, &at("/spec", spec)).unwrap();
        let new: Vec<String> = brought_in(&before, after).into_iter().map(|image| format!("{image} {}", image.text)).collect();
        assert_eq!(new, ["container \"c\" r.io/other:1", "ephemeral container \"x\" r.io/c:1"]);
    }

    /// Lesson L7: one image has one name, so that no policy is passed by on another.
    #[test]
    fn lesson_l7_names_that_runtimes_read_otherwise_are_refused() {
        for (text, read_as) in [
            ("docker.io/busybox:1", "docker.io/library/busybox:1"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox"),
            ("INDEX.docker.io/busybox", "docker.io/library/busybox"),
        ] {
            let ImageNameError::Alias { read_as: found, .. } = canonical(text).unwrap_err() else { panic!("{text}") };
            assert_eq!(found, read_as);
            assert!(canonical(&found).is_ok());
        }
        for text in ["busybox", "library/busybox", "", " r.io/a"] {
            assert!(canonical(text).is_err(), "{text}");
        }
        assert!(canonical("docker.io/library/busybox").is_ok());
    }

    proptest::proptest! {
        /// Whatever the image's name, it is found, and found once.
        #[test]
        fn no_image_is_overlooked(
            names in proptest::collection::vec("[a-z./:@]{0,30}", 1..6),
            place in 0..4_usize,
            workload in 0..9_usize,
        ) {
            let lists = ["containers", "initContainers", "ephemeralContainers", "volumes"];
            let mut spec = json!({"containers": [{"name": "base", "image": "r.io/base"}]});
            let items: Vec<Value> = names
                .iter()
                .map(|name| if place == 3 { json!({"name": "n", "image": {"reference": name}}) } else { json!({"name": "n", "image": name}) })
                .collect();
            let list = lists[place];
            let mut all = spec.get(list).and_then(Value::as_array).cloned().unwrap_or_default();
            all.extend(items);
            spec[list] = Value::Array(all);
            let (group, name, pointer) = WORKLOADS[workload];
            let mut found: Vec<String> = images(&kind(group, name), &at(pointer, spec)).unwrap().into_iter().map(|image| image.text).collect();
            let mut expected = names.clone();
            expected.push("r.io/base".into());
            found.sort();
            expected.sort();
            proptest::prop_assert_eq!(found, expected);
        }
    }
}

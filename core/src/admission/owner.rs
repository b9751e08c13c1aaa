//! The workload on whose behalf Kubernetes' own controllers make an object.
//!
//! Whoever may make pods may write any owner into them, so an owner counts only in what the very controller made that works for it, as the
//! API server authenticated it.

use serde_json::Value;

use super::review::{Operation, Request};

/// Account of each controller, what it makes, and for what.
const CONTROLLERS: [(&str, &str, &str, &str); 7] = [
    ("deployment-controller", "ReplicaSet", "apps", "Deployment"),
    ("replicaset-controller", "Pod", "apps", "ReplicaSet"),
    ("statefulset-controller", "Pod", "apps", "StatefulSet"),
    ("daemon-set-controller", "Pod", "apps", "DaemonSet"),
    ("replication-controller", "Pod", "", "ReplicationController"),
    ("job-controller", "Pod", "batch", "Job"),
    ("cronjob-controller", "Job", "batch", "CronJob"),
];
/// Where all of them have one account.
const MANAGER: &str = "system:kube-controller-manager";
/// Longest UID that is read, in bytes.
const UID: usize = 64;

/// What an object belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its UID.
    pub uid: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The one owner of an object that says it is its controller.
#[must_use]
pub fn controller_of(object: &Value) -> Option<(&str, Owner)> {
    let owners = object.pointer("/metadata/ownerReferences")?.as_array()?;
    let mut controllers = owners.iter().filter(|owner| owner.get("controller") == Some(&Value::Bool(true)));
    let (owner, None) = (controllers.next()?, controllers.next()) else { return None };
    let text = |key: &str| owner.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let group = text("apiVersion")?.rsplit_once('/').map_or("", |(group, _)| group);
    let uid = text("uid").filter(|uid| uid.len() <= UID)?;
    Some((group, Owner { uid: uid.to_owned(), kind: text("kind")?.to_owned(), name: text("name")?.to_owned() }))
}

/// The workload that a request makes its object for; `None` where somebody else makes it, who is judged as for anything new.
#[must_use]
pub fn owner(request: &Request) -> Option<Owner> {
    if request.operation != Operation::Create || !request.sub_resource.is_empty() {
        return None;
    }
    let user = request.user_info.username.as_str();
    let account = user.strip_prefix("system:serviceaccount:kube-system:");
    let (group, owner) = controller_of(&request.object)?;
    CONTROLLERS
        .iter()
        .any(|(controller, makes, of_group, of_kind)| {
            (account == Some(*controller) || user == MANAGER)
                && request.kind.kind == *makes
                && group == *of_group
                && owner.kind == *of_kind
        })
        .then_some(owner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(user: &str, kind: &str, owners: Value) -> Request {
        serde_json::from_value(json!({
            "uid": "1", "kind": {"version": "v1", "kind": kind}, "resource": {"version": "v1", "resource": "x"}, "operation": "CREATE",
            "userInfo": {"username": user}, "object": {"metadata": {"ownerReferences": owners}},
        }))
        .unwrap()
    }

    fn reference(api_version: &str, kind: &str) -> Value {
        json!({"apiVersion": api_version, "kind": kind, "name": "w", "uid": "u-1", "controller": true})
    }

    const REPLICAS: &str = "system:serviceaccount:kube-system:replicaset-controller";

    #[test]
    fn the_controllers_own_objects_belong_to_their_workload() {
        let found = owner(&request(REPLICAS, "Pod", json!([reference("apps/v1", "ReplicaSet")]))).unwrap();
        assert_eq!(found, Owner { uid: "u-1".into(), kind: "ReplicaSet".into(), name: "w".into() });
        for (controller, makes, group, kind) in CONTROLLERS {
            let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
            for user in [&format!("system:serviceaccount:kube-system:{controller}"), MANAGER] {
                assert!(owner(&request(user, makes, json!([reference(&version, kind)]))).is_some(), "{user} {makes}");
            }
        }
    }

    #[test]
    fn threat_an_owner_that_somebody_else_wrote_counts_for_nothing() {
        let real = json!([reference("apps/v1", "ReplicaSet")]);
        for user in [
            "jane",
            "system:serviceaccount:prod:replicaset-controller",
            "system:serviceaccount:kube-system:default",
            "system:serviceaccount:kube-system:job-controller",
            "system:admin",
        ] {
            assert_eq!(owner(&request(user, "Pod", real.clone())), None, "{user}");
        }
        let mut not_controller = reference("apps/v1", "ReplicaSet");
        not_controller["controller"] = false.into();
        for owners in [
            json!([]),
            json!([not_controller]),
            json!([reference("evil.io/v1", "ReplicaSet")]),
            json!([reference("v1", "ReplicaSet")]),
            json!([reference("apps/v1", "Deployment")]),
            json!([reference("apps/v1", "ReplicaSet"), reference("apps/v1", "ReplicaSet")]),
        ] {
            assert_eq!(owner(&request(REPLICAS, "Pod", owners.clone())), None, "{owners}");
        }
        let mut update = request(REPLICAS, "Pod", real.clone());
        update.operation = Operation::Update;
        assert_eq!(owner(&update), None);
        let mut ephemeral = request(REPLICAS, "Pod", real);
        ephemeral.sub_resource = "ephemeralcontainers".into();
        assert_eq!(owner(&ephemeral), None);
    }
}

//! The handle that a test holds: clients, objects, faults, and what happened.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::error::Refusal;
use crate::execute::key;
use crate::faults::{Fault, FaultPlan, Match};
use crate::fields::{FieldOwners, display};
use crate::kinds::Kinds;
use crate::patch::Patch;
use crate::rbac::Rbac;
use crate::request::{ApiRequest, ListOptions, RequestAction, RequestTarget};
use crate::server::{ADMIN, RequestRecord, Server, Shared, serve};
use crate::store::ObjectStore;

/// The field manager of what a test writes through its handle.
const TEST_MANAGER: &str = "test";

/// An in-memory API server. Clones are handles to the same one.
#[derive(Clone, Debug)]
pub struct FakeApi(Arc<Shared>);

/// What [`FakeApi::backup`] has copied.
#[derive(Clone, Debug)]
pub struct StoreBackup(ObjectStore);

/// Makes a [`FakeApi`].
#[derive(Debug)]
pub struct FakeApiBuilder {
    rbac: Rbac,
    definitions: Vec<CustomResourceDefinition>,
}

impl FakeApiBuilder {
    /// Who may do what; everybody everything unless this is called.
    #[must_use]
    pub fn rbac(self, rbac: Rbac) -> Self {
        Self { rbac, ..self }
    }

    /// The custom resources; those of `ferrolb_api::crd::all()` unless this is called.
    #[must_use]
    pub fn definitions(self, definitions: Vec<CustomResourceDefinition>) -> Self {
        Self { definitions, ..self }
    }

    /// The server, with the namespaces `default` and `kube-system` in it.
    ///
    /// # Errors
    /// Names what a definition asks for that is not implemented here.
    pub fn build(self) -> Result<FakeApi, String> {
        let kinds = Kinds::new(&self.definitions)?;
        let api = FakeApi(Arc::new(Shared::new(Server::new(kinds, self.rbac))));
        for namespace in ["default", "kube-system"] {
            api.ensure_namespace(namespace);
        }
        Ok(api)
    }
}

impl FakeApi {
    /// A user that may do everything, whatever the RBAC says.
    pub const ADMIN: &str = ADMIN;

    /// Begins to describe a server.
    #[must_use]
    pub fn builder() -> FakeApiBuilder {
        FakeApiBuilder { rbac: Rbac::permissive(), definitions: ferrolb_api::crd::all() }
    }

    /// A client that acts as `user`, `system:serviceaccount:NAMESPACE:NAME` for
    /// a service account. Must be called inside a tokio runtime.
    #[must_use]
    pub fn client(&self, user: &str) -> kube::Client {
        let (shared, user) = (self.0.clone(), user.to_owned());
        let service = tower::service_fn(move |request| serve(shared.clone(), user.clone(), request));
        kube::Client::new(service, "default")
    }

    /// Lets TokenReviews know a bearer token as `user`'s.
    pub fn issue_token(&self, token: &str, user: &str) {
        self.0.lock().tokens.issue(token, user);
    }

    /// Makes a bearer token nobody's again.
    pub fn revoke_token(&self, token: &str) {
        self.0.lock().tokens.revoke(token);
    }

    /// Creates an object, with its namespace if that is missing and with its
    /// status if it has one.
    ///
    /// # Errors
    /// As a POST is refused.
    pub fn create<K>(&self, object: &K) -> Result<K, Refusal>
    where
        K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
    {
        let body = encode(object)?;
        let namespace = body["metadata"]["namespace"].as_str();
        if let Some(namespace) = namespace {
            self.ensure_namespace(namespace);
        }
        let target = self.target::<K>(namespace, None, None)?;
        let action = RequestAction::Create { body: body.clone(), manager: TEST_MANAGER.to_owned() };
        let created = self.execute(target, action)?;
        let status = body.get("status").filter(|status| !status.is_null());
        let Some(status) = status else { return decode(created) };
        let name = created["metadata"]["name"].as_str().unwrap_or_default();
        if created["status"] == *status {
            return decode(created);
        }
        self.write_merge::<K>(namespace, name, Some("status"), json!({"status": status}))
    }

    /// Changes an object through its main endpoint, by a merge patch.
    ///
    /// # Errors
    /// As a PATCH is refused.
    pub fn merge<K>(&self, namespace: Option<&str>, name: &str, patch: Value) -> Result<K, Refusal>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        self.write_merge(namespace, name, None, patch)
    }

    /// Changes an object's status (`patch` begins at the root), by a merge patch.
    ///
    /// # Errors
    /// As a PATCH is refused.
    pub fn merge_status<K>(&self, namespace: Option<&str>, name: &str, patch: Value) -> Result<K, Refusal>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        self.write_merge(namespace, name, Some("status"), patch)
    }

    /// Deletes an object; with finalizers it is only marked.
    ///
    /// # Errors
    /// As a DELETE is refused.
    pub fn delete<K>(&self, namespace: Option<&str>, name: &str) -> Result<(), Refusal>
    where
        K: Resource<DynamicType = ()>,
    {
        let target = self.target::<K>(namespace, Some(name), None)?;
        self.execute(target, RequestAction::Delete { options: Value::Null }).map(|_| ())
    }

    /// An object, if it is there.
    ///
    /// # Errors
    /// It cannot be decoded, or the kind is not served.
    pub fn get<K>(&self, namespace: Option<&str>, name: &str) -> Result<Option<K>, Refusal>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let target = self.target::<K>(namespace, Some(name), None)?;
        match self.execute(target, RequestAction::Get) {
            Ok(object) => decode(object).map(Some),
            Err(refusal) if refusal.code == 404 => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// All objects of a kind, in one or all namespaces, by namespace and name.
    ///
    /// # Errors
    /// One cannot be decoded, or the kind is not served.
    pub fn list<K>(&self, namespace: Option<&str>) -> Result<Vec<K>, Refusal>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let target = self.target::<K>(namespace, None, None)?;
        let mut list = self.execute(target, RequestAction::List(ListOptions::default()))?;
        list["items"].as_array_mut().into_iter().flatten().map(|item| decode(item.take())).collect()
    }

    /// Stores an object as it is, past schema and defaults: what an older
    /// server let through, for example.
    ///
    /// # Errors
    /// Its kind is not served.
    pub fn insert_unchecked(&self, object: Value) -> Result<(), Refusal> {
        let mut server = self.0.lock();
        let kind = server.kinds.of_object(&object);
        let kind = kind.ok_or_else(|| Refusal::no_such_path(&object["kind"].to_string()))?;
        let text = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
        let target =
            RequestTarget { kind, namespace: text("namespace"), name: text("name"), subresource: None };
        let at = key(&target, target.name.as_deref().unwrap_or_default());
        server.store.put(at, object, FieldOwners::new());
        drop(server);
        self.0.tick();
        Ok(())
    }

    /// Who owns fields of an object, as `managedFields` would have it: each
    /// manager as `NAME Apply status` or `NAME Update`, with the fields.
    ///
    /// # Errors
    /// The kind is not served.
    pub fn field_owners<K>(
        &self,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<BTreeMap<String, Vec<String>>, Refusal>
    where
        K: Resource<DynamicType = ()>,
    {
        let target = self.target::<K>(namespace, Some(name), None)?;
        let server = self.0.lock();
        let owners = server.store.get(&key(&target, name)).map(|stored| &stored.owners);
        let described = owners.into_iter().flatten().map(|(manager, fields)| {
            let operation = if manager.applies { "Apply" } else { "Update" };
            let subresource = manager.subresource.as_ref().map(|name| format!(" {name}"));
            let manager = format!("{} {operation}{}", manager.name, subresource.unwrap_or_default());
            (manager, fields.iter().map(display).collect())
        });
        Ok(described.collect())
    }

    /// Every state that an object has had, oldest first; `None` where it was deleted.
    ///
    /// # Errors
    /// One cannot be decoded, or the kind is not served.
    pub fn history<K>(&self, namespace: Option<&str>, name: &str) -> Result<Vec<Option<K>>, Refusal>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let target = self.target::<K>(namespace, Some(name), None)?;
        let at = key(&target, name);
        let server = self.0.lock();
        let changes = server.store.changes_after(0).iter().filter(|change| change.key == at);
        changes
            .map(
                |change| {
                    if change.deleted { Ok(None) } else { decode(Value::clone(&change.object)).map(Some) }
                },
            )
            .collect()
    }

    /// The revision of the latest write.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.0.lock().store.revision()
    }

    /// Every request that clients have made, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.0.lock().log.clone()
    }

    /// The requests that asked for a change.
    #[must_use]
    pub fn writes(&self) -> Vec<RequestRecord> {
        self.requests().into_iter().filter(RequestRecord::is_write).collect()
    }

    /// How many watches are open that match.
    #[must_use]
    pub fn open_watches(&self, which: &Match) -> usize {
        self.0.lock().watches.values().filter(|watch| watch.is_hit_by(which)).count()
    }

    /// Lets the next `times` requests that match meet with a fault.
    pub fn inject(&self, which: Match, fault: Fault, times: usize) {
        self.0.lock().faults.inject(which, fault, times);
    }

    /// How many injected faults have not struck yet.
    #[must_use]
    pub fn pending_faults(&self) -> usize {
        self.0.lock().faults.pending()
    }

    /// Random faults from now on, for as long as the plan says.
    pub fn run_plan(&self, plan: FaultPlan) {
        self.0.lock().faults.start(plan, Instant::now());
        self.0.tick();
    }

    /// Ends all faults, a running plan and an absence. Watches that hang go on hanging.
    pub fn clear_faults(&self) {
        self.0.lock().faults.clear();
        self.0.tick();
    }

    /// Takes the server away (connections are refused, watches break) or brings it back.
    pub fn set_gone(&self, gone: bool) {
        self.0.lock().faults.set_gone(gone);
        self.0.tick();
    }

    /// Breaks the open watches that match.
    pub fn cut_watches(&self, which: &Match) {
        self.0
            .lock()
            .watches
            .values_mut()
            .filter(|watch| watch.is_hit_by(which))
            .for_each(|watch| watch.cut());
        self.0.tick();
    }

    /// Makes the open watches that match fall silent without ending.
    pub fn hang_watches(&self, which: &Match) {
        self.0
            .lock()
            .watches
            .values_mut()
            .filter(|watch| watch.is_hit_by(which))
            .for_each(|watch| watch.hang());
        self.0.tick();
    }

    /// Forgets the history: a watch or continue token from before now gets 410.
    pub fn compact(&self) {
        self.0.lock().store.compact();
    }

    /// A copy of all objects with their revision, as a backup of etcd is.
    #[must_use]
    pub fn backup(&self) -> StoreBackup {
        StoreBackup(self.0.lock().store.clone())
    }

    /// Puts a backup back in the place of what is there: revisions begin again where they stood in it, and open
    /// watches break, since the server is started again.
    pub fn restore(&self, backup: &StoreBackup) {
        self.0.lock().store = backup.0.clone();
        self.cut_watches(&Match::any());
    }

    fn ensure_namespace(&self, name: &str) {
        let kind = self.0.lock().kinds.by_path("", "v1", "namespaces");
        let target = kind.map(|kind| RequestTarget { kind, namespace: None, name: None, subresource: None });
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
            "labels": {"kubernetes.io/metadata.name": name}}});
        let action = RequestAction::Create { body, manager: TEST_MANAGER.to_owned() };
        // It may be there already, which is what is wanted.
        let _ = target.map(|target| self.execute(target, action));
    }

    fn write_merge<K>(
        &self,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&str>,
        patch: Value,
    ) -> Result<K, Refusal>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let target = self.target::<K>(namespace, Some(name), subresource)?;
        let manager = Some(TEST_MANAGER.to_owned());
        let action = RequestAction::Patch { patch: Patch::Merge(patch), manager, force: false };
        decode(self.execute(target, action)?)
    }

    fn target<K>(
        &self,
        namespace: Option<&str>,
        name: Option<&str>,
        subresource: Option<&str>,
    ) -> Result<RequestTarget, Refusal>
    where
        K: Resource<DynamicType = ()>,
    {
        let (group, version, plural) = (K::group(&()), K::version(&()), K::plural(&()));
        let kind = self.0.lock().kinds.by_path(&group, &version, &plural);
        Ok(RequestTarget {
            kind: kind.ok_or_else(|| Refusal::no_such_path(&plural))?,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            subresource: subresource.map(str::to_owned),
        })
    }

    fn execute(&self, target: RequestTarget, action: RequestAction) -> Result<Value, Refusal> {
        let request = ApiRequest { target, action, metadata_only: false };
        let answer = self.0.lock().executor().execute(&request, 0);
        self.0.tick();
        answer.map(|(_, value)| value)
    }
}

fn encode<K: Serialize>(object: &K) -> Result<Value, Refusal> {
    serde_json::to_value(object).map_err(|error| Refusal::bad_request(error.to_string()))
}

fn decode<K: DeserializeOwned>(value: Value) -> Result<K, Refusal> {
    serde_json::from_value(value)
        .map_err(|error| Refusal::bad_request(format!("it does not decode: {error}")))
}

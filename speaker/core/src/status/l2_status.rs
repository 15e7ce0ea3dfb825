//! What is to become of every `ServiceL2Status`: what this node announces has
//! one, and what nobody announces has none (A41 to A45, D82, W36).
//!
//! The objects are for people to read; nothing here decides who announces.
//! Everything is derived from what stands: an object that was deleted or edited
//! by hand is made right again.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use ferrolb_api::crd::service_l2_status::NAME_PREFIX;
use ferrolb_api::l2_status::{L2StatusContent, Subject};
use ferrolb_api::{L2Status, NodeName, ServiceKey, Time};
use sha2::{Digest, Sha256};

use crate::effect::L2StatusChange;

/// Bytes of a hash in an object's name: two of 10,000 Services on 100 nodes
/// collide once in 2^40 clusters.
const NAME_BYTES: usize = 10;
/// How long the new owner leaves it to the old one, if that is alive, to delete
/// its own object: both would otherwise ask for the same.
const GRACE: Duration = Duration::from_secs(5);
/// A change that is not seen to be carried out is asked for again after this.
const REPEAT: Duration = Duration::from_secs(60);
/// A change that somebody undoes is repeated after this time, then after twice
/// as long, and so on: the two sides of a partition take away each other's
/// objects, and do so for hours.
const UNDONE: Duration = Duration::from_secs(1);
/// How often the time doubles: up to 64 seconds.
const MAX_DOUBLINGS: u32 = 6;
/// How long a change that was asked for is remembered.
const MEMORY: Duration = Duration::from_secs(300);

/// Who announces a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Announcer {
    /// This node owns its addresses; its status says so, unless it has none of
    /// the interfaces (D44).
    Us(Option<L2StatusContent>),
    /// Another live node does.
    Another,
    /// Nobody does, or there is no such Service.
    Nobody,
}

/// What is known of the nodes.
pub(crate) trait Nodes {
    /// This one.
    fn own(&self) -> &NodeName;
    /// Whether the speaker of `node` is alive.
    fn is_alive(&self, node: &NodeName) -> bool;
    /// Whether this node is the one that speaks for all of `service`.
    fn speaks_for(&self, service: &ServiceKey) -> bool;
}

/// The objects that exist, and what was asked for.
#[derive(Debug, Default)]
pub(crate) struct L2Statuses {
    /// Whether they have been listed. Until then nothing is changed.
    is_told: bool,
    objects: BTreeMap<String, L2Status>,
    of_service: BTreeMap<ServiceKey, BTreeSet<String>>,
    /// Since when this node owns a Service.
    owned: BTreeMap<ServiceKey, Time>,
    asked: BTreeMap<(String, Verb), Asked>,
    /// What was asked for when, oldest first.
    log: VecDeque<(Time, (String, Verb))>,
    /// The API server drops our condition: its CRD is MetalLB's.
    is_pruned: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Create,
    Write,
    Delete,
}

/// A change that was asked for.
#[derive(Debug)]
struct Asked {
    /// What was to stand in it, where it was a write.
    content: Option<L2StatusContent>,
    at: Time,
    /// Nothing has been heard of the object since.
    is_open: bool,
    /// How often somebody has undone it.
    undone: u32,
}

/// The changes for one Service.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// By the name of the object.
    pub(crate) changes: Vec<(String, L2StatusChange)>,
    /// When to look at the Service again, whatever happens.
    pub(crate) again: Option<Time>,
}

/// The name of the object of `subject`. MetalLB lets the API server make one
/// up; one that follows from the content makes a repeated create harmless.
pub(crate) fn name(subject: &Subject) -> String {
    let digest = Sha256::digest(format!("{}#{}", subject.node, subject.service));
    let digits: String = digest.iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("{NAME_PREFIX}{digits}")
}

impl L2Statuses {
    /// The Services that have objects.
    pub(crate) const fn services(&self) -> &BTreeMap<ServiceKey, BTreeSet<String>> {
        &self.of_service
    }

    /// Takes all objects. Every Service is to be looked at then.
    pub(crate) fn set_all(&mut self, objects: Vec<L2Status>) {
        self.is_told = true;
        self.objects.clear();
        self.of_service.clear();
        for asked in self.asked.values_mut() {
            asked.is_open = false;
        }
        for object in objects {
            self.set(object);
        }
    }

    /// Takes one object. Gives the Services that it is or was of.
    pub(crate) fn set(&mut self, object: L2Status) -> BTreeSet<ServiceKey> {
        self.notice_pruning(&object);
        let mut services = self.remove(&object.name);
        if let Some(subject) = object.subject() {
            self.of_service.entry(subject.service.clone()).or_default().insert(object.name.clone());
            services.insert(subject.service.clone());
        }
        self.objects.insert(object.name.clone(), object);
        services
    }

    /// Forgets one object. Gives the Service that it was of.
    pub(crate) fn remove(&mut self, name: &str) -> BTreeSet<ServiceKey> {
        self.close(name);
        let Some(object) = self.objects.remove(name) else { return BTreeSet::new() };
        let Some(Subject { service, .. }) = object.subject() else { return BTreeSet::new() };
        if let Some(names) = self.of_service.get_mut(service) {
            names.remove(name);
            if names.is_empty() {
                self.of_service.remove(service);
            }
        }
        BTreeSet::from([service.clone()])
    }

    /// What is to be changed about the objects of `service` now.
    pub(crate) fn look_at(
        &mut self,
        now: Time,
        service: &ServiceKey,
        announcer: &Announcer,
        nodes: &impl Nodes,
    ) -> Changes {
        let own = Subject { node: nodes.own().clone(), service: service.clone() };
        let own_name = name(&own);
        let since = match announcer {
            Announcer::Us(_) => *self.owned.entry(service.clone()).or_insert(now),
            Announcer::Another | Announcer::Nobody => {
                self.owned.remove(service);
                now
            }
        };
        let mut changes = Changes::default();
        if !self.is_told {
            return changes;
        }
        let wanted = match announcer {
            Announcer::Us(content) => content.as_ref(),
            _ => None,
        };
        let of_service = self.of_service.get(service).cloned().unwrap_or_default();
        for object in of_service.into_iter().filter(|object| *object != own_name) {
            match self.of_others(&object, announcer, now, since, nodes) {
                Fate::Stays => {}
                Fate::Waits(until) => changes.look_again(until),
                Fate::Goes => self.delete(now, &object, &mut changes),
            }
        }
        self.own_object(now, own, &own_name, wanted, &mut changes);
        self.forget_old(now);
        changes
    }

    /// An object that is not what this node would make for the Service.
    fn of_others(
        &self,
        name: &str,
        announcer: &Announcer,
        now: Time,
        since: Time,
        nodes: &impl Nodes,
    ) -> Fate {
        let Some(subject) = self.objects.get(name).and_then(L2Status::subject) else { return Fate::Stays };
        if subject.node == *nodes.own() {
            // Lost, or one too many, as from MetalLB before us.
            return Fate::Goes;
        }
        let is_alive = nodes.is_alive(&subject.node);
        match announcer {
            Announcer::Us(_) if is_alive && now < since + GRACE => Fate::Waits(since + GRACE),
            Announcer::Us(_) => Fate::Goes,
            Announcer::Nobody if !is_alive && nodes.speaks_for(&subject.service) => Fate::Goes,
            Announcer::Another | Announcer::Nobody => Fate::Stays,
        }
    }

    /// The object of this node's name for the Service, which may not exist.
    fn own_object(
        &mut self,
        now: Time,
        subject: Subject,
        name: &str,
        wanted: Option<&L2StatusContent>,
        changes: &mut Changes,
    ) {
        let is_open = |verb| self.asked.get(&(name.to_owned(), verb)).is_some_and(|asked| asked.is_open);
        match (self.objects.get(name), wanted) {
            (None, None) if is_open(Verb::Create) => {
                // It may be made yet: this takes the place of the create.
                self.close(name);
                changes.push(name, L2StatusChange::Delete { uid: None });
            }
            (None, None) => {}
            (None, Some(_)) => {
                if self.ask(now, name, Verb::Create, None, changes) {
                    changes.push(name, L2StatusChange::Create(subject));
                }
            }
            (Some(object), Some(wanted)) if object.is_of(&subject) => {
                let stands = object.content.as_ref().is_some_and(|content| self.is_same(content, wanted));
                // A deletion on its way is overtaken by writing what stands.
                if stands && !is_open(Verb::Delete) {
                    return;
                }
                let change = L2StatusChange::Write {
                    content: wanted.clone(),
                    since: object.announced_since.clone(),
                    resource_version: object.resource_version.clone(),
                };
                if self.ask(now, name, Verb::Write, Some(wanted), changes) {
                    changes.push(name, change);
                }
            }
            // A loser's, or one whose labels or immutable status were edited.
            (Some(_), _) => self.delete(now, name, changes),
        }
    }

    fn delete(&mut self, now: Time, name: &str, changes: &mut Changes) {
        let uid = self.objects.get(name).map(|object| object.uid.clone());
        if self.ask(now, name, Verb::Delete, None, changes) {
            changes.push(name, L2StatusChange::Delete { uid });
        }
    }

    /// Whether a change is to be asked for now; if not, says when.
    fn ask(
        &mut self,
        now: Time,
        name: &str,
        verb: Verb,
        content: Option<&L2StatusContent>,
        changes: &mut Changes,
    ) -> bool {
        let key = (name.to_owned(), verb);
        let mut undone = 0;
        if let Some(asked) = self.asked.get(&key).filter(|asked| asked.content.as_ref() == content) {
            let wait = if asked.is_open { REPEAT } else { UNDONE * 2_u32.pow(asked.undone) };
            if now < asked.at + wait {
                changes.look_again(asked.at + wait);
                return false;
            }
            undone = (asked.undone + u32::from(!asked.is_open)).min(MAX_DOUBLINGS);
        }
        // Of the changes of one object the last one counts.
        self.close(name);
        self.log.push_back((now, key.clone()));
        self.asked.insert(key, Asked { content: content.cloned(), at: now, is_open: true, undone });
        changes.look_again(now + REPEAT);
        true
    }

    /// Nothing that was asked for about this object is waited for any more.
    fn close(&mut self, name: &str) {
        for verb in [Verb::Create, Verb::Write, Verb::Delete] {
            if let Some(asked) = self.asked.get_mut(&(name.to_owned(), verb)) {
                asked.is_open = false;
            }
        }
    }

    fn forget_old(&mut self, now: Time) {
        while let Some((at, _)) = self.log.front()
            && now.since(*at) >= MEMORY
        {
            let Some((at, key)) = self.log.pop_front() else { break };
            if self.asked.get(&key).is_some_and(|asked| asked.at == at) {
                self.asked.remove(&key);
            }
        }
    }

    fn is_same(&self, stands: &L2StatusContent, wanted: &L2StatusContent) -> bool {
        let is_dropped = self.is_pruned && stands.announced.is_none();
        (&stands.subject, &stands.interfaces) == (&wanted.subject, &wanted.interfaces)
            && (is_dropped || stands.announced == wanted.announced)
    }

    /// What was written with a condition and comes back without one will do so
    /// each time.
    fn notice_pruning(&mut self, object: &L2Status) {
        let Some(content) = &object.content else { return };
        if content.announced.is_some() {
            self.is_pruned = false;
            return;
        }
        let asked = self.asked.get(&(object.name.clone(), Verb::Write)).filter(|asked| asked.is_open);
        if let Some(wanted) = asked.and_then(|asked| asked.content.as_ref()) {
            self.is_pruned |= wanted.subject == content.subject && wanted.interfaces == content.interfaces;
        }
    }
}

/// What is to become of an object.
enum Fate {
    Stays,
    Waits(Time),
    Goes,
}

impl Changes {
    fn push(&mut self, name: &str, change: L2StatusChange) {
        self.changes.push((name.to_owned(), change));
    }

    fn look_again(&mut self, at: Time) {
        self.again = Some(self.again.map_or(at, |known| known.min(at)));
    }
}

#[cfg(test)]
mod tests;

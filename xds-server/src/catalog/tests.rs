//! Plans: what changes, what is written, what is refused.

use super::*;
use crate::durable::Location;

fn object(name: &str, text: &str) -> Object {
    let node = yaml::read(text).expect("a document");
    Object { kind: Kind::Services, name: name.to_owned(), node }
}

fn put(name: &str, text: &str) -> Proposal {
    Proposal { edits: Edits::Put(object(name, text)), if_match: None, dry_run: false }
}

fn words(plan: &Plan) -> Vec<String> {
    plan.changes.iter().map(|c| format!("{} {}/{}", c.change, c.kind, c.name)).collect()
}

/// Objects after a proposal that is taken.
fn after(objects: &Objects, proposal: &Proposal) -> Objects {
    objects.plan(proposal, "now").expect("it fits").next
}

#[test]
fn equal_content_is_no_revision_and_a_change_is_one() {
    let none = Objects::default();
    let plan = none.plan(&put("a", "endpoints: []"), "now").unwrap();
    assert_eq!(words(&plan), ["created services/a"]);
    assert_eq!((plan.next.revision(), plan.writes.len()), (1, 2));
    let one = plan.next;
    let same = one.plan(&put("a", "{\"endpoints\": []}"), "now").unwrap();
    assert_eq!((words(&same).len(), same.writes.len(), same.next.revision()), (0, 0, 1));
    let sorted = one.plan(&put("b", "{x: 1, a: {d: 1, c: 2}}"), "now").unwrap().next;
    let stored = &sorted.table[&(Kind::Services, "b".to_owned())];
    assert_eq!(stored.document, r#"{"a":{"c":2,"d":1},"x":1}"#);
    let changed = one.plan(&put("a", "discover: registry"), "now").unwrap();
    assert_eq!((words(&changed), changed.next.revision()), (vec!["changed services/a".into()], 2));
}

#[test]
fn etags_are_matched_and_unknown_names_are_said() {
    let one = after(&Objects::default(), &put("a", "x: 1"));
    let etag = one.table.values().next().unwrap().etag.to_string();
    let with = |name: &str, if_match: &str| {
        let proposal = Proposal { if_match: Some(if_match.to_owned()), ..put(name, "x: 2") };
        one.plan(&proposal, "now").err()
    };
    assert_eq!((with("a", &etag), with("a", "*")), (None, None));
    assert_eq!(with("a", "other"), Some(Refused::OtherEtag));
    assert_eq!(with("b", "*"), Some(Refused::OtherEtag), "there is none");
    let gone = Edits::Delete(Kind::Gateways, "a".to_owned());
    let gone = Proposal { edits: gone, if_match: None, dry_run: false };
    assert_eq!(one.plan(&gone, "now").err(), Some(Refused::NotFound));
}

#[test]
fn replacing_all_says_what_differs() {
    let two = after(&after(&Objects::default(), &put("a", "x: 1")), &put("b", "x: 1"));
    let all = vec![object("b", "x: 2"), object("c", "x: 1")];
    let proposal = Proposal { edits: Edits::Replace(all), if_match: None, dry_run: false };
    let plan = two.plan(&proposal, "now").unwrap();
    assert_eq!(words(&plan), ["changed services/b", "created services/c", "deleted services/a"]);
    assert_eq!(plan.next.revision(), 3, "all of it is one revision");
}

#[test]
fn what_is_written_comes_back_and_old_revisions_are_forgotten() {
    let disk = Disk::open(&Location::Memory).unwrap();
    let mut objects = Objects::default();
    for n in 0..REVISIONS_MAX + 5 {
        let plan = objects.plan(&put("a", &format!("{{ port: {n}, host: \"~x\" }}")), "t").unwrap();
        // One transaction for many is only faster: the writes are the same.
        disk.commit(&plan.writes).unwrap();
        objects = plan.next;
    }
    assert_eq!(objects.revisions.len(), REVISIONS_MAX);
    let again = Objects::restored(&disk).unwrap();
    assert_eq!(again.revisions, objects.revisions);
    let documents = |objects: &Objects| -> Vec<String> {
        objects.table.values().map(|stored| stored.document.clone()).collect()
    };
    assert_eq!(documents(&again), documents(&objects));
}

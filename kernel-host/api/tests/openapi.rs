//! The description of the API is whole, and true of real values.
#![allow(clippy::unwrap_used)]

use api::{Body, ROUTES, document};
use protocol::{
    Approve, Blob, BlobRef, BootStage, ByteCount, Capacity, Code, Digest, EnergyAccount,
    EnergyKind, EnergySource, Event, EventPage, Image, KvmStatus, Microjoules, Microwatts,
    NewImage, NewVm, Node, NodeAddress, NodeEnergy, NodeEntry, NodeId, NodeMemory, NodeState, Page,
    PendingNode, Place, PowerReply, Problem, ProcessUse, SiteEntry, SiteId, Standing, StopRequest,
    Timestamp, Vm, VmId, VmStage, VmStageName, VmState,
};
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn every_route_is_in_the_document_and_nothing_else() {
    let document = document();
    let mut ids = BTreeSet::new();
    for route in ROUTES {
        let operation = &document["paths"][route.pattern][route.method.to_lowercase()];
        assert_eq!(
            operation["operationId"], route.id,
            "{} {}",
            route.method, route.pattern
        );
        assert!(ids.insert(route.id), "{} twice", route.id);
        assert_eq!(operation["requestBody"].is_null(), route.body == Body::None);
        assert!(
            operation["responses"]
                .get(route.status.to_string())
                .is_some()
        );
    }
    let paths = document["paths"].as_object().unwrap();
    let count: usize = paths
        .values()
        .map(|path| path.as_object().unwrap().len())
        .sum();
    assert_eq!(count, ROUTES.len());
    assert_eq!(document["openapi"], "3.1.0");
}

#[test]
fn every_path_parameter_is_declared() {
    let document = document();
    for route in ROUTES {
        let operation = &document["paths"][route.pattern][route.method.to_lowercase()];
        let declared: BTreeSet<&str> = operation["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        let used: BTreeSet<&str> = route.pattern.split(['{', '}']).skip(1).step_by(2).collect();
        assert_eq!(declared, used, "{}", route.pattern);
    }
}

#[test]
fn every_reference_resolves_and_every_schema_is_used() {
    let document = document();
    let mut used = BTreeSet::new();
    walk(&document, &mut |value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            let pointer = reference.strip_prefix('#').expect("a local reference");
            assert!(
                document.pointer(pointer).is_some(),
                "{reference} leads nowhere"
            );
            used.insert(reference.rsplit('/').next().unwrap().to_owned());
        }
    });
    let defined: BTreeSet<String> = document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(used, defined);
}

fn walk(value: &Value, visit: &mut impl FnMut(&Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| walk(field, visit)),
        _ => {}
    }
}

/// Holds a value against a schema of the document; knows the words that the document uses.
fn fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return fits(document, document.pointer(&reference[1..]).unwrap(), value);
    }
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array) {
        let fitting = choices
            .iter()
            .filter(|one| fits(document, one, value).is_ok())
            .count();
        return if fitting == 1 {
            Ok(())
        } else {
            Err(format!("{value} fits {fitting} choices"))
        };
    }
    let right = match schema["type"].as_str().unwrap() {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => {
            let items = value.as_array().ok_or("no array")?;
            return items
                .iter()
                .try_for_each(|item| fits(document, &schema["items"], item));
        }
        "object" => return object_fits(document, schema, value),
        other => return Err(format!("an unknown type {other}")),
    };
    let listed = schema.get("enum").and_then(Value::as_array);
    let right = right && listed.is_none_or(|words| words.contains(value));
    if right {
        Ok(())
    } else {
        Err(format!("{value} does not fit {schema}"))
    }
}

fn object_fits(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let fields = value.as_object().ok_or("no object")?;
    for required in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let name = required.as_str().unwrap();
        fields
            .get(name)
            .ok_or_else(|| format!("{name} is missing"))?;
    }
    for (name, value) in fields {
        let known = schema.get("properties").and_then(|known| known.get(name));
        let field = known.or_else(|| schema.get("additionalProperties").filter(|s| s.is_object()));
        let field = field.ok_or_else(|| format!("{name} is not described"))?;
        fits(document, field, value).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

fn check(name: &str, value: &impl serde::Serialize) {
    let document = document();
    let schema = &document["components"]["schemas"][name];
    assert!(schema.is_object(), "no schema {name}");
    let value = serde_json::to_value(value).unwrap();
    if let Err(why) = fits(&document, schema, &value) {
        panic!("{name}: {why}");
    }
    // And every field that the schema knows is one that the type has.
    let known = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .collect::<BTreeSet<_>>();
    let present = value.as_object().unwrap().keys().collect::<BTreeSet<_>>();
    assert_eq!(known, present, "fields of {name}");
}

fn image() -> Image {
    let part = BlobRef {
        digest: Digest::of(b"x"),
        size: ByteCount::kib(3),
    };
    Image {
        name: "i".parse().unwrap(),
        kernel: part,
        initrd: None,
        disk: Some(part),
        cmdline: "quiet".to_owned(),
        size: ByteCount::kib(6),
        created_at: Timestamp::default(),
        vms: 2,
        places: vec![place()],
    }
}

fn vm(state: VmState) -> Vm {
    let new = NewVm::new("a".parse().unwrap(), "i".parse().unwrap());
    Vm {
        id: VmId::from_bytes([1; 16]),
        name: new.name.clone(),
        node: NodeId::from_bytes([2; 16]),
        spec: new.spec().1,
        state,
        reason: None,
        created_at: Timestamp::default(),
        changed_at: Timestamp::default(),
        starts: 1,
        resets: 0,
        timeline: vec![VmStage {
            stage: VmStageName::FirstOutput,
            at_ms: 5,
        }],
        label: Some("a~ams".to_owned()),
        place: Some(place()),
    }
}

fn place() -> Place {
    Place {
        node: NodeId::from_bytes([2; 16]),
        name: "n".to_owned(),
        site: Some("ams".parse().unwrap()),
        reachable: true,
        age_ms: Some(700),
    }
}

/// One page of one thing.
fn page<T>(item: T) -> Page<T> {
    Page {
        items: vec![item],
        next: Some("a".to_owned()),
        notes: vec!["site `lon` does not answer".to_owned()],
    }
}

#[test]
fn what_is_known_of_the_cluster_fits_its_schemas() {
    let capacity = Capacity {
        cpus: 4,
        kvm: true,
        ..Capacity::default()
    };
    let node = NodeEntry {
        id: NodeId::from_bytes([2; 16]),
        name: "n".to_owned(),
        site: None,
        state: Standing::Suspect,
        reason: None,
        address: Some("192.0.2.1:12213".to_owned()),
        boots: 3,
        capacity: Some(capacity),
        age_ms: None,
    };
    let site = SiteEntry {
        id: SiteId::from_bytes([1; 16]),
        name: "ams".parse().unwrap(),
        reachable: false,
        nodes: 3,
        alive: 0,
        vms: 2,
        free: ByteCount::gib(1),
        round_trip_us: Some(50_200),
        age_ms: Some(4),
    };
    let pending = PendingNode {
        code: "abcd-efgh".to_owned(),
        node: Some(node.id),
        site: None,
        address: Some("192.0.2.9".to_owned()),
        machine: Some("n7".to_owned()),
        waiting_ms: 9,
    };
    let event = Event {
        seq: 4,
        at: Timestamp::default(),
        kind: "vm".to_owned(),
        node: Some(node.id),
        subject: "web".to_owned(),
        text: "running".to_owned(),
    };
    check("Place", &place());
    check("Capacity", &capacity);
    check("NodeEntry", &node);
    check("NodeEntryPage", &page(node));
    check("SiteEntry", &site);
    check("SiteEntryPage", &page(site));
    check("PendingNode", &pending);
    check("PendingNodePage", &page(pending));
    check(
        "OwnerWord",
        &protocol::OwnerWord {
            word: "luc-word-AAAA".to_owned(),
        },
    );
    let taken = protocol::OwnerWordTaken {
        what: "takes a node out".to_owned(),
    };
    check("OwnerWordTaken", &taken);
    check(
        "Approve",
        &Approve {
            code: "abcd".to_owned(),
        },
    );
    check("Event", &event);
    let (items, next, missed) = (vec![event], 4, 0);
    check(
        "EventPage",
        &EventPage {
            items,
            next,
            missed,
        },
    );
    for standing in Standing::ALL {
        assert_eq!(serde_json::to_value(standing).unwrap(), standing.as_str());
    }
}

fn node() -> Node {
    Node {
        id: NodeId::from_bytes([2; 16]),
        name: "n".to_owned(),
        version: "0".to_owned(),
        kernel: "6.12".to_owned(),
        state: NodeState::GoingDown,
        reason: Some("asked".to_owned()),
        addresses: vec![NodeAddress {
            nic: "eth0".to_owned(),
            address: "192.0.2.1/24".to_owned(),
            gateway: None,
        }],
        now: Timestamp::default(),
        uptime_ms: 1,
        timeline: vec![BootStage {
            stage: "init".to_owned(),
            at_ms: 1,
        }],
        cpus: 2,
        memory: NodeMemory::default(),
        kvm: KvmStatus {
            usable: false,
            detail: Some("no".to_owned()),
        },
        vms: 1,
        images: 1,
        processes: vec![ProcessUse {
            name: "init".to_owned(),
            pid: 1,
            resident: ByteCount::mib(1),
            open_files: 3,
        }],
        counters: [("x".to_owned(), 1)].into(),
    }
}

fn energy() -> NodeEnergy {
    let account = |kind: EnergyKind| EnergyAccount {
        kind,
        name: "web".to_owned(),
        vm: (kind == EnergyKind::Vm).then(|| VmId::from_bytes([1; 16])),
        power_uw: Microwatts::from_watts(9),
        active_uj: Microjoules(5),
        idle_uj: Microjoules(6),
        bar_uj: Microjoules(1),
    };
    NodeEnergy {
        node: NodeId::from_bytes([2; 16]),
        name: "n".to_owned(),
        now: Timestamp::default(),
        epoch: 1,
        interval_ms: 1000,
        power_uw: Microwatts::from_watts(70),
        bar_uw: Microwatts::from_watts(5),
        class: "rapl".to_owned(),
        reason: "it is there".to_owned(),
        alarm: false,
        load_permille: 10,
        idle_uw: Microwatts::from_watts(50),
        energy_uj: Microjoules(55),
        accounts: EnergyKind::ALL.map(account).to_vec(),
        sources: vec![EnergySource {
            name: "rapl".to_owned(),
            state: "good".to_owned(),
            detail: None,
            power_uw: Some(Microwatts::from_watts(60)),
            age_ms: Some(3),
            rounds: 7,
            faults: 0,
        }],
    }
}

#[test]
fn what_is_told_of_energy_fits_its_schemas() {
    check("NodeEnergy", &energy());
    check("EnergySource", &energy().sources[0]);
    for account in &energy().accounts {
        check("EnergyAccount", account);
        let kind = serde_json::to_value(account.kind).unwrap();
        assert_eq!(kind, account.kind.as_str());
    }
}

#[test]
fn real_values_fit_their_schemas() {
    check("Node", &node());
    check("NodeAddress", &node().addresses[0]);
    check("BootStage", &node().timeline[0]);
    check("NodeMemory", &node().memory);
    check("KvmStatus", &node().kvm);
    check("ProcessUse", &node().processes[0]);
    check(
        "PowerReply",
        &PowerReply {
            node: node().id,
            state: NodeState::GoingDown,
        },
    );
    check("Image", &image());
    check("BlobRef", &image().kernel);
    check("ImagePage", &page(image()));
    let (digest, size) = (Digest::of(b""), ByteCount::bytes(7));
    check(
        "Blob",
        &Blob {
            digest,
            size,
            received: 3,
            complete: false,
        },
    );
    let (name, cmdline) = ("i".parse().unwrap(), String::new());
    check(
        "NewImage",
        &NewImage {
            name,
            kernel: digest,
            initrd: Some(digest),
            disk: None,
            cmdline,
        },
    );
    check(
        "NewVm",
        &NewVm::new("a".parse().unwrap(), "i".parse().unwrap()),
    );
    for state in VmState::ALL {
        check("Vm", &vm(state));
    }
    check("VmSpec", &vm(VmState::Running).spec);
    check("VmStage", &vm(VmState::Running).timeline[0]);
    check("VmPage", &page(vm(VmState::Failed)));
    check(
        "StopRequest",
        &StopRequest {
            force: true,
            force_after_ms: Some(1),
        },
    );
    for code in Code::ALL {
        let mut problem = Problem::new(*code, "d", "a");
        problem.allow = Some("GET".to_owned());
        check("Problem", &problem);
    }
}

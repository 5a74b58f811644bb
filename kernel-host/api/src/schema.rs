//! The shape of every API object, once, for OpenAPI and for error messages.
//!
//! Does:      names fields, kinds and meanings; a test holds real values against them.
//! Does not:  check requests: the types of `protocol` do, when they are read.
//! Bounds:    one entry an object.
//! Trusts:    nothing comes in here.
//! Start at:  `Schema::shape`.

use protocol::{Code, EnergyKind, VmState, limits};
use serde_json::{Value, json};

/// An API object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    Node,
    BootStage,
    NodeAddress,
    NodeMemory,
    KvmStatus,
    ProcessUse,
    NodeEnergy,
    EnergyAccount,
    EnergySource,
    PowerReply,
    NewImage,
    Image,
    BlobRef,
    ImagePage,
    Blob,
    NewVm,
    Vm,
    VmSpec,
    VmStage,
    VmPage,
    StopRequest,
    Place,
    Capacity,
    NodeEntry,
    NodeEntryPage,
    SiteEntry,
    SiteEntryPage,
    PendingNode,
    PendingNodePage,
    Approve,
    OwnerWord,
    OwnerWordTaken,
    Event,
    EventPage,
    Problem,
}

/// What stands in a field.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Name,
    Id(&'static str),
    Sha256,
    Bytes,
    Time,
    Count,
    Flag,
    Choice(&'static [&'static str]),
    Object(Schema),
    List(Schema),
    Words,
    Counters,
}

/// Whether a field must be there, and may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    Always,
    /// There, and perhaps null.
    Nullable,
    /// May be left out.
    Optional,
}

struct Field(&'static str, Kind, Presence, &'static str);

use Kind::{
    Bytes, Choice, Count, Counters, Flag, Id, List, Name, Object, Sha256, Text, Time, Words,
};
use Presence::{Always, Nullable, Optional};

const VM_STATES: &[&str] = &{
    let mut names = [""; VmState::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = VmState::ALL[at].as_str();
        at += 1;
    }
    names
};
const CODES: &[&str] = &{
    let mut names = [""; Code::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Code::ALL[at].as_str();
        at += 1;
    }
    names
};
const NODE_STATES: &[&str] = &["starting", "ready", "degraded", "going_down"];
const ENERGY_KINDS: &[&str] = &{
    let mut names = [""; EnergyKind::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = EnergyKind::ALL[at].as_str();
        at += 1;
    }
    names
};
const STAGES: &[&str] = &["asked", "vmm_started", "guest_running", "first_output"];
const STANDINGS: &[&str] = &["alive", "suspect", "dead", "left", "unreachable"];
const DISK_USES: &[&str] = &["read_only", "private", "none"];

impl Schema {
    pub const ALL: &[Self] = &[
        Self::Node,
        Self::BootStage,
        Self::NodeAddress,
        Self::NodeMemory,
        Self::KvmStatus,
        Self::ProcessUse,
        Self::NodeEnergy,
        Self::EnergyAccount,
        Self::EnergySource,
        Self::PowerReply,
        Self::NewImage,
        Self::Image,
        Self::BlobRef,
        Self::ImagePage,
        Self::Blob,
        Self::NewVm,
        Self::Vm,
        Self::VmSpec,
        Self::VmStage,
        Self::VmPage,
        Self::StopRequest,
        Self::Place,
        Self::Capacity,
        Self::NodeEntry,
        Self::NodeEntryPage,
        Self::SiteEntry,
        Self::SiteEntryPage,
        Self::PendingNode,
        Self::PendingNodePage,
        Self::Approve,
        Self::OwnerWord,
        Self::OwnerWordTaken,
        Self::Event,
        Self::EventPage,
        Self::Problem,
    ];

    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// Names of its fields.
    pub fn fields(self) -> Vec<&'static str> {
        self.shape().iter().map(|Field(name, ..)| *name).collect()
    }

    fn shape(self) -> &'static [Field] {
        match self {
            Self::Node => shapes::NODE,
            Self::BootStage => shapes::BOOT_STAGE,
            Self::NodeAddress => shapes::NODE_ADDRESS,
            Self::NodeMemory => shapes::NODE_MEMORY,
            Self::KvmStatus => shapes::KVM_STATUS,
            Self::ProcessUse => shapes::PROCESS_USE,
            Self::NodeEnergy => shapes::NODE_ENERGY,
            Self::EnergyAccount => shapes::ENERGY_ACCOUNT,
            Self::EnergySource => shapes::ENERGY_SOURCE,
            Self::PowerReply => shapes::POWER_REPLY,
            Self::NewImage => shapes::NEW_IMAGE,
            Self::Image => shapes::IMAGE,
            Self::BlobRef => shapes::BLOB_REF,
            Self::ImagePage => shapes::IMAGE_PAGE,
            Self::Blob => shapes::BLOB,
            Self::NewVm => shapes::NEW_VM,
            Self::Vm => shapes::VM,
            Self::VmSpec => shapes::VM_SPEC,
            Self::VmStage => shapes::VM_STAGE,
            Self::VmPage => shapes::VM_PAGE,
            Self::StopRequest => shapes::STOP_REQUEST,
            Self::Place => shapes::PLACE,
            Self::Capacity => shapes::CAPACITY,
            Self::NodeEntry => shapes::NODE_ENTRY,
            Self::NodeEntryPage => shapes::NODE_ENTRY_PAGE,
            Self::SiteEntry => shapes::SITE_ENTRY,
            Self::SiteEntryPage => shapes::SITE_ENTRY_PAGE,
            Self::PendingNode => shapes::PENDING_NODE,
            Self::PendingNodePage => shapes::PENDING_NODE_PAGE,
            Self::Approve => shapes::APPROVE,
            Self::OwnerWord => shapes::OWNER_WORD,
            Self::OwnerWordTaken => shapes::OWNER_WORD_TAKEN,
            Self::Event => shapes::EVENT,
            Self::EventPage => shapes::EVENT_PAGE,
            Self::Problem => shapes::PROBLEM,
        }
    }

    /// As JSON Schema.
    pub fn json(self) -> Value {
        let mut properties = serde_json::Map::new();
        let mut required = Vec::new();
        for Field(name, kind, presence, summary) in self.shape() {
            let mut schema = kind.json();
            if *presence != Always {
                schema = json!({ "oneOf": [schema, { "type": "null" }] });
            }
            if *presence != Optional {
                required.push(*name);
            }
            schema["description"] = (*summary).into();
            properties.insert((*name).to_owned(), schema);
        }
        json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        })
    }

    pub fn reference(self) -> Value {
        json!({ "$ref": format!("#/components/schemas/{}", self.name()) })
    }
}

/// The fields of each object, in the order in which they are written.
#[rustfmt::skip] // keeps the columns
mod shapes {
    use super::{
        Always, Bytes, CODES, Choice, Count, Counters, DISK_USES, ENERGY_KINDS, Field, Flag, Id, List,
        NODE_STATES, Name, Nullable, Object, Optional, STAGES, Schema, Sha256, Text, Time,
        STANDINGS, VM_STATES, Words,
    };

    pub const NODE: &[Field] = &[
        Field("id",         Id("node"),               Always,   "Never changes"),
        Field("name",       Text,                     Always,   "Host name"),
        Field("version",    Text,                     Always,   "Of LUC OS"),
        Field("kernel",     Text,                     Always,   "Release of the Linux kernel"),
        Field("state",      Choice(NODE_STATES),      Always,   "`ready` takes work"),
        Field("reason",     Text,                     Nullable, "Why, if the state is not `ready`"),
        Field("addresses",  List(Schema::NodeAddress),  Always,   "Where it is reached"),
        Field("now",        Time,                     Always,   "Its own wall clock"),
        Field("uptime_ms",  Count,                    Always,   "Since its kernel started"),
        Field("timeline",   List(Schema::BootStage),    Always,   "Steps of the boot"),
        Field("cpus",       Count,                    Always,   "Logical CPUs"),
        Field("memory",     Object(Schema::NodeMemory), Always,   "Memory"),
        Field("kvm",        Object(Schema::KvmStatus),  Always,   "Whether VMs can run"),
        Field("vms",        Count,                    Always,   "VMs in its list"),
        Field("images",     Count,                    Always,   "Images"),
        Field("processes",  List(Schema::ProcessUse),   Always,   "What LUC OS itself uses"),
        Field("counters",   Counters,                 Always,   "Since the node process started"),
    ];
    pub const BOOT_STAGE: &[Field] = &[
        Field("stage",      Text,                     Always,   "Name of the step"),
        Field("at_ms",      Count,                    Always,   "Milliseconds of the kernel's clock"),
    ];
    pub const NODE_ADDRESS: &[Field] = &[
        Field("nic",        Text,                     Always,   "Network card"),
        Field("address",    Text,                     Always,   "Address/prefix length"),
        Field("gateway",    Text,                     Nullable, "Default router"),
    ];
    pub const NODE_MEMORY: &[Field] = &[
        Field("total",      Bytes,                    Always,   "All"),
        Field("available",  Bytes,                    Always,   "Free by the kernel's account"),
        Field("for_guests", Bytes,                    Always,   "For VMs and images together"),
        Field("reserved",   Bytes,                    Always,   "Promised of that"),
    ];
    pub const KVM_STATUS: &[Field] = &[
        Field("usable",     Flag,                     Always,   "A virtual CPU really ran"),
        Field("detail",     Text,                     Nullable, "Why not, and what to do"),
    ];
    pub const PROCESS_USE: &[Field] = &[
        Field("name",       Text,                     Always,   "Role"),
        Field("pid",        Count,                    Always,   "Process id"),
        Field("resident",   Bytes,                    Always,   "Memory in RAM"),
        Field("open_files", Count,                    Always,   "File descriptors"),
    ];
    pub const NODE_ENERGY: &[Field] = &[
        Field("node",       Id("node"),               Always,   "Which node"),
        Field("name",       Text,                     Always,   "Host name"),
        Field("now",        Time,                     Always,   "Its own wall clock"),
        Field("epoch",      Count,                    Always,   "Grows when its ledger is opened anew"),
        Field("interval_ms", Count,                   Always,   "Of the last measurement; 0: none yet"),
        Field("power_uw",   Count,                    Always,   "Microwatts in that interval"),
        Field("bar_uw",     Count,                    Always,   "Nine of ten truths are this near"),
        Field("class",      Text,                     Always,   "wall, board, rapl, fitted, curve or guess"),
        Field("reason",     Text,                     Always,   "Why that and nothing better"),
        Field("alarm",      Flag,                     Always,   "Two meters disagree"),
        Field("load_permille", Count,                 Always,   "How busy the CPUs were, of 1000"),
        Field("idle_uw",    Count,                    Always,   "Microwatts without any load"),
        Field("energy_uj",  Count,                    Always,   "Microjoules since the ledger began"),
        Field("accounts",   List(Schema::EnergyAccount), Always, "They sum to `energy_uj`"),
        Field("sources",    List(Schema::EnergySource), Always, "Its meters"),
    ];
    pub const ENERGY_ACCOUNT: &[Field] = &[
        Field("kind",       Choice(ENERGY_KINDS),     Always,   "What it is charged for"),
        Field("name",       Text,                     Always,   "Of the VM or service"),
        Field("vm",         Id("vm"),                 Nullable, "Which VM"),
        Field("power_uw",   Count,                    Always,   "Microwatts in the last interval"),
        Field("active_uj",  Count,                    Always,   "Microjoules for work"),
        Field("idle_uj",    Count,                    Always,   "Microjoules for being kept ready"),
        Field("bar_uj",     Count,                    Always,   "Nine of ten truths are this near"),
    ];
    pub const ENERGY_SOURCE: &[Field] = &[
        Field("name",       Text,                     Always,   "Its kind and address"),
        Field("state",      Text,                     Always,   "new, good, failing or quarantined"),
        Field("detail",     Text,                     Nullable, "Why it failed, and what to do"),
        Field("power_uw",   Count,                    Nullable, "Microwatts that it told last"),
        Field("age_ms",     Count,                    Nullable, "Since it was last heard"),
        Field("rounds",     Count,                    Always,   "Times it was asked"),
        Field("faults",     Count,                    Always,   "Times that failed"),
    ];
    pub const POWER_REPLY: &[Field] = &[
        Field("node",       Id("node"),               Always,   "Which node"),
        Field("state",      Choice(NODE_STATES),      Always,   "`going_down`"),
    ];
    pub const NEW_IMAGE: &[Field] = &[
        Field("name",       Name,                     Always,   "Not yet taken"),
        Field("kernel",     Sha256,                   Always,   "A complete blob: bzImage"),
        Field("initrd",     Sha256,                   Optional, "A complete blob"),
        Field("disk",       Sha256,                   Optional, "A complete blob: raw disk"),
        Field("cmdline",    Text,                     Optional, "Kernel arguments of all its VMs"),
    ];
    pub const IMAGE: &[Field] = &[
        Field("name",       Name,                     Always,   "Its name"),
        Field("kernel",     Object(Schema::BlobRef),    Always,   "bzImage"),
        Field("initrd",     Object(Schema::BlobRef),    Nullable, "First root file system"),
        Field("disk",       Object(Schema::BlobRef),    Nullable, "Raw disk"),
        Field("cmdline",    Text,                     Always,   "Kernel arguments of all its VMs"),
        Field("size",       Bytes,                    Always,   "Of all parts"),
        Field("created_at", Time,                     Always,   "When it was named"),
        Field("vms",        Count,                    Always,   "VMs made from it"),
        Field("places",     List(Schema::Place),        Always,   "The nodes that have it"),
    ];
    pub const BLOB_REF: &[Field] = &[
        Field("digest",     Sha256,                   Always,   "Content address"),
        Field("size",       Bytes,                    Always,   "Size"),
    ];
    pub const IMAGE_PAGE: &[Field] = &[
        Field("items",      List(Schema::Image),        Always,   "Sorted by name"),
        Field("next",       Text,                     Nullable, "`after` of the next page"),
        Field("notes",      Words,                    Always,   "What may be missing or old, and why"),
    ];
    pub const BLOB: &[Field] = &[
        Field("digest",     Sha256,                   Always,   "Content address"),
        Field("size",       Bytes,                    Always,   "When complete"),
        Field("received",   Count,                    Always,   "The next offset to send"),
        Field("complete",   Flag,                     Always,   "All here, digest checked"),
    ];
    pub const NEW_VM: &[Field] = &[
        Field("name",       Name,                     Always,   "Not yet taken"),
        Field("image",      Name,                     Always,   "What it boots from"),
        Field("vcpus",      Count,                    Optional, "1 to 8; 1 if absent"),
        Field("memory",     Bytes,                    Optional, "128MiB if absent"),
        Field("cmdline",    Text,                     Optional, "Kernel arguments behind the image's"),
        Field("disk",       Choice(DISK_USES),        Optional, "How it uses the image's disk"),
    ];
    pub const VM: &[Field] = &[
        Field("id",         Id("vm"),                 Always,   "Never given twice"),
        Field("name",       Name,                     Always,   "Its name"),
        Field("node",       Id("node"),               Always,   "Where it runs"),
        Field("spec",       Object(Schema::VmSpec),     Always,   "What it is made of"),
        Field("state",      Choice(VM_STATES),        Always,   "Where it stands"),
        Field("reason",     Text,                     Nullable, "Why, if that is not plain"),
        Field("created_at", Time,                     Always,   "When it was asked for"),
        Field("changed_at", Time,                     Always,   "When `state` last changed"),
        Field("starts",     Count,                    Always,   "Monitor processes made for it"),
        Field("resets",     Count,                    Always,   "Resets of its guest"),
        Field("timeline",   List(Schema::VmStage),      Always,   "Steps of the newest start"),
        Field("label",      Text,                     Nullable, "How to point at it: name, or name~site"),
        Field("place",      Object(Schema::Place),      Nullable, "Its host, and how fresh all this is"),
    ];
    pub const VM_SPEC: &[Field] = &[
        Field("image",      Name,                     Always,   "What it boots from"),
        Field("vcpus",      Count,                    Always,   "Virtual CPUs"),
        Field("memory",     Bytes,                    Always,   "Of the guest"),
        Field("cmdline",    Text,                     Always,   "Kernel arguments behind the image's"),
        Field("disk",       Choice(DISK_USES),        Always,   "How it uses the image's disk"),
    ];
    pub const VM_STAGE: &[Field] = &[
        Field("stage",      Choice(STAGES),           Always,   "Name of the step"),
        Field("at_ms",      Count,                    Always,   "Milliseconds after `asked`"),
    ];
    pub const VM_PAGE: &[Field] = &[
        Field("items",      List(Schema::Vm),           Always,   "Sorted by name"),
        Field("next",       Text,                     Nullable, "`after` of the next page"),
        Field("notes",      Words,                    Always,   "What may be missing or old, and why"),
    ];
    pub const STOP_REQUEST: &[Field] = &[
        Field("force",          Flag,                 Optional, "Don't ask the guest"),
        Field("force_after_ms", Count,                Optional, "Ask, then force after this time"),
    ];
    pub const PLACE: &[Field] = &[
        Field("node",       Id("node"),               Always,   "The host"),
        Field("name",       Text,                     Always,   "The host's name"),
        Field("site",       Name,                     Nullable, "The host's site"),
        Field("reachable",  Flag,                     Always,   "The host answers"),
        Field("age_ms",     Count,                    Nullable, "Since the host was known alive; null: it answered itself"),
    ];
    pub const CAPACITY: &[Field] = &[
        Field("cpus",       Count,                    Always,   "Logical CPUs"),
        Field("vcpus",      Count,                    Always,   "Virtual CPUs of VMs that run"),
        Field("memory",     Bytes,                    Always,   "For VMs and images together"),
        Field("reserved",   Bytes,                    Always,   "Promised of that"),
        Field("load_permille", Count,                 Always,   "How busy the CPUs are, of 1000"),
        Field("vms",        Count,                    Always,   "VMs in its list"),
        Field("images",     Count,                    Always,   "Images"),
        Field("kvm",        Flag,                     Always,   "VMs can run"),
    ];
    pub const NODE_ENTRY: &[Field] = &[
        Field("id",         Id("node"),               Always,   "Of its key"),
        Field("name",       Text,                     Always,   "Host name"),
        Field("site",       Name,                     Nullable, "Its site"),
        Field("state",      Choice(STANDINGS),        Always,   "What its neighbours say"),
        Field("reason",     Text,                     Nullable, "Why, if that is not plain"),
        Field("address",    Text,                     Nullable, "Where other nodes reach it"),
        Field("boots",      Count,                    Always,   "Boots with this identity"),
        Field("capacity",   Object(Schema::Capacity),   Nullable, "What it has and uses"),
        Field("age_ms",     Count,                    Nullable, "Age of this; null: first-hand"),
    ];
    pub const NODE_ENTRY_PAGE: &[Field] = &[
        Field("items",      List(Schema::NodeEntry),    Always,   "Sorted by name"),
        Field("next",       Text,                     Nullable, "`after` of the next page"),
        Field("notes",      Words,                    Always,   "What may be missing or old, and why"),
    ];
    pub const SITE_ENTRY: &[Field] = &[
        Field("id",         Id("site"),               Always,   "Of its name"),
        Field("name",       Name,                     Always,   "Its name"),
        Field("reachable",  Flag,                     Always,   "Some node of it answers"),
        Field("nodes",      Count,                    Always,   "Its nodes"),
        Field("alive",      Count,                    Always,   "Its nodes that are alive"),
        Field("vms",        Count,                    Always,   "VMs on nodes that are alive"),
        Field("free",       Bytes,                    Always,   "Memory that nodes alive have left"),
        Field("round_trip_us", Count,                 Nullable, "From the asked node, measured or guessed; null: its own site, or not known"),
        Field("age_ms",     Count,                    Nullable, "Age of this; null: the node's own site"),
    ];
    pub const SITE_ENTRY_PAGE: &[Field] = &[
        Field("items",      List(Schema::SiteEntry),    Always,   "Sorted by name"),
        Field("next",       Text,                     Nullable, "Never: sites come at once"),
        Field("notes",      Words,                    Always,   "What may be missing or old, and why"),
    ];
    pub const PENDING_NODE: &[Field] = &[
        Field("code",       Text,                     Always,   "What its screen shows"),
        Field("node",       Id("node"),               Nullable, "Of its key; null: it waits elsewhere"),
        Field("site",       Name,                     Nullable, "The site it wants"),
        Field("address",    Text,                     Nullable, "Where it asks from"),
        Field("machine",    Text,                     Nullable, "The name that it asks for"),
        Field("waiting_ms", Count,                    Always,   "Since it asked"),
    ];
    pub const PENDING_NODE_PAGE: &[Field] = &[
        Field("items",      List(Schema::PendingNode),  Always,   "The longest waiting first"),
        Field("next",       Text,                     Nullable, "Never: they come at once"),
        Field("notes",      Words,                    Always,   "What may be missing or old, and why"),
    ];
    pub const APPROVE: &[Field] = &[
        Field("code",       Text,                     Always,   "From the screen of the machine"),
    ];
    pub const OWNER_WORD: &[Field] = &[
        Field("word",       Text,                     Always,   "luc-word-..., as `luc cluster revoke` and others print it"),
    ];
    pub const OWNER_WORD_TAKEN: &[Field] = &[
        Field("what",       Text,                     Always,   "What it says, for people"),
    ];
    pub const EVENT: &[Field] = &[
        Field("seq",        Count,                    Always,   "Counts the events of this node"),
        Field("at",         Time,                     Always,   "When the node saw it"),
        Field("kind",       Text,                     Always,   "node, site, vm, image or cluster"),
        Field("node",       Id("node"),               Nullable, "The node it is about or on"),
        Field("subject",    Text,                     Always,   "Name of what it is about"),
        Field("text",       Text,                     Always,   "What happened"),
    ];
    pub const EVENT_PAGE: &[Field] = &[
        Field("items",      List(Schema::Event),        Always,   "The oldest first"),
        Field("next",       Count,                    Always,   "`after` of the next request"),
        Field("missed",     Count,                    Always,   "Events in between that are forgotten"),
    ];
    pub const PROBLEM: &[Field] = &[
        Field("type",       Text,                     Always,   "urn:luc:problem:<code>"),
        Field("title",      Text,                     Always,   "Of the code"),
        Field("status",     Count,                    Always,   "HTTP status"),
        Field("detail",     Text,                     Always,   "What was tried, on what, why not"),
        Field("code",       Choice(CODES),            Always,   "For programs to decide by"),
        Field("advice",     Text,                     Always,   "What to do now"),
        Field("lost",       Text,                     Always,   "What is certainly not lost"),
        Field("request_id", Text,                     Nullable, "Names the request in the node's log"),
        Field("allow",      Text,                     Optional, "Methods that the path knows"),
    ];
}

impl Kind {
    fn json(self) -> Value {
        match self {
            Text => json!({ "type": "string" }),
            Name => json!({
                "type": "string",
                "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
                "maxLength": limits::NAME_CHARS_MAX,
            }),
            Id(prefix) => {
                json!({ "type": "string", "pattern": format!("^{prefix}-[0-9a-f]{{32}}$") })
            }
            Sha256 => json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
            Bytes => {
                json!({ "type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)?$" })
            }
            Time => json!({ "type": "string", "format": "date-time" }),
            Count => json!({ "type": "integer", "minimum": 0 }),
            Flag => json!({ "type": "boolean" }),
            Choice(words) => json!({ "type": "string", "enum": words }),
            Object(schema) => schema.reference(),
            List(schema) => json!({ "type": "array", "items": schema.reference() }),
            Words => json!({ "type": "array", "items": { "type": "string" } }),
            Counters => json!({
                "type": "object",
                "additionalProperties": { "type": "integer", "minimum": 0 },
            }),
        }
    }
}

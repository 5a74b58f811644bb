//! Every route, once.
//!
//! Does:      method, path, parameters, body, answer and possible refusals of each operation; the
//!            parser, the OpenAPI document and the tests all read this table.
//! Does not:  parse, or know what an operation does.
//! Bounds:    each route says how long its body may be.
//! Trusts:    nothing comes in here.
//! Start at:  `ROUTES`.

use crate::schema::Schema;
use protocol::{Code, limits};

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Home,
    OpenApi,
    ShowNode,
    ShowEnergy,
    Metrics,
    PowerOff,
    Reboot,
    ListImages,
    CreateImage,
    ShowImage,
    DeleteImage,
    ShowBlob,
    PutBlob,
    ListVms,
    CreateVm,
    ShowVm,
    DeleteVm,
    StartVm,
    StopVm,
    ResetVm,
    Console,
    ConsoleLog,
    ListNodes,
    ShowNodeEntry,
    RemoveNode,
    ListPending,
    ApproveNode,
    TellWord,
    ListSites,
    ListEvents,
}

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    None,
    /// JSON, which may be absent if the flag says so.
    Json {
        schema: Schema,
        optional: bool,
    },
    /// Raw bytes of a blob.
    Bytes,
}

impl Body {
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::None => 0,
            Self::Json { .. } => limits::BODY_BYTES_MAX,
            Self::Bytes => limits::CHUNK_BYTES_MAX,
        }
    }
}

/// What a route answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    Json(Schema),
    /// OpenAPI's own format.
    Document,
    Text,
    WebSocket,
}

/// A query parameter.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    pub name: &'static str,
    pub schema: ParamKind,
    pub required: bool,
    pub summary: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    Count {
        least: u64,
        most: u64,
    },
    Name,
    /// A name, an id, or the start of an id.
    Selector,
    /// `name`, or `name~id`.
    After,
    Flag,
}

/// One operation.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub method: &'static str,
    /// Segments in braces match anything.
    pub pattern: &'static str,
    pub operation: Operation,
    pub id: &'static str,
    pub tag: &'static str,
    pub summary: &'static str,
    pub query: &'static [Param],
    pub body: Body,
    pub status: u16,
    pub answers: Answers,
    pub refusals: &'static [Code],
}

const LIMIT: Param = Param {
    name: "limit",
    schema: ParamKind::Count {
        least: 1,
        most: limits::PAGE_ITEMS_MAX as u64,
    },
    required: false,
    summary: "Most items of this page",
};

const AFTER: Param = Param {
    name: "after",
    schema: ParamKind::After,
    required: false,
    summary: "Start behind this: the `next` of the page before",
};

const NODE: Param = Param {
    name: "node",
    schema: ParamKind::Selector,
    required: false,
    summary: "The node it is for: name, id or start of the id",
};

const SITE: Param = Param {
    name: "site",
    schema: ParamKind::Name,
    required: false,
    summary: "The site it is for",
};

const LIST: &[Param] = &[LIMIT, AFTER, NODE, SITE];
const LIST_OF_SITE: &[Param] = &[LIMIT, AFTER, SITE];
const AT_NODE: &[Param] = &[NODE];
const AT: &[Param] = &[NODE, SITE];

const PIECE: &[Param] = &[
    Param {
        name: "offset",
        schema: ParamKind::Count {
            least: 0,
            most: limits::BLOB_BYTES_MAX.get(),
        },
        required: true,
        summary: "Where this piece starts",
    },
    Param {
        name: "size",
        schema: ParamKind::Count {
            least: 1,
            most: limits::BLOB_BYTES_MAX.get(),
        },
        required: true,
        summary: "Bytes of the whole blob",
    },
    NODE,
];

const CONSOLE: &[Param] = &[
    Param {
        name: "since",
        schema: ParamKind::Count {
            least: 0,
            most: i64::MAX as u64,
        },
        required: false,
        summary: "Console bytes the client has already",
    },
    Param {
        name: "take",
        schema: ParamKind::Flag,
        required: false,
        summary: "Become the writer even if there is one",
    },
];

const EVENTS: &[Param] = &[
    Param {
        name: "after",
        schema: ParamKind::Count {
            least: 0,
            most: i64::MAX as u64,
        },
        required: false,
        summary: "The `next` of the answer before; without it, all that the node still has",
    },
    Param {
        name: "wait_ms",
        schema: ParamKind::Count {
            least: 0,
            most: limits::EVENTS_WAIT_MS_MAX,
        },
        required: false,
        summary: "Wait up to this time for the first new event",
    },
    NODE,
];

const fn json(schema: Schema) -> Body {
    Body::Json {
        schema,
        optional: false,
    }
}

const STOP: Body = Body::Json {
    schema: Schema::StopRequest,
    optional: true,
};

use Answers::{Document, Json, Text, WebSocket};
use Code::{
    Ambiguous, BlobMissing, Busy, DigestMismatch, GoingDown, HostSilent, InUse, LimitReached,
    NameTaken, NoCapacity, NoCluster, NoKvm, NotFound, UpgradeNeeded, WrongOffset, WrongState,
};

macro_rules! routes {
    ($($method:ident $pattern:literal $op:ident $id:literal $tag:literal $query:ident
        ($body:expr) => $status:literal $answers:expr, $refusals:expr; $summary:literal;)+) => {
        &[$(Route {
            method: stringify!($method),
            pattern: $pattern,
            operation: Operation::$op,
            id: $id,
            tag: $tag,
            summary: $summary,
            query: $query,
            body: $body,
            status: $status,
            answers: $answers,
            refusals: &$refusals,
        },)+]
    };
}

const NONE: &[Param] = &[];
use Body::None as Empty;

/// All routes. Malformed requests are refused everywhere, so `refusals` names only the rest.
#[rustfmt::skip] // one route, three lines
pub const ROUTES: &[Route] = routes! {
    GET "/" Home "home" "node" NONE (Empty)
        => 200 Text, [];
        "Says what this is";
    GET "/v1/openapi.json" OpenApi "openapi" "node" NONE (Empty)
        => 200 Document, [];
        "This description";
    GET "/v1/node" ShowNode "showNode" "node" AT_NODE (Empty)
        => 200 Json(Schema::Node), [NotFound, Ambiguous, HostSilent];
        "Shows the node: state, addresses, memory, boot timeline, own processes";
    GET "/v1/energy" ShowEnergy "showEnergy" "energy" AT_NODE (Empty)
        => 200 Json(Schema::NodeEnergy), [NotFound, Ambiguous, HostSilent];
        "Shows what the node draws, who it is charged to, and its meters";
    GET "/metrics" Metrics "metrics" "energy" NONE (Empty)
        => 200 Text, [];
        "The node's energy for Prometheus, in joules and watts";
    POST "/v1/node/poweroff" PowerOff "powerOffNode" "node" AT_NODE (Empty)
        => 202 Json(Schema::PowerReply), [NotFound, Ambiguous, HostSilent, GoingDown];
        "Ends all VMs and switches the node off";
    POST "/v1/node/reboot" Reboot "rebootNode" "node" AT_NODE (Empty)
        => 202 Json(Schema::PowerReply), [NotFound, Ambiguous, HostSilent, GoingDown];
        "Ends all VMs and boots the node again";
    GET "/v1/nodes" ListNodes "listNodes" "cluster" LIST_OF_SITE (Empty)
        => 200 Json(Schema::NodeEntryPage), [NotFound];
        "Lists the nodes of all sites by name, with the age of what is known";
    GET "/v1/nodes/pending" ListPending "listPendingNodes" "cluster" NONE (Empty)
        => 200 Json(Schema::PendingNodePage), [NoCluster];
        "Lists machines that wait for somebody to let them in";
    POST "/v1/nodes/approve" ApproveNode "approveNode" "cluster" NONE (json(Schema::Approve))
        => 202 Json(Schema::PendingNode), [NoCluster, NotFound, WrongState];
        "Lets a waiting machine in, by the code on its screen";
    POST "/v1/cluster/words" TellWord "tellWord" "cluster" NONE (json(Schema::OwnerWord))
        => 202 Json(Schema::OwnerWordTaken), [NoCluster];
        "Hands on what the cluster's owner signed at home; the node judges it and tells all";
    GET "/v1/nodes/{node}" ShowNodeEntry "showNodeEntry" "cluster" NONE (Empty)
        => 200 Json(Schema::NodeEntry), [NotFound, Ambiguous];
        "Shows what is known of a node, also if it does not answer";
    DELETE "/v1/nodes/{node}" RemoveNode "removeNode" "cluster" NONE (Empty)
        => 202 Json(Schema::NodeEntry), [NoCluster, NotFound, Ambiguous, WrongState];
        "Takes a node's right to be one away, for ever";
    GET "/v1/sites" ListSites "listSites" "cluster" NONE (Empty)
        => 200 Json(Schema::SiteEntryPage), [];
        "Lists the sites, with the age of what is known";
    GET "/v1/events" ListEvents "listEvents" "cluster" EVENTS (Empty)
        => 200 Json(Schema::EventPage), [NotFound, Ambiguous, HostSilent];
        "Tells what the node saw happen";
    GET "/v1/images" ListImages "listImages" "images" LIST (Empty)
        => 200 Json(Schema::ImagePage), [NotFound, Ambiguous];
        "Lists images by name, and the nodes that have them";
    POST "/v1/images" CreateImage "createImage" "images" AT_NODE (json(Schema::NewImage))
        => 201 Json(Schema::Image), [Ambiguous, NameTaken, BlobMissing, LimitReached, HostSilent];
        "Names blobs that are on the node as an image; one that is there already stays as it is";
    GET "/v1/images/{name}" ShowImage "showImage" "images" AT_NODE (Empty)
        => 200 Json(Schema::Image), [NotFound, Ambiguous, HostSilent];
        "Shows an image";
    DELETE "/v1/images/{name}" DeleteImage "deleteImage" "images" AT_NODE (Empty)
        => 200 Json(Schema::Image), [NotFound, Ambiguous, InUse, HostSilent];
        "Deletes an image from a node, and its blobs if no other image uses them";
    GET "/v1/blobs/{sha256}" ShowBlob "showBlob" "images" AT_NODE (Empty)
        => 200 Json(Schema::Blob), [NotFound, Ambiguous, HostSilent];
        "Shows how much of a blob is on the node";
    PUT "/v1/blobs/{sha256}" PutBlob "putBlob" "images" PIECE (Body::Bytes)
        => 200 Json(Schema::Blob),
        [Ambiguous, WrongOffset, DigestMismatch, LimitReached, NoCapacity, HostSilent];
        "Sends the next piece of a blob; pieces may be sent again";
    GET "/v1/vms" ListVms "listVms" "vms" LIST (Empty)
        => 200 Json(Schema::VmPage), [NotFound, Ambiguous];
        "Lists the virtual machines of all sites by name";
    POST "/v1/vms" CreateVm "createVm" "vms" AT (json(Schema::NewVm))
        => 202 Json(Schema::Vm),
        [NotFound, Ambiguous, NameTaken, LimitReached, NoCapacity, NoKvm, HostSilent];
        "Makes a virtual machine and starts it, on the least loaded node of the site if none is named";
    GET "/v1/vms/{vm}" ShowVm "showVm" "vms" NONE (Empty)
        => 200 Json(Schema::Vm), [NotFound, Ambiguous];
        "Shows a virtual machine";
    DELETE "/v1/vms/{vm}" DeleteVm "deleteVm" "vms" NONE (Empty)
        => 202 Json(Schema::Vm), [NotFound, Ambiguous];
        "Ends a virtual machine by force and deletes it; a host that is away does it on its return";
    POST "/v1/vms/{vm}/start" StartVm "startVm" "vms" NONE (Empty)
        => 202 Json(Schema::Vm), [NotFound, Ambiguous, WrongState, BlobMissing, NoCapacity, HostSilent];
        "Starts a stopped or failed virtual machine";
    POST "/v1/vms/{vm}/stop" StopVm "stopVm" "vms" NONE (STOP)
        => 202 Json(Schema::Vm), [NotFound, Ambiguous, WrongState, HostSilent];
        "Presses the power button; by force if asked";
    POST "/v1/vms/{vm}/reset" ResetVm "resetVm" "vms" NONE (Empty)
        => 202 Json(Schema::Vm), [NotFound, Ambiguous, WrongState, HostSilent];
        "Resets a running virtual machine";
    GET "/v1/vms/{vm}/console" Console "openConsole" "vms" CONSOLE (Empty)
        => 101 WebSocket, [NotFound, Ambiguous, UpgradeNeeded, Busy, HostSilent];
        "Opens the serial console; binary frames are its bytes, scrollback first";
    GET "/v1/vms/{vm}/console/log" ConsoleLog "showConsoleLog" "vms" NONE (Empty)
        => 200 Text, [NotFound, Ambiguous, HostSilent];
        "The console's scrollback";
};

impl Route {
    /// Whether a caller may name the request with an `Idempotency-Key`.
    pub fn changes_something(&self) -> bool {
        self.method != "GET"
    }

    /// The values of the braces, if the path fits.
    pub fn matches<'p>(&self, path: &'p str) -> Option<Vec<&'p str>> {
        let mut found = Vec::new();
        let mut segments = path.split('/');
        for wanted in self.pattern.split('/') {
            let segment = segments.next()?;
            if wanted.starts_with('{') {
                if segment.is_empty() {
                    return None;
                }
                found.push(segment);
            } else if wanted != segment {
                return None;
            }
        }
        segments.next().is_none().then_some(found)
    }
}
